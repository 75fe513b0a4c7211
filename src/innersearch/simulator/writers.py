"""Who writes a simulator's documents: a model in this process, or one behind an OpenAI-style address."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from innersearch import prompts
from innersearch.config import SimulatorSettings
from innersearch.errors import DataError
from innersearch.grammar import TAGS
from innersearch.grammar.control import harmless
from innersearch.net.addresses import check_url
from innersearch.net.calls import PermanentError
from innersearch.net.chat import Parameters, chat_address, chat_body, complete, read_reply
from innersearch.net.client import Connections
from innersearch.net.fetching import fetch_json
from innersearch.net.keys import Key
from innersearch.net.patience import CallSettings
from innersearch.policy.base import Policy, Request, Sampler, endpoint_seed
from innersearch.policy.stops import StopStrings
from innersearch.search.base import SearchResult
from innersearch.search.remote.calls import once
from innersearch.search.wrappers.reliable import Reliable
from innersearch.thoughts import begins_inside, belongs_to_mark, is_mark, spoken
from innersearch.types import Document, Finish, Kind, Sampling, Source

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

KEY_VARIABLE = "INNERSEARCH_SIMULATOR_KEY"
"""Environment variable with the key of a simulator's address, where it wants one."""


_TAG = re.compile(f"({'|'.join(map(re.escape, TAGS.markup))})")
_LONGEST = 400_000
"""Characters of a reply that are read; what a server sends beyond is none that was asked for."""
_BEGINNING = 40
"""Tokens at the end of a prompt in which a template may begin a thought."""
_MENTIONS = 20
"""How often a thought may speak of a stop string."""


class Prompt(NamedTuple):
    """What a writer is asked, and how its reply begins."""

    message: str
    begun: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """What a writer wrote."""

    text: str = ""
    ended: bool = True
    """Whether it ended by itself, and not at its length limit."""
    error: str | None = None
    cost_usd: float = 0.0


class Writer(Protocol):
    """A language model that answers one prompt at a time, for many callers at once."""

    name: str

    async def write(self, prompt: Prompt, stream: tuple[str | int, ...]) -> Output:
        """The output for one prompt; all its random numbers follow from `stream`."""

    async def close(self) -> None:
        """Let go of everything; it is not asked again."""


def encode_prompt(tokenizer: PreTrainedTokenizerFast, prompt: Prompt) -> tuple[int, ...]:
    """The tokens of a prompt, with those of the reply that has begun.

    No control token of the tokenizer comes of the queries, questions and documents in it; the tags with
    which a prompt begins the reply are its own.

    Raises:
        DataError: It holds markup that the tokenizer restores whatever is put in its place.
    """
    prompt_ids = prompts.encode_message(tokenizer, _harmless(tokenizer, prompt.message))
    if not prompt.begun:
        return prompt_ids
    parts = (
        part if _TAG.fullmatch(part) else _harmless(tokenizer, part) for part in _TAG.split(prompt.begun)
    )
    return prompt_ids + tuple(tokenizer.encode("".join(parts), add_special_tokens=False))


def _harmless(tokenizer: PreTrainedTokenizerFast, text: str) -> str:
    found = harmless(tokenizer, text)
    if found is None:
        raise DataError("it holds markup that its tokenizer restores whatever is put in its place")
    return found.text


class LocalWriter:
    """A policy in this process; concurrent prompts join its running batch."""

    def __init__(
        self,
        name: str,
        policy: Policy,
        tokenizer: PreTrainedTokenizerFast,
        settings: SimulatorSettings,
        weights: str = "",
    ) -> None:
        self.name, self.weights = name, weights
        self._policy, self._tokenizer = policy, tokenizer
        self._sampling = Sampling(settings.temperature, settings.max_new_tokens, settings.seed)
        self._stop = StopStrings(tokenizer, [TAGS.closing(Kind.INFORMATION)])
        added = {i: str(token) for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._marks = frozenset(i for i, token in added.items() if is_mark(token))
        self._others = frozenset(i for i, token in added.items() if not belongs_to_mark(token))
        self._stack = AsyncExitStack()
        self._sampler: Sampler | None = None
        self.tokens = 0
        """Tokens written so far."""

    async def write(self, prompt: Prompt, stream: tuple[str | int, ...]) -> Output:
        """The output for one prompt; one that is too long for the model is an error."""
        if self._sampler is None:
            session = self._policy.session(self._sampling)
            self._sampler = await self._stack.enter_async_context(session)
        try:
            prompt_ids = encode_prompt(self._tokenizer, prompt)
            completion = await self._sampler.generate(Request(prompt_ids, stream, stop=self._stop))
        except DataError as error:
            return Output(error=f"the simulator cannot be asked: {error}")
        self.tokens += len(completion.token_ids)
        text = self._text(prompt_ids, completion.token_ids)
        return Output(_before_stop(text), ended=completion.finish is not Finish.LENGTH)

    def _text(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> str:
        """What was written; of control tokens only those that mark thoughts, whoever began the first."""
        decode = self._tokenizer.decode
        begun = decode(list(prompt_ids[-_BEGINNING:]), skip_special_tokens=False)
        opened = "<think>" * begins_inside(str(begun))
        if self._marks.isdisjoint(token_ids):
            return opened + str(decode(list(token_ids), skip_special_tokens=True))
        told = [i for i in token_ids if i not in self._others]
        return opened + str(decode(told, skip_special_tokens=False))

    async def close(self) -> None:
        """End the running batch."""
        self._sampler = None
        await self._stack.aclose()


class ChatWriter:
    """A model behind an OpenAI-style `/v1/chat/completions` address, such as vLLM's or SGLang's.

    Failed calls are tried again and outages waited out, as with any engine over the network.
    """

    def __init__(
        self,
        url: str,
        model: str,
        settings: SimulatorSettings,
        calls: CallSettings | None = None,
    ) -> None:
        """`url` is a host, a base such as `…/v1`, or the full address.

        Raises:
            SearchError: The address cannot be used.
        """
        self.name = model
        calls = replace(calls or CallSettings(), in_flight=settings.max_batch)
        self._completions = _Completions(chat_address(url), model, settings, calls)
        self.calls = Reliable(self._completions, calls)

    async def write(self, prompt: Prompt, stream: tuple[str | int, ...]) -> Output:
        """The output for one prompt, or why there is none after all tries."""
        seed = endpoint_seed(self._completions.settings.seed, stream)
        [result] = await self.calls.search([json.dumps([prompt.message, prompt.begun, seed])], 1)
        if result.error is not None:
            return Output(error=result.error, cost_usd=result.cost_usd)
        [document] = result.documents
        return Output(_before_stop(document.text), document.title != "length", cost_usd=result.cost_usd)

    async def close(self) -> None:
        """Close the connections."""
        await self.calls.close()


class _Completions:
    """The address as an engine that makes calls: a query is a prompt, its document the output."""

    source, price_usd = Source.SIMULATOR, 0.0
    batch: int | None = 1

    def __init__(self, url: str, model: str, settings: SimulatorSettings, calls: CallSettings) -> None:
        self.name = f"the simulator {model}"
        self.identity: Mapping[str, str | int | float | bool | None] = {"url": url, "model": model}
        self.settings = settings
        self._url, self._model = check_url(url, self.name), model
        self._key = Key.if_set(KEY_VARIABLE, self.name, shortest=8)
        self._connections = Connections(self._url, calls.deadline_s)
        self.parameters = Parameters(self.name)

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        return await once(self, queries, k)

    async def ask(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        message, begun, seed = json.loads(queries[0])
        body = chat_body(
            self._model,
            [{"role": "user", "content": message}],
            max_tokens=self.settings.max_new_tokens,
            temperature=self.settings.temperature,
            seed=seed,
            stop=[TAGS.closing(Kind.INFORMATION)],
        )
        if begun:
            body["messages"].append({"role": "assistant", "content": begun})
            # As vLLM and SGLang call it; others take a last message of the assistant that way anyway.
            body |= {"add_generation_prompt": False, "continue_final_message": True}
        answer = await complete(self._send, body, self.parameters, self.name, self._key)
        return [_read(answer, self.name)]

    async def _send(self, body: dict[str, Any]) -> Any:
        headers = self._key.bearer() if self._key else {}
        client = self._connections.client
        request = self._connections.request("POST", self._url, body, headers)
        return await fetch_json(client, request, self.name, self._key)

    async def close(self) -> None:
        await self._connections.close()


def _read(answer: Any, name: str) -> SearchResult:
    try:
        reply = read_reply(answer)
    except ValueError as error:
        raise PermanentError(f"{name} sent {error}", reason="malformed") from None
    if reply.withheld:
        raise PermanentError(f"{name} sent {reply.withheld}", reason="withheld")
    finish = reply.finish if len(reply.text) <= _LONGEST else "length"
    return SearchResult((Document("0", finish, reply.text[:_LONGEST]),))


def _before_stop(text: str) -> str:
    """A text up to the stop string, which is no part of it; a thought may speak of it."""
    ends = islice(re.finditer(TAGS.closing(Kind.INFORMATION), text), _MENTIONS)
    befores = (text[: end.start()] for end in ends)
    return next((before for before in befores if spoken(before).whole is not None), text)
