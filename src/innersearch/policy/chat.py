"""A policy behind a chat API that gives text only: for evaluation, never for training.

Its text is encoded here to be recorded, with whatever tokenizer is at hand, so trajectories are marked
as re-tokenised: their tokens are not those that were sampled, and there are no log-probabilities. What
engines returned is sent as messages of the user, since most chat APIs let nobody else continue a
message of the assistant.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from innersearch.errors import ModelError, Refusal
from innersearch.grammar import Grammar, scan
from innersearch.net.chat import Parameters, chat_body, read_reply
from innersearch.policy.base import Completion, Message, Request, endpoint_seed
from innersearch.policy.servers import Patience, Servers, base_address
from innersearch.types import Finish, Kind, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class ChatPolicy:
    """Asks a chat API; `tokenizer` only holds the text."""

    provides = frozenset[str]()
    served = True
    context = 10**6
    """Tokens that a sequence may have here; the API knows its own limit."""

    def __init__(
        self,
        url: str,
        model: str,
        tokenizer: PreTrainedTokenizerFast,
        *,
        in_flight: int = 32,
        patience: Patience | None = None,
    ) -> None:
        """Raises PolicyError: The address cannot be used."""
        self.name, self.tokenizer = model, tokenizer
        self._url, self._in_flight = base_address(url), in_flight
        self._patience = patience or Patience()
        self.parameters = Parameters(f"the API of {model}")
        """What it takes, as far as it has said."""

    @asynccontextmanager
    async def session(self, sampling: Sampling) -> AsyncIterator[_Session]:
        """Ask under `sampling` for many coroutines at once; see `Sampler`."""
        servers = Servers([self._url], self._in_flight, self._patience)
        try:
            yield _Session(self, servers, sampling)
        finally:
            await servers.close()


class _Session:
    context = ChatPolicy.context

    def __init__(self, policy: ChatPolicy, servers: Servers, sampling: Sampling) -> None:
        self._policy, self._servers, self._sampling = policy, servers, sampling

    async def generate(self, request: Request) -> Completion:
        opening, decode = request.opening or len(request.prompt_ids), self._policy.tokenizer.decode
        asked = request.messages or [("user", str(decode(list(request.prompt_ids[:opening]))))]
        written = str(decode(list(request.prompt_ids[opening:])))
        body = self._body(request, asked, written)
        answer = await self._servers.post("chat/completions", body, None, self._policy.parameters)
        return self._read(answer, request)

    def _body(self, request: Request, asked: Sequence[Message], written: str) -> dict[str, Any]:
        sampling, temperature = self._sampling, request.temperature
        return chat_body(
            self._policy.name,
            [*_messages(asked), *_dialogue(written, request.grammar)],
            max_tokens=request.max_new_tokens or sampling.max_new_tokens,
            temperature=sampling.temperature if temperature is None else temperature,
            seed=endpoint_seed(sampling.seed, request.stream),
            stop=request.stop.strings if request.stop else (),
        )

    def _read(self, answer: Any, request: Request) -> Completion:
        try:
            reply = read_reply(answer)
        except ValueError as error:
            raise ModelError(f"the chat API sent {error}") from None
        if reply.withheld:
            raise Refusal(f"the chat API sent {reply.withheld}")
        text, reason = reply.text, reply.finish
        if not _is_text(text):
            raise Refusal("the chat API sent half of a surrogate pair, which is no text")
        stops = request.stop.strings if request.stop else ()
        if len(kept := _cut(text, stops)) < len(text):
            text, reason = kept, "stop"
        stop = _taken(text, stops, request.grammar)
        finish = Finish.LENGTH if reason == "length" else Finish.EOS if stop is None else Finish.STOP
        tokenizer = self._policy.tokenizer
        text += (stop or "") * (finish is Finish.STOP)
        token_ids = tokenizer.encode(text, add_special_tokens=False)
        if finish is Finish.EOS or not token_ids:
            token_ids = [*token_ids, int(tokenizer.eos_token_id)]
            finish = Finish.LENGTH if finish is Finish.LENGTH else Finish.EOS
        return Completion(token_ids, [], [], finish)


def _messages(messages: Sequence[Message]) -> Iterator[dict[str, str]]:
    return ({"role": role, "content": content.strip()} for role, content in messages)


def _dialogue(written: str, grammar: Grammar) -> Iterator[dict[str, str]]:
    """What stands there so far: the assistant's text, and information as the user's."""
    said = ""
    for block in scan(written, grammar):
        text = written[block.start : block.end]
        if block.kind is Kind.INFORMATION:
            if said.strip():
                yield {"role": "assistant", "content": said.strip()}
            yield {"role": "user", "content": text}
            said = ""
        else:
            said += text
    if said.strip():
        yield {"role": "assistant", "content": said.strip()}


def _is_text(text: str) -> bool:
    """JSON can name one half of a surrogate pair, but no file and no tokenizer can hold it."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _cut(text: str, stops: tuple[str, ...]) -> str:
    """A text up to its first stop string: some APIs write on."""
    ends = [at + len(stop) for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(ends, default=len(text))]


def _taken(text: str, stops: tuple[str, ...], grammar: Grammar) -> str | None:
    """What is missing of the stop string that ended a text: APIs take it away and do not say which."""
    tags = (tag for kind, tag in grammar.tags.items() if kind is not Kind.THINK)
    opens, closes = max(tags, key=lambda tag: text.rfind(tag.opens))
    start = text.rfind(opens)
    if start < 0 or closes not in stops:
        return None
    if text.rstrip().endswith(closes):
        return ""
    return None if closes in text[start:] else closes
