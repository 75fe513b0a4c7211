"""Local servers that speak the search APIs and `/retrieve`, their limits and errors included."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from innersearch.search.base import Engine, SearchResult


@dataclass(frozen=True)
class Asked:
    """A request that arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    values: dict[str, Any]
    """Parameters of the address, or of the JSON body."""


@dataclass(frozen=True)
class Answer:
    """What is sent back: JSON, or bytes as they are."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    trickle_s: float = 0.0
    """Seconds between the bytes of the body."""


class LocalServer:
    """Answers on 127.0.0.1 until it is stopped; it can be started again on the same port."""

    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._port = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._server = _Server(("127.0.0.1", self._port), _handler(self))
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> LocalServer:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def handle(self, asked: Asked) -> Answer:
        with self._lock:
            self.asked.append(asked)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            answer = self.answer(asked)
            time.sleep(answer.delay_s)
            return answer
        finally:
            with self._lock:
                self._at_once -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the tests."""


def _handler(server: LocalServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply(dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True)))

        do_HEAD = do_GET

        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            self._reply(json.loads(self.rfile.read(length)))

        def _reply(self, values: dict[str, Any]) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, urlsplit(self.path).path, headers, values)
            answer = server.handle(asked)
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {"content-length": str(len(body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if not answer.trickle_s:
                self.wfile.write(body)
                return
            for byte in body:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(answer.trickle_s)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


KEY = "canary-8c1f0e7d"
"""The key that all servers accept."""


def page(query: str, number: int) -> tuple[str, str, str]:
    """Address, title and snippet of a result."""
    return f"https://example.org/{number}", f"Page {number}", f"About {query}, part {number}"


def _results(query: str, count: int, url: str, text: str) -> list[dict[str, Any]]:
    pages = (page(query, number) for number in range(1, count + 1))
    return [{url: address, "title": title, text: snippet} for address, title, snippet in pages]


def _serper(asked: Asked) -> Answer:
    if asked.headers.get("x-api-key") != KEY:
        return Answer({"message": "Unauthorized.", "statusCode": 403}, 403)
    query, count = asked.values["q"], asked.values.get("num", 10)
    return Answer(
        {
            "searchParameters": {"q": query, "type": "search", "num": count, "engine": "google"},
            "answerBox": {"title": "not a result", "snippet": "no", "link": "https://example.org/box"},
            "organic": [
                row | {"position": place}
                for place, row in enumerate(_results(query, count, "link", "snippet"), 1)
            ],
            "credits": 1,
        }
    )


def _serpapi(asked: Asked) -> Answer:
    if asked.values.get("api_key") != KEY:
        given = asked.values.get("api_key")
        return Answer({"error": f"Invalid API key {given}."}, 401)
    query = asked.values["q"]
    status = {"search_metadata": {"status": "Success"}, "search_parameters": {"q": query}}
    if query == "nothing":
        return Answer(status | {"error": "Google hasn't returned any results for this query."})
    return Answer(status | {"organic_results": _results(query, 10, "link", "snippet")})


def _tavily(asked: Asked) -> Answer:
    if asked.headers.get("authorization") != f"Bearer {KEY}":
        return Answer({"detail": {"error": "Unauthorized: missing or invalid API key."}}, 401)
    query, count = asked.values["query"], asked.values.get("max_results", 5)
    if len(query) > 400:
        return Answer(
            {"detail": {"error": "Query is too long. Max query length is 400 characters."}}, 400
        )
    rows = [
        row | {"score": 0.9, "raw_content": None} for row in _results(query, count, "url", "content")
    ]
    return Answer({"query": query, "images": [], "results": rows, "response_time": 0.1})


def _brave(asked: Asked) -> Answer:
    if asked.headers.get("x-subscription-token") != KEY:
        return Answer({"type": "ErrorResponse", "error": {"code": "SUBSCRIPTION_TOKEN_INVALID"}}, 422)
    query, count = asked.values["q"], int(asked.values.get("count", 20))
    if len(query) > 400 or len(query.split()) > 50 or not 1 <= count <= 20:
        return Answer({"type": "ErrorResponse", "error": {"code": "VALIDATION"}}, 422)
    answer: dict[str, Any] = {"type": "search", "query": {"original": query}}
    if query != "nothing":
        rows = _results(query, count, "url", "description")
        answer["web"] = {"type": "search", "results": [row | {"title": "It&#x27;s"} for row in rows]}
    return Answer(answer)


def _exa(asked: Asked) -> Answer:
    if asked.headers.get("x-api-key") != KEY:
        return Answer({"error": "Invalid API key"}, 401)
    query, count = asked.values["query"], asked.values.get("numResults", 10)
    rows = _results(query, count, "url", "text" if "text" in asked.values["contents"] else "none")
    rows[0]["title"] = None
    return Answer(
        {
            "requestId": "r",
            "results": [row | {"id": row["url"]} for row in rows],
            "costDollars": {"total": 0.005},
        }
    )


def _searxng(asked: Asked) -> Answer:
    if asked.values.get("format") != "json":
        return Answer(b"<html>", 403)
    query = asked.values["q"]
    rows = [row | {"engine": "mojeek", "score": 2.0} for row in _results(query, 20, "url", "content")]
    return Answer({"query": query, "number_of_results": 0, "results": rows, "unresponsive_engines": []})


def _perplexity(asked: Asked) -> Answer:
    if asked.headers.get("authorization") != f"Bearer {KEY}":
        return Answer({"error": {"message": "Invalid API key", "code": 401}}, 401)
    query, count = asked.values["query"], asked.values.get("max_results", 10)
    return Answer({"results": _results(query, count, "url", "snippet"), "id": "s"})


APIS: dict[str, tuple[str, str, Callable[[Asked], Answer]]] = {
    "serper": ("POST", "/search", _serper),
    "serpapi": ("GET", "/search", _serpapi),
    "tavily": ("POST", "/search", _tavily),
    "brave": ("GET", "/res/v1/web/search", _brave),
    "exa": ("POST", "/search", _exa),
    "searxng": ("GET", "/search", _searxng),
    "perplexity": ("POST", "/search", _perplexity),
}


def api(name: str) -> Callable[[Asked], Answer]:
    """The search API of that name, on its documented route."""
    method, path, answer = APIS[name]
    return lambda asked: (
        answer(asked)
        if (asked.method, asked.path) == (method, path)
        else Answer({"error": "route"}, 404)
    )


def retrieve(asked: Asked) -> Answer:
    """Search-R1's retrieval_server.py."""
    if asked.path != "/retrieve":
        return Answer({"detail": "Not Found"}, 404)
    return Answer({"result": [_rows(query, asked.values["topk"]) for query in asked.values["queries"]]})


def _rows(query: str, k: int) -> list[dict[str, Any]]:
    return [
        {
            "document": {"id": str(n), "contents": f'"Title {n}"\nAbout {query}\nline {n}'},
            "score": 1.0 / n,
        }
        for n in range(1, k + 1)
    ]


def ask(engine: Engine, *queries: str, k: int = 2) -> list[SearchResult]:
    """Ask an engine in an event loop of its own, and close it."""

    async def run() -> list[SearchResult]:
        try:
            return await engine.search(queries, k)
        finally:
            await engine.close()

    return asyncio.run(run())
