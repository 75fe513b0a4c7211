"""Many searches at once against an API that allows few calls a second and says so by a bare HTTP 429.

    python benchmarks/rate_limits.py --searches 60 --per-second 1

Prints what was answered, refused and counted, in real seconds and against a server on this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from innersearch.net.patience import CallSettings
from innersearch.search.base import SearchResult
from innersearch.search.remote.web import WebEngine
from innersearch.search.wrappers.budget import Budget, Budgeted
from innersearch.search.wrappers.reliable import Reliable

_ROW = {"title": "Lima", "link": "https://example.org/lima", "snippet": "The capital of Peru."}


class Limited(ThreadingHTTPServer):
    """Serper's API with a limit."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, per_second: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._per_second, self._lock = per_second, threading.Lock()
        self._second = self._taken = self.refused = 0

    def lets_through(self) -> bool:
        """Whether one more call is allowed in this second."""
        with self._lock:
            second = int(time.monotonic())
            self._second, self._taken = second, self._taken if second == self._second else 0
            self._taken += 1
            self.refused += self._taken > self._per_second
            return self._taken <= self._per_second


class _Handler(BaseHTTPRequestHandler):
    server: Limited

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        allowed = self.server.lets_through()
        body = json.dumps({"organic": [_ROW]} if allowed else {}).encode()
        self.send_response(200 if allowed else 429)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


async def search(url: str, searches: int, budget: Budget, settings: CallSettings) -> list[SearchResult]:
    """All searches at once."""
    engine = Reliable(Budgeted(WebEngine("serper", base_url=url), budget), settings)
    try:
        return await engine.search([f"query {number}" for number in range(searches)], 3)
    finally:
        await engine.close()


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--searches", type=int, default=60)
    parser.add_argument("--per-second", type=int, default=1, help="calls that the server allows")
    parser.add_argument("--told", type=float, default=0.0, help="calls per second that we are told of")
    given = parser.parse_args()
    os.environ.setdefault("SERPER_API_KEY", "no-key-but-long-enough")
    budget, server = Budget(), Limited(given.per_second)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    started = time.monotonic()
    settings = CallSettings(per_second=given.told)
    url = f"http://127.0.0.1:{server.server_port}"
    results = asyncio.run(search(url, given.searches, budget, settings))
    seconds = time.monotonic() - started
    server.shutdown()
    server.server_close()
    answered = sum(result.error is None for result in results)
    print(
        f"{answered} of {given.searches} answered in {seconds:.1f} s, {server.refused} refusals, "
        f"{budget.spent.calls} calls and ${budget.spent.usd:.3f} counted"
    )


if __name__ == "__main__":
    main()
