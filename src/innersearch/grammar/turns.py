"""What a chat template puts between a call, its result and the next reply: measured once per tokenizer.

A short conversation is rendered with words that stand for replies and results, and cut at them. The
history itself is never rendered again, so that every token stays the one that was sampled. That only
goes with a template that leaves earlier turns alone, which is measured as well.

Where a template has no tool role, or none after a plain reply, results are put as the user's message,
between the tags of information.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from innersearch.errors import ModelError
from innersearch.grammar.base import Grammar
from innersearch.types import Kind

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_Message = dict[str, str]
_SHOWN = 120
_INSTEAD = (
    'take a context that renders its prompts anew (context = "render"), a grammar without chat turns '
    '(grammar = "tags"), or another model'
)


@dataclass(frozen=True, slots=True)
class Turns:
    """The parts of a conversation that nobody in it writes, in the order in which they stand."""

    ends: str
    """What ends a reply, for example `<|im_end|>`; empty where the template has no such token."""
    end_id: int | None
    """The last token of it. A policy that has sampled it has ended its turn itself."""
    opens: str
    """What stands between that and the first result."""
    between: str
    """What stands between two results of one reply."""
    closes: str
    """What stands between the last result and the next reply."""
    quoted: bool
    """Whether results stand there as JSON strings."""

    def result(self, text: str) -> str:
        """A result as it is written; the text must be harmless already."""
        return json.dumps(text, ensure_ascii=False)[1:-1] if self.quoted else text


def turns_of(
    tokenizer: PreTrainedTokenizerFast, grammar: Grammar, tools: Sequence[Mapping[str, Any]] = ()
) -> Turns:
    """The turns of a tokenizer's chat template, with the schemas of tools in the prompt.

    Raises:
        ModelError: It has none, cannot render a conversation with results, or changes earlier turns.
    """
    return _turns(tokenizer, str(tokenizer.chat_template or ""), grammar, json.dumps(list(tools)))


@lru_cache(maxsize=32)
def _turns(tokenizer: PreTrainedTokenizerFast, template: str, grammar: Grammar, tools: str) -> Turns:
    if not template:
        raise ModelError(
            f"the grammar {grammar.name} needs chat turns, and the tokenizer has no chat template, as "
            "base models: take an instruction-tuned model, or a grammar without chat turns "
            '(grammar = "tags")'
        )
    reasons = []
    for role in ("tool", "user"):
        try:
            return _Conversation(tokenizer, grammar, json.loads(tools), role).measured()
        except Exception as error:  # Templates are programs of others.
            reasons.append(" ".join(f"{error}".split())[:_SHOWN] or type(error).__name__)
    raise ModelError(
        f"the tokenizer's chat template cannot hold calls and their results ({'; '.join(reasons)}): "
        f"{_INSTEAD}"
    )


class _Conversation:
    """Two questions to a tool, and what a template makes of them."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, grammar: Grammar, tools: list[Any], role: str
    ) -> None:
        self._tokenizer, self._grammar, self._tools, self._role = tokenizer, grammar, tools, role
        thought = re.escape(grammar.opening(Kind.THINK)), re.escape(grammar.closing(Kind.THINK))
        self._prefill = re.compile(rf"{thought[0]}\s*(?:{thought[1]}\s*)?\Z")
        asks = next(kind for kind in grammar.reads if kind is not Kind.ANSWER)
        self._call_end = grammar.closing(asks)
        self._replies = [
            f"{grammar.render(Kind.THINK, _thought(number))}\n\n{grammar.render(asks, f'Call{number}')}"
            for number in (1, 2)
        ]

    def measured(self) -> Turns:
        """Raises ValueError: A part is missing, or an earlier turn is not what it was."""
        begun = self._rendered([])
        after = self._rendered(self._turn(1))
        later = self._rendered([*self._turn(1), *self._turn(2)])
        kept = all(word in later for word in ("Thought1", "Thought2"))
        if not (kept and after.startswith(begun) and later.startswith(after)):
            raise ValueError("it removes or changes earlier turns")
        rest, closes = self._around(after, f"Call1{self._call_end}", "Result1")
        ends, end_id = self._end(rest)
        both = self._rendered(self._turn(1, "Result1", "Result2"))
        between, _ = self._around(both, "Result1", "Result2")
        quoted = 'Result1\\"x' in self._rendered(self._turn(1, 'Result1"x'))
        return Turns(ends, end_id, rest[len(ends) :], between, closes, quoted)

    def _around(self, text: str, first: str, second: str) -> tuple[str, str]:
        """What stands between two words, and behind the second."""
        _, found, rest = text.partition(first)
        between, also_found, behind = rest.partition(second)
        if not (found and also_found):
            raise ValueError(f"it loses or changes {second if found else first}")
        return between, behind

    def _end(self, rest: str) -> tuple[str, int | None]:
        """The beginning of what follows a reply, up to the token that ends a turn."""
        for token_id in self._tokenizer.encode(rest, add_special_tokens=False):
            token = str(self._tokenizer.decode([token_id]))
            if token.strip():
                at = rest.find(token.strip())
                if token_id in self._tokenizer.added_tokens_decoder and at >= 0:
                    return rest[: at + len(token.strip())], token_id
                break
        return "", None

    def _turn(self, number: int, *results: str) -> list[_Message]:
        """A reply and its results."""
        reply = {"role": "assistant", "content": self._replies[number - 1]}
        texts = results or (f"Result{number}",)
        if self._role == "tool":
            return [reply, *({"role": "tool", "name": "search", "content": text} for text in texts)]
        tagged = (self._grammar.render(Kind.INFORMATION, f"\n{text}\n") for text in texts)
        return [reply, {"role": "user", "content": "\n".join(tagged)}]

    def _rendered(self, turns: list[_Message]) -> str:
        """A question and what follows, up to where the next reply begins, without a thought begun."""
        rendered = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": "Question"}, *turns],
            tools=self._tools or None,
            add_generation_prompt=True,
            tokenize=False,
        )
        return self._prefill.sub("", str(rendered))


def _thought(number: int) -> str:
    return f"\nThought{number}\n"
