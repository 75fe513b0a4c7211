"""Questions to a model behind a chat API, one reply each, asked patiently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from innersearch.net.addresses import check_url
from innersearch.net.caller import Caller
from innersearch.net.calls import PermanentError
from innersearch.net.chat import Body, Parameters, Reply, chat_address, chat_body, complete, read_reply
from innersearch.net.client import Connections
from innersearch.net.fetching import fetch_json
from innersearch.net.keys import Key
from innersearch.net.patience import CallSettings

_SHORTEST_KEY = 8


class Conversations:
    """One model at one address; belongs to the event loop that it is first used in."""

    def __init__(
        self, url: str, model: str, name: str, key_variable: str, calls: CallSettings | None = None
    ) -> None:
        """`url` is a host, a base such as `…/v1`, or the full address; `name` says in errors who it is.

        Raises:
            SearchError: The address, the key, or a variable of the network cannot be used.
        """
        self.model, self.name = model, name
        self.parameters = Parameters(name)
        self._calls = calls or CallSettings()
        self._url = check_url(chat_address(url), name)
        self._key = Key.if_set(key_variable, name, shortest=_SHORTEST_KEY)
        self._connections = Connections(self._url, self._calls.deadline_s)
        self._caller = Caller(name, self._calls)

    async def reply(
        self, messages: Sequence[Mapping[str, str]], *, max_tokens: int, temperature: float, seed: int
    ) -> tuple[Reply, Any]:
        """A reply, and what the API says that it took, if it does.

        Raises:
            TransientError: It failed in all tries.
            PermanentError: The API refuses, or what it sends is no reply.
        """
        body = chat_body(self.model, messages, max_tokens=max_tokens, temperature=temperature, seed=seed)
        answer = await self._caller.call(lambda: self._once(body))
        try:
            return read_reply(answer), answer.get("usage")
        except ValueError as error:
            raise PermanentError(f"{self.name} sent {error}", reason="malformed") from None

    async def _once(self, body: Body) -> Any:
        return await complete(self._send, body, self.parameters, self.name, self._key)

    async def _send(self, body: Body) -> Any:
        headers = self._key.bearer() if self._key else {}
        request = self._connections.request("POST", self._url, body, headers)
        limit = self._calls.deadline_s
        return await fetch_json(
            self._connections.client, request, self.name, self._key, deadline_s=limit
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()
