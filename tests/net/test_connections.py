"""Proxies, certificates, wrong addresses, redirects and hostile bodies, for everything that is asked."""

from __future__ import annotations

import asyncio
import gzip
import shutil
import socket
import ssl
import subprocess
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from innersearch.assemble.engines import open_engine
from innersearch.config import SearchSettings
from innersearch.errors import SearchError
from innersearch.net.addresses import check_url, without_users
from innersearch.net.calls import CallError, PermanentError, TransientError
from innersearch.net.client import Connections, new_client, proxy_variable
from innersearch.net.fetching import fetch_json
from innersearch.net.patience import CallSettings
from innersearch.search.remote.retrieve import RemoteEngine
from innersearch.search.wrappers.reliable import Reliable
from tests.search.test_reliable import Index
from tests.search_servers import Answer, LocalServer, ask, retrieve

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
PATIENT = CallSettings(backoff_s=0.001, backoff_max_s=0.002, probe_s=0.001, max_outage_s=0.05)
SECRET = "hidden-password-77"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, *map(str.lower, PROXIES), "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


def fetched(url: str, **options: Any) -> Any:
    async def run() -> Any:
        connections = Connections(url)
        try:
            return await fetch_json(connections.client, connections.request("GET", url), "it", **options)
        except CallError as error:
            return error
        finally:
            await connections.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ALL_PROXY", "socks://127.0.0.1:7890", "write socks5://"),
        ("all_proxy", "socks4://127.0.0.1:7890", "write socks5://"),
        ("HTTP_PROXY", "socks5://127.0.0.1:7890", "pip install socksio"),
        ("http_proxy", "socks5h://me:hidden-password-77@127.0.0.1:7890", "pip install socksio"),
        ("HTTP_PROXY", "ftp://127.0.0.1", "write http, https"),
        ("ALL_PROXY", "http://", "holds no address"),
        ("ALL_PROXY", "http://me:hidden-password-77@127.0.0.1:port", "holds no address"),
        ("ALL_PROXY", "http://127.0.0.1:99999", "holds no address"),
        ("HTTP_PROXY", "http://[::1", "holds no address"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_one_line_with_its_variable(
    variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv(variable, value)
    with pytest.raises(SearchError, match=said) as caught:
        RemoteEngine("http://api.example.org")
    assert variable in str(caught.value)
    assert SECRET not in str(caught.value)
    for covered in ("api.example.org", ".example.org", "*.example.org", "example.org:80", "a,*", "*"):
        monkeypatch.setenv("NO_PROXY", covered)
        RemoteEngine("http://api.example.org")


def test_a_proxy_for_other_schemes_or_hosts_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "nonsense://x")
    monkeypatch.setenv("NO_PROXY", "127.0.0.0/8, [::1]")
    monkeypatch.setenv("ALL_PROXY", "socks://x")
    for direct in ("http://127.0.0.1:8000", "http://127.8.8.8", "http://[::1]:9"):
        RemoteEngine(direct)
    for other in ("http://10.0.0.1", "https://ample.org"):
        with pytest.raises(SearchError, match="PROXY"):
            RemoteEngine(other)
    assert proxy_variable(httpx2.URL("http://10.0.0.1")) == "ALL_PROXY"


def test_calls_go_through_the_proxy_and_its_failure_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalServer(retrieve) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        [result] = ask(RemoteEngine("http://retriever.invalid"), "q", k=1)
        assert result.error is None
    [failed] = ask(RemoteEngine("http://retriever.invalid"), "q", k=1)
    assert "through the proxy of HTTP_PROXY: connection refused" in (failed.error or "")


def test_a_replay_makes_no_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache.sqlite")
    with LocalServer(retrieve) as server:
        settings = SearchSettings(engine=f"remote:{server.url}", cache=cache)
        [recorded] = ask(open_engine(settings), "q", k=1)
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:7890")
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    made: list[object] = []
    monkeypatch.setattr("innersearch.net.client.new_client", lambda *given: made.append(given))
    [replayed] = ask(open_engine(settings.model_copy(update={"offline": True})), "q", k=1)
    assert replayed.documents == recorded.documents != ()
    assert made == []


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("kind", ["nowhere", "junk", "the other kind"])
def test_certificates_that_cannot_be_read_are_one_line_with_their_variable(
    variable: str, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
    places = {"nowhere": tmp_path / "none", "junk": junk, "the other kind": tmp_path}
    if variable == "SSL_CERT_DIR":
        places |= {"junk": junk, "the other kind": junk}
    monkeypatch.setenv(variable, str(places[kind]))
    with pytest.raises(SearchError, match=variable):
        new_client("https://api.example.org")
    # Where there is no TLS, there is nobody to be trusted.
    new_client("http://api.example.org")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the certificate")
    folder = tmp_path_factory.mktemp("tls")
    pair = folder / "pair.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=x"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", pair, "-out", folder / "c.pem"),
        ],
        check=True,
        capture_output=True,
    )
    pair.write_bytes(pair.read_bytes() + (folder / "c.pem").read_bytes())
    return pair


@contextmanager
def raw(answer: bytes, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server that sends the same bytes to everybody, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                try:
                    spoken = context.wrap_socket(connection, server_side=True) if context else connection
                    spoken.recv(65536)
                    spoken.sendall(answer)
                    spoken.shutdown(socket.SHUT_WR)
                    spoken.recv(65536)
                    spoken.close()
                except OSError:
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


JSON = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


def test_causes_that_waiting_does_not_mend_fail_at_once_and_are_named(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with raw(JSON) as plain, raw(JSON, context) as secure, raw(b"220 ready\r\n\r\n") as other:
        for url, said in {
            f"https://127.0.0.1:{plain}": "speaks no TLS there: write http://",
            f"https://127.0.0.1:{secure}": "certificate is not trusted (self-signed certificate)",
            f"http://127.0.0.1:{other}": "does not speak HTTP",
        }.items():
            engine = Reliable(RemoteEngine(url), PATIENT)
            [result] = ask(engine, "q", k=1)
            assert said in (result.error or "")
            assert f"{url}/retrieve" in (result.error or "")
            assert engine.counts.calls == 1


def test_an_authority_that_is_named_is_trusted(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with raw(JSON, context) as port:
        assert fetched(f"https://127.0.0.1:{port}/") == {}


@pytest.mark.parametrize(
    ("number", "calls", "said"),
    [(socket.EAI_NONAME, 1, "no host of that name"), (socket.EAI_AGAIN, 5, "at the moment")],
)
def test_a_host_that_is_not_known_is_final_and_a_silent_name_server_is_not(
    number: int, calls: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lookup(*given: object, **more: object) -> None:
        raise socket.gaierror(number, "text with a secret")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    engine = Reliable(RemoteEngine("http://retriever.example.org"), PATIENT)
    [result] = ask(engine, "q", k=1)
    assert said in (result.error or "")
    assert "secret" not in (result.error or "")
    assert (engine.counts.calls == 1) == (calls == 1)


def test_the_same_causes_are_an_outage_once_the_server_has_answered() -> None:
    setup = TransientError("no host of that name", setup=True)

    async def behave(query: str, call: int) -> None:
        if 1 < call <= 12:
            raise setup

    engine = Reliable(Index(behave), replace(PATIENT, max_outage_s=60.0, probe_max_s=0.01))

    async def run() -> list[Any]:
        return [(await engine.search([name], 1))[0] for name in "ab"]

    assert [result.error for result in asyncio.run(run())] == [None, None]
    assert engine.counts.outages == 1


def test_a_redirect_says_where_to_without_what_may_be_secret() -> None:
    for location, shown in {
        "/retrieve/": "http://127.0.0.1",
        f"https://me:{SECRET}@other.example.org/new/?token={SECRET}#x": "https://other.example.org/new/:",
        "http://h:port": "cannot be read",
    }.items():
        with LocalServer(lambda _, to=location: Answer({}, 307, {"Location": to})) as server:
            [result] = ask(Reliable(RemoteEngine(server.url)), "q", k=1)
            assert len(server.asked) == 1
        assert shown in (result.error or "")
        assert "HTTP 307, which leads to" in (result.error or "")
        assert SECRET not in (result.error or "")
        assert result.cost_usd == 0


@pytest.mark.parametrize(
    "address",
    [
        *(
            f"http://me:{SECRET}@h/x",
            f"http://{SECRET}@h",
            f"http://me:{SECRET}/x@h",
            f"http://h:{SECRET}",
        ),
        *(f"http://h/?key={SECRET}", f"http://h/#{SECRET}", f"{SECRET}://h", f"http://me:{SECRET}@"),
        *(
            f"http://h/{SECRET}\udc80",
            f"http://\ud800{SECRET}/",
            f"http://h\x00{SECRET}",
            f"http://[{SECRET}",
        ),
        *(f"http://h:0/{SECRET}", f"http://h:70000/{SECRET}", f"http://{'a' * 64}.org/{SECRET}"),
        *(f"http://h/{SECRET}" + "x" * 70_000, f"http://xn--{SECRET}\u2603.\u2603/", ""),
    ],
    ids=ascii,
)
def test_an_address_that_cannot_be_used_is_one_line_that_does_not_hold_it(address: str) -> None:
    with pytest.raises(SearchError, match="the address of it") as caught:
        check_url(address, "it")
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_users_are_taken_out_of_texts() -> None:
    for given in (f"http://me:{SECRET}@host/x", f"//{SECRET}@host", f"http://me:{SECRET}/a@host/x"):
        shown = without_users(f"unknown engine 'remote:{given}', and more")
        assert SECRET not in shown
        assert "@host" in shown
    assert without_users("mail a@b.org, see http://h/@x") == "mail a@b.org, see http://h/@x"


BOMB = gzip.compress(b" " * 30_000_000, mtime=0)


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        (BOMB, {"content-encoding": "gzip"}, "more than 10,000,000 bytes"),
        (
            zlib.compress(b" " * 30_000_000),
            {"content-encoding": "deflate"},
            "more than 10,000,000 bytes",
        ),
        (gzip.compress(BOMB, mtime=0), {"content-encoding": "gzip, gzip"}, "compression not asked for"),
        (b"x", {"content-encoding": "zstd"}, "compression not asked for"),
        (b"x", {"content-encoding": "br"}, "compression not asked for"),
        (b"no gzip", {"content-encoding": "gzip"}, "cannot be decompressed"),
        (
            gzip.compress(b'{"a": "b"}', mtime=0)[:-9],
            {"content-encoding": "gzip"},
            "cannot be decompressed",
        ),
    ],
)
def test_bodies_are_read_within_limits(body: bytes, headers: dict[str, str], said: str) -> None:
    with LocalServer(lambda asked: Answer(body, 200, headers)) as server:
        error = fetched(server.url)
    assert isinstance(error, PermanentError)
    assert said in str(error)


def test_compressed_answers_are_read() -> None:
    raw_deflate = zlib.compressobj(wbits=-15)
    bodies = {
        "gzip": gzip.compress(b"[1]", mtime=0),
        "deflate": zlib.compress(b"[1]"),
        "Deflate": raw_deflate.compress(b"[1]") + raw_deflate.flush(),
        "identity": b"[1]",
    }
    for encoding, body in bodies.items():
        with LocalServer(
            lambda _, e=encoding, b=body: Answer(b, 200, {"content-encoding": e})
        ) as server:
            assert fetched(server.url) == [1]


def test_an_answer_that_breaks_off_may_be_asked_for_again() -> None:
    with raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{") as port:
        error = fetched(f"http://127.0.0.1:{port}/")
    assert isinstance(error, TransientError)
    assert "broke off in mid-answer" in str(error)


def test_the_whole_answer_has_a_deadline() -> None:
    """Every byte comes in time, and the last one does not."""
    with LocalServer(lambda asked: Answer(b" " * 500, trickle_s=0.02)) as server:
        error = fetched(server.url, deadline_s=0.2)
    assert isinstance(error, TransientError)
    assert "did not answer within 0.2 s" in str(error)
