"""Published evaluation protocols by name, as data; where a published one is defective, corrected.

All of them are greedy here, and every question of a set is scored. As released, ZeroSearch and Search-R1
validated at temperature 1 and dropped the last partial batch, which left 72 of the 125 Bamboogle
questions; what ZeroSearch calls EM is containment, which is `cover_em` here; and the 500 tokens that
both allow for a turn are not enforced, only the sum of all turns is. Which 500 questions of
each set SSRL and ZeroSearch took is not published: ours are drawn by the hash of their ids, so that they
depend on neither order nor seed.

    >>> protocol("zerosearch").metric, protocol("ssrl").subset
    ('cover_em', 500)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from innersearch.data.catalogue import find
from innersearch.errors import ConfigError, did_you_mean
from innersearch.types import Question

_SIX = ("nq", "triviaqa", "hotpotqa", "musique", "2wikimultihopqa", "bamboogle")
_SEVEN = ("nq", "triviaqa", "popqa", "hotpotqa", "2wikimultihopqa", "musique", "bamboogle")


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a paper evaluated."""

    name: str
    sets: tuple[str, ...]
    """Benchmarks, by their names in the catalogue."""
    subset: int
    """Questions of each set; 0 takes all."""
    metric: str
    """What is reported first."""
    prompt: str
    max_new_tokens: int
    """Longest response; documents do not count."""
    k: int
    """Documents per search."""
    max_searches: int
    max_tokens: int
    """Longest information block, in tokens."""
    engine: str = ""
    """What the paper searched; empty where the policy searches its own memory."""
    engines: tuple[str, ...] = ()
    """How the names of engines begin that may be it."""
    question_mark: bool = False
    """Questions that lack one get a question mark."""

    def select(self, questions: Sequence[Question], subset: int | None = None) -> list[Question]:
        """The questions that are asked, as they are asked."""
        chosen = draw(questions, self.subset if subset is None else subset)
        return [_with_mark(question) for question in chosen] if self.question_mark else chosen

    def sizes(self, subset: int | None = None) -> dict[str, int]:
        """Questions that are asked of each set, if all of it is there."""
        asked = self.subset if subset is None else subset
        whole = {name: find(name).n for name in self.sets}
        return {name: min(n, asked) if asked else n for name, n in whole.items()}

    def departures(self, **given: object) -> Iterator[str]:
        """Which of the given values, None where not given, are not the protocol's, in words."""
        for name, value in given.items():
            if value is not None and value != getattr(self, name):
                yield f"{name} {value}"


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        # k is that of Sim2Real, top 3 of Google; the format reward allows 7 searches.
        Protocol("ssrl", _SIX, 500, "em", "ssrl", 4096, k=3, max_searches=7, max_tokens=500),
        # MAX_TURNS of the README is 5; the paper's runs used 2, its author says.
        Protocol(
            *("zerosearch", _SEVEN, 500, "cover_em", "search-r1", 3000),
            k=5,
            max_searches=5,
            max_tokens=2048,
            engine="Google by SerpAPI",
            engines=("serpapi",),
        ),
        Protocol(
            *("search-r1", _SEVEN, 0, "em", "search-r1", 2500),
            k=3,
            max_searches=4,
            max_tokens=500,
            engine="e5-base-v2 over wiki-18",
            engines=("dense:", "remote:"),
            question_mark=True,
        ),
    )
}


def protocol(name: str) -> Protocol:
    """A protocol by name.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"unknown protocol {name!r}; {did_you_mean(name, PROTOCOLS)}")
    return PROTOCOLS[name]


def draw(questions: Sequence[Question], subset: int) -> list[Question]:
    """`subset` questions of each group, those whose ids hash lowest, in their order; 0 takes all."""
    if not subset:
        return list(questions)
    groups: dict[str, list[Question]] = {}
    for question in questions:
        groups.setdefault(question.group, []).append(question)
    chosen = {
        question.id for members in groups.values() for question in sorted(members, key=_rank)[:subset]
    }
    return [question for question in questions if question.id in chosen]


def _rank(question: Question) -> str:
    return hashlib.sha256(question.id.encode()).hexdigest()


def _with_mark(question: Question) -> Question:
    text = question.question
    return question if text.endswith("?") else replace(question, question=f"{text}?")
