"""What a model writes behind examples, line by line: the framework writes the label of each line.

Greedy, so that it is what the model knows best, right or wrong. Results are asked for by themselves,
behind nothing but searches and their results, since among all the other lines it knows less. Examples
are computed once for all that is asked behind them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, NamedTuple

from innersearch.cold_start.examples import LABELS, Examples, slots
from innersearch.errors import DataError
from innersearch.grammar import TAGS, Grammar, neutralise
from innersearch.grammar.control import harmless
from innersearch.policy.base import Completion, Policy, Request, Sampler
from innersearch.policy.stops import StopStrings
from innersearch.prompts import plain_tokens
from innersearch.rollout.scheduler import in_order
from innersearch.types import Finish, Kind, Question, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LONGEST = 40
"""Tokens of a line at most: what goes on longer is no answer to an example."""


class Asked(NamedTuple):
    """A question, and how many searches are written for it."""

    question: Question
    searches: int


class Written(NamedTuple):
    """What was written for it."""

    question: Question
    searches: int
    texts: tuple[str, ...]
    """Of the lines of `slots`; fewer where one stayed empty or did not end."""

    @property
    def whole(self) -> bool:
        """Whether every line was written."""
        return len(self.texts) == len(slots(self.searches))

    @property
    def answer(self) -> str | None:
        """The answer, where every line was written."""
        return self.texts[-1] if self.whole else None


@dataclass(frozen=True)
class FewShot:
    """A policy behind examples."""

    policy: Policy
    tokenizer: PreTrainedTokenizerFast
    examples: Examples
    grammar: Grammar = field(default=TAGS)
    """In whose tags the lines are to stand: what reads as one is put in other brackets."""
    in_flight: int = 64

    def stream(self, asked: Iterable[Asked]) -> Iterator[Written]:
        """Yield what is written, in the order of the questions.

        Raises:
            ConfigError: There are no examples with so many searches.
            DataError: A question holds markup that cannot be made harmless, or leaves no room in the
                model's context.
            ModelError: The weights are damaged.
        """
        with asyncio.Runner() as runner:
            written = self._written(asked)

            async def take() -> Written | None:
                return await anext(written, None)

            try:
                while (one := runner.run(take())) is not None:
                    yield one
            finally:
                runner.run(written.aclose())

    async def _written(self, asked: Iterable[Asked]) -> AsyncGenerator[Written]:
        async with self.policy.session(Sampling(0.0, LONGEST, 0)) as sampler:
            work = partial(self._write, sampler)
            async with aclosing(in_order(enumerate(asked), work, self.in_flight)) as found:
                async for one in found:
                    yield one

    async def _write(self, sampler: Sampler, entry: tuple[int, Asked]) -> Written:
        number, (question, searches) = entry
        beginning = self._begun(self.examples.text(searches))
        ids = beginning + self._encoded(f"{LABELS[Kind.PROMPT]} {self._harmless(question)}\n")
        texts: list[str] = []
        for place, kind in enumerate(slots(searches)):
            ids += self._encoded(LABELS[kind])
            if kind is Kind.INFORMATION:
                results = self._begun(self.examples.results())
                asked = f"{LABELS[Kind.SEARCH]} {texts[-1]}\n{LABELS[kind]}"
                prompt, name, shared = results + self._encoded(asked), None, len(results)
            else:
                prompt, name, shared = ids, f"{number}", len(beginning)
            made = await sampler.generate(
                Request(prompt, (number, place), self._stop, sequence=name, shared=shared)
            )
            line = self._line(made)
            if not line:
                break
            texts.append(neutralise(line, grammar=self.grammar))
            ids += self._encoded(f" {line}\n")
        return Written(question, searches, tuple(texts))

    def _line(self, made: Completion) -> str:
        """The line that was written; empty where it did not end."""
        text = str(self.tokenizer.decode(made.token_ids, skip_special_tokens=True))
        return "" if made.finish is Finish.LENGTH else " ".join(text.partition("\n")[0].split())

    def _harmless(self, question: Question) -> str:
        found = harmless(self.tokenizer, " ".join(question.question.split()), self.grammar)
        if found is None:
            raise DataError(
                f"question {question.id!r} holds markup that this tokenizer restores whatever is put in "
                "its place: leave it out"
            )
        return found.text

    def _encoded(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def _begun(self, examples: str) -> tuple[int, ...]:
        if examples not in self._known:
            self._known[examples] = plain_tokens(self.tokenizer, examples)
        return self._known[examples]

    @cached_property
    def _known(self) -> dict[str, tuple[int, ...]]:
        return {}

    @cached_property
    def _stop(self) -> StopStrings:
        return StopStrings(self.tokenizer, ["\n"])
