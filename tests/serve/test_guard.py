"""What a server lets in: tokens, limits, clients that are slow, and its end."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Sequence

import httpx2
import pytest

from innersearch.cli import main
from innersearch.errors import ConfigError
from innersearch.search.base import SearchResult
from innersearch.serve.limits import Limits
from innersearch.serve.server import demand_safe
from innersearch.serve.serving import Serving
from innersearch.testing import ScriptedEngine
from innersearch.types import Document, Source
from tests.serve.gateways import gateway, limited

TOKEN = "canary-1f8e22"
SHOWN = [
    ("POST", "/serper/search", {"headers": {"X-API-KEY": TOKEN}, "json": {"q": "x"}}),
    ("GET", "/serpapi/search", {"params": {"q": "x", "api_key": TOKEN}}),
    (
        "POST",
        "/tavily/search",
        {"headers": {"Authorization": f"Bearer {TOKEN}"}, "json": {"query": "x"}},
    ),
    ("POST", "/tavily/search", {"json": {"query": "x", "api_key": TOKEN}}),
    (
        "GET",
        "/brave/res/v1/web/search",
        {"headers": {"X-Subscription-Token": TOKEN}, "params": {"q": "x"}},
    ),
    ("POST", "/exa/search", {"headers": {"x-api-key": TOKEN}, "json": {"query": "x"}}),
    ("POST", "/v1/search", {"headers": {"Authorization": f"bearer {TOKEN}"}, "json": {"query": "x"}}),
    ("GET", "/search", {"headers": {"Authorization": TOKEN}, "params": {"q": "x", "format": "json"}}),
    ("POST", "/openwebui", {"headers": {"Authorization": f"Bearer {TOKEN}"}, "json": {"query": "x"}}),
    ("POST", "/retrieve", {"headers": {"Authorization": f"Bearer {TOKEN}"}, "json": {"query": "x"}}),
]
REFUSED = {"/serper/search": 403, "/brave/res/v1/web/search": 422}


def test_the_token_is_taken_where_each_api_puts_its_key_and_logged_nowhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with gateway(Serving(ScriptedEngine({"x": ["text"]}), token=TOKEN)) as client:
        for method, path, sent in SHOWN:
            assert client.request(method, path, **sent).status_code == 200, path
            wrong = eval(repr(sent).replace(TOKEN, TOKEN[:-1] + "3"))
            for bad in (wrong, {key: value for key, value in sent.items() if key != "headers"}):
                if bad != sent:
                    refused = client.request(method, path, **bad)
                    assert refused.status_code == REFUSED.get(path, 401), path
                    assert TOKEN[:-1] not in refused.text
        assert client.post("/sessions", json={}).status_code == 401
        assert client.get("/metrics").status_code == 401
        assert client.get("/healthz").status_code == 200
    ours = [record for record in caplog.records if not record.name.startswith("httpx")]
    assert any("/tavily/search" in record.getMessage() for record in ours)
    assert not [record for record in ours if TOKEN in record.getMessage()]


def test_log_lines_hold_no_queries(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "innersearch")
    with gateway(ScriptedEngine()) as client:
        client.get("/search", params={"q": "canary query", "format": "json"})
        client.get("/canary")
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("innersearch")]
    assert len(lines) == 2
    assert not [line for line in lines if "canary" in line]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_other_machines_are_let_in_with_a_token_only(host: str) -> None:
    with pytest.raises(ConfigError, match="--token-env"):
        demand_safe(host, None)
    demand_safe(host, "a-token-of-some-length")


def test_a_server_for_all_without_a_token_does_not_start(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "world", "--host", "0.0.0.0"]) == 1
    assert "--token-env" in capsys.readouterr().err


def test_bodies_are_limited() -> None:
    with gateway(Serving(ScriptedEngine(), limits=limited(body_bytes=1_000))) as client:
        said = client.post("/tavily/search", json={"query": "x" * 1_000})
        unsaid = client.post("/exa/search", content=iter([b"x" * 600] * 2))
    assert (said.status_code, unsaid.status_code) == (413, 413)
    assert said.json()["detail"]["error"]
    assert unsaid.json()["tag"]


def test_clients_that_send_too_slowly_are_dropped_and_keep_nobody_waiting() -> None:
    limits = limited(headers_s=0.3, body_s=0.3, in_flight=2)
    with gateway(Serving(ScriptedEngine({"x": ["text"]}), limits=limits)) as client:
        address = (client.base_url.host, client.base_url.port)
        silent, headers, bodies = (
            [socket.create_connection(address, timeout=10) for _ in range(4)] for _ in range(3)
        )
        for one in headers:
            one.sendall(b"POST /tavily/search HTTP/1.1\r\nHost: localhost\r\n")
        for one in bodies:
            head = b"POST /tavily/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
            one.sendall(head)
        assert client.post("/tavily/search", json={"query": "x"}).status_code == 200
        for one in (*silent, *headers):
            assert one.recv(100) == b""
        for one in bodies:
            assert one.recv(100).startswith(b"HTTP/1.1 408 ")
        for one in (*silent, *headers, *bodies):
            one.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "rebound.example:8000"}, 403),
        ({"Host": "localhost.example"}, 403),
        ({"Origin": "https://example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:3000"}, 200),
    ],
)
def test_pages_of_others_are_not_answered_without_a_token(headers: dict[str, str], status: int) -> None:
    with gateway(ScriptedEngine({"x": ["text"]})) as client:
        answer = client.post("/exa/search", json={"query": "x"}, headers=headers)
    assert answer.status_code == status


def test_pages_of_others_are_answered_with_a_token() -> None:
    with gateway(Serving(ScriptedEngine({"x": ["text"]}), token=TOKEN)) as client:
        headers = {"Host": "gateway.example", "Origin": "https://example.org", "x-api-key": TOKEN}
        answer = client.post("/exa/search", json={"query": "x"}, headers=headers)
    assert answer.status_code == 200


def test_the_rate_of_requests_is_limited() -> None:
    with gateway(Serving(ScriptedEngine(), limits=limited(per_second=2.0))) as client:
        answers = [client.post("/openwebui", json={"query": "x"}).status_code for _ in range(40)]
    assert answers[:2] == [200, 200]
    assert 429 in answers


def test_headers_without_end_are_cut_off() -> None:
    with gateway(Serving(ScriptedEngine(), limits=limited(head_bytes=2_000))) as client:
        assert client.get("/healthz", headers={"x": "a" * 1_000}).status_code == 200
        with pytest.raises(httpx2.TransportError):
            client.get("/healthz", headers={"x": "a" * 4_000})


class Gated:
    """An engine that answers once it is let."""

    name, source = "gated", Source.RETRIEVER

    def __init__(self) -> None:
        self.identity = {"engine": "gated"}
        self.asked = threading.Semaphore(0)
        self.open = threading.Event()

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        self.asked.release()
        await asyncio.to_thread(self.open.wait, 30)
        return [SearchResult((Document("1", "", query),)) for query in queries]

    async def close(self) -> None:
        self.open.set()


def test_one_request_too_many_is_told_to_come_again() -> None:
    engine = Gated()
    with gateway(Serving(engine, limits=limited(in_flight=1))) as client:
        first = threading.Thread(
            target=client.post, args=("/tavily/search",), kwargs={"json": {"query": "x"}}
        )
        first.start()
        assert engine.asked.acquire(timeout=30)
        refused = client.post("/tavily/search", json={"query": "y"})
        assert client.get("/healthz").status_code == 200
        engine.open.set()
        first.join(30)
        assert client.post("/tavily/search", json={"query": "y"}).status_code == 200
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
    assert refused.json()["detail"]["error"]


def test_a_server_finishes_what_it_began() -> None:
    engine, answers = Gated(), list[httpx2.Response]()
    with gateway(engine) as client:
        url = f"{client.base_url}/tavily/search"
        asking = threading.Thread(
            target=lambda: answers.append(httpx2.post(url, json={"query": "x"}, timeout=30))
        )
        asking.start()
        assert engine.asked.acquire(timeout=30)
        threading.Timer(0.3, engine.open.set).start()
    asking.join(30)
    assert answers[0].json()["results"][0]["content"] == "x"


def test_a_request_that_takes_too_long_is_given_up() -> None:
    engine = Gated()
    with gateway(Serving(engine, limits=limited(request_s=0.2))) as client:
        answer = client.post("/exa/search", json={"query": "x"})
        engine.open.set()
    assert answer.status_code == 504


def test_limits_are_above_0() -> None:
    with pytest.raises(ConfigError, match="in_flight"):
        Limits(in_flight=0)
