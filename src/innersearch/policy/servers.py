"""Servers that hold one model: whom to ask, and how long to wait for those that fail."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.stop import stop_base
from tenacity.wait import wait_base, wait_random_exponential

from innersearch.errors import PolicyError, Refusal, SearchError
from innersearch.search.calls import PermanentError, TransientError
from innersearch.search.http import Key, check_url, fetch_json, new_client

KEY_VARIABLE = "INNERSEARCH_POLICY_KEY"
"""Environment variable with the key of the servers, where they want one."""

_log = logging.getLogger(__name__)
_NAME = "the policy's server"
_REFUSED = ("http 400", "http 413", "http 422")
"""Reasons that may hold for one request; any other would hold for all."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long failing servers are waited for. Times are seconds."""

    deadline_s: float = 600.0
    """Longest request."""
    max_outage_s: float = 600.0
    """How long a request is tried again while no server answers."""
    first_s: float = 60.0
    """The same as long as none has ever answered: the address may be wrong."""
    tries: int = 5
    """Tries of a request that breaks a server that is up (HTTP 500)."""
    rest_s: float = 15.0
    """How long a server that failed is left alone, if there are others."""
    wait_s: float = 0.5
    """First wait between tries; grows to `rest_s`."""


@dataclass(slots=True)
class _Server:
    url: str
    under_way: int = 0
    rests_until: float = 0.0


class Servers:
    """Base addresses that answer alike, in one event loop."""

    def __init__(self, urls: Sequence[str], in_flight: int, patience: Patience) -> None:
        self._servers = [_Server(base_address(url)) for url in urls]
        self._patience = patience
        self._places = asyncio.Semaphore(in_flight)
        self._key = Key(KEY_VARIABLE, _NAME, shortest=1) if KEY_VARIABLE in os.environ else None
        self._client = new_client(patience.deadline_s)
        self._home: dict[str, _Server] = {}
        self._said = self._answered = False

    async def get(self, path: str) -> Any:
        """The answer of the first server to a GET.

        Raises:
            PolicyError: It did not answer, or refused.
        """
        request = self._client.build_request("GET", f"{self._servers[0].url}/{path}", headers=self._head)
        try:
            return await fetch_json(self._client, request, _NAME, self._key)
        except SearchError as error:
            raise PolicyError(str(error)) from None

    async def post(self, path: str, body: dict[str, Any], sequence: str | None = None) -> Any:
        """The answer of a server; those who ask under one name are sent to the same one if it is up.

        Raises:
            PolicyError: No server answered for as long as they are waited for.
            Refusal: The request itself was refused.
        """
        retrying = AsyncRetrying(
            stop=_Stop(self._patience, self._outage_s),
            wait=_Wait(self._patience),
            retry=retry_if_exception_type(TransientError),
            reraise=True,
        )
        try:
            return await retrying(self._once, path, body, sequence)
        except TransientError as error:
            tries = retrying.statistics["attempt_number"]
            advice = (
                "start it again, then resume: what is written stays"
                if self._answered
                else "start it, or correct the address"
            )
            raise PolicyError(f"{error}; tried {tries} time(s); {advice}") from None
        except PermanentError as error:
            raise (Refusal if error.reason in _REFUSED else PolicyError)(str(error)) from None

    async def _once(self, path: str, body: dict[str, Any], sequence: str | None) -> Any:
        async with self._places:
            server = self._choose(sequence)
            request = self._client.build_request(
                "POST", f"{server.url}/{path}", json=body, headers=self._head
            )
            server.under_way += 1
            try:
                async with asyncio.timeout(self._patience.deadline_s):
                    answer = await fetch_json(self._client, request, _NAME, self._key)
                self._answered = True
                return answer
            except TimeoutError:
                raise TransientError(f"{_NAME} did not answer in time at {server.url}") from None
            except TransientError as error:
                self._answered |= error.reason.startswith("http")
                if error.down:
                    self._say(error)
                    server.rests_until = time.monotonic() + self._patience.rest_s
                raise
            finally:
                server.under_way -= 1

    def _say(self, error: TransientError) -> None:
        """Who waits wants to know for what; once is enough."""
        if (limit := self._outage_s()) and not self._said:
            _log.warning("%s; trying again, for up to %g seconds", error, limit)
            self._said = True

    def _outage_s(self) -> float:
        longest = self._patience.max_outage_s
        return longest if self._answered else min(self._patience.first_s, longest)

    def _choose(self, sequence: str | None) -> _Server:
        """Where the sequence was, else the least busy one; those that rest only if all do."""
        now = time.monotonic()
        up = [server for server in self._servers if server.rests_until <= now] or self._servers
        home = self._home.get(sequence) if sequence else None
        if home in up:
            return home
        chosen = min(up, key=lambda server: server.under_way)
        if sequence:
            self._home[sequence] = chosen
        return chosen

    @property
    def _head(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key.read()}"} if self._key else {}

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


class _Wait(wait_base):
    """Exponential and random, and never shorter than the server asked for."""

    def __init__(self, patience: Patience) -> None:
        self._random = wait_random_exponential(patience.wait_s, patience.rest_s)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        asked = error.retry_after_s if isinstance(error, TransientError) else 0.0
        return max(self._random(retry_state), asked)


class _Stop(stop_base):
    """After the longest outage, or after a few tries of what breaks a server that is up."""

    def __init__(self, patience: Patience, outage_s: Callable[[], float]) -> None:
        self._patience, self._outage_s = patience, outage_s

    def __call__(self, retry_state: RetryCallState) -> bool:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        if isinstance(error, TransientError) and not error.down:
            return retry_state.attempt_number >= self._patience.tries
        return (retry_state.seconds_since_start or 0.0) >= self._outage_s()


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
