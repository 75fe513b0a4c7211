"""Servers that hold one model: whom to ask; how long they are waited for stands in `net.caller`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from innersearch.errors import PolicyError, Refusal, SearchError
from innersearch.net.addresses import check_url
from innersearch.net.caller import Caller
from innersearch.net.calls import CallError, TransientError
from innersearch.net.chat import Parameters, complete, demand_no_failure
from innersearch.net.client import Connections
from innersearch.net.fetching import fetch_json
from innersearch.net.keys import Key
from innersearch.net.patience import CallSettings

KEY_VARIABLE = "INNERSEARCH_POLICY_KEY"
"""Environment variable with the key of the servers, where they want one."""

_NAME = "the policy's server"
_REFUSED = ("http 400", "http 413", "http 422")
"""Reasons that may hold for one request; any other would hold for all."""


@dataclass(frozen=True, slots=True)
class Patience(CallSettings):
    """How long failing servers are waited for. Times are seconds."""

    deadline_s: float = 600.0
    """Longest request to one server."""
    rest_s: float = 15.0
    """How long a server that failed is left alone, if there are others."""


@dataclass(slots=True)
class _Server:
    url: str
    connections: Connections
    under_way: int = 0
    rests_until: float = 0.0


class Servers:
    """Base addresses that answer alike, in one event loop."""

    def __init__(self, urls: Sequence[str], in_flight: int, patience: Patience) -> None:
        """Raises PolicyError: An address, the key, or a variable of the network cannot be used."""
        silence_s = patience.deadline_s
        try:
            bases = [base_address(url) for url in urls]
            self._servers = [_Server(base, Connections(base, silence_s)) for base in bases]
            self._key = Key.if_set(KEY_VARIABLE, _NAME)
        except SearchError as error:
            raise PolicyError(str(error)) from None
        self._patience = patience
        # A call may go from server to server.
        whole_s = patience.deadline_s * len(bases) + 1.0
        self._caller = Caller(_NAME, replace(patience, deadline_s=whole_s, in_flight=in_flight))
        self._home: dict[str, _Server] = {}

    async def get(self, path: str) -> Any:
        """The answer of the first server to a GET.

        Raises:
            PolicyError: It did not answer, or refused.
        """
        try:
            return await self._send(self._servers[0], "GET", path, None)
        except SearchError as error:
            raise PolicyError(str(error)) from None

    async def post(
        self,
        path: str,
        body: dict[str, Any],
        sequence: str | None = None,
        parameters: Parameters | None = None,
    ) -> Any:
        """The answer of a server; those who ask under one name are sent to the same one if it is up.

        With `parameters` it is a chat API, which may refuse some of them.

        Raises:
            PolicyError: No server answered for as long as they are waited for.
            Refusal: The request itself was refused.
        """
        try:
            return await self._caller.call(lambda: self._once(path, body, sequence, parameters))
        except CallError as error:
            raise (Refusal if error.reason in _REFUSED else PolicyError)(str(error)) from None

    async def _once(
        self, path: str, body: dict[str, Any], sequence: str | None, parameters: Parameters | None
    ) -> Any:
        """The answer of the first server that is up."""
        tried: list[_Server] = []
        while True:
            server = self._choose(sequence, tried)
            tried.append(server)
            server.under_way += 1
            try:
                send = partial(self._send, server, "POST", path)
                if parameters is None:
                    answer = await send(body)
                    demand_no_failure(answer, _NAME, self._key)
                    return answer
                return await complete(send, body, parameters, _NAME, self._key)
            except TransientError as error:
                if not error.down:
                    raise
                rest_s = error.retry_after_s if error.limited else self._patience.rest_s
                server.rests_until = time.monotonic() + rest_s
                if not self._rested(tried):
                    raise
            finally:
                server.under_way -= 1

    async def _send(self, server: _Server, method: str, path: str, body: dict[str, Any] | None) -> Any:
        headers = self._key.bearer() if self._key else {}
        request = server.connections.request(method, f"{server.url}/{path}", body, headers)
        client = server.connections.client
        return await fetch_json(client, request, _NAME, self._key, deadline_s=self._patience.deadline_s)

    def _rested(self, tried: Sequence[_Server]) -> list[_Server]:
        now = time.monotonic()
        return [s for s in self._servers if s.rests_until <= now and s not in tried]

    def _choose(self, sequence: str | None, tried: Sequence[_Server]) -> _Server:
        """Where the sequence was, else the least busy one; those that rest only if all do."""
        up = self._rested(tried) or self._servers
        home = self._home.get(sequence) if sequence else None
        if home in up:
            return home
        chosen = min(up, key=lambda server: server.under_way)
        if sequence:
            self._home[sequence] = chosen
        return chosen

    async def close(self) -> None:
        """Close the connections."""
        for server in self._servers:
            await server.connections.close()


def base_address(url: str) -> str:
    """An address with its version: `http://host:8000` is `http://host:8000/v1`.

    Raises:
        PolicyError: It cannot be used.
    """
    try:
        check_url(url, _NAME)
    except SearchError as error:
        raise PolicyError(str(error)) from None
    url = url.rstrip("/")
    return url if url.count("/") > 2 else f"{url}/v1"
