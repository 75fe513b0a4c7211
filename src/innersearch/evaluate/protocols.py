"""Published evaluation protocols by name, as data; where a published one is defective, corrected.

A package adds its own under `innersearch.protocols`, and the sets that it asks under
`innersearch.benchmarks`.

All of them are greedy here, and every question of a set is scored. As released, ZeroSearch and Search-R1
validated at temperature 1 and dropped the last partial batch, which left 72 of the 125 Bamboogle
questions; what ZeroSearch calls EM is containment, which is `cover_em` here; and the 500 tokens that
both allow for a turn are not enforced, only the sum of all turns is. Which 500 questions of
each set SSRL, ZeroSearch, R1-Searcher and DeepResearcher took is not published: ours are drawn by the
hash of their ids, so that they depend on neither order nor seed. RAG-R1 takes whole sets, at temperature
0.7 as released, and prints no n; as DeepResearcher's reader any may be given, and the published one is a
language model.

    >>> protocol("zerosearch").metric, protocol("ssrl").subset
    ('cover_em', 500)
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from innersearch.assemble.choices import SearchChoice
from innersearch.config import SearchSettings
from innersearch.data.catalogue import find
from innersearch.errors import ConfigError
from innersearch.evaluate.scores import ALWAYS
from innersearch.extensions import Offers
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
    """What is reported first: em, cover_em, f1 or any other measure."""
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
    style: str = ""
    """How documents are written; as always where it is empty."""
    metrics: tuple[str, ...] = ()
    """What is measured besides, whatever is asked for."""
    rollout: Mapping[str, Any] = field(default_factory=dict)
    """Values of `RolloutSettings`: how the policy writes, what it sees next, when a trajectory ends."""
    read_by_model: bool = False
    """Whether a language model reads the pages."""

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
        # Published on GAIA (103 questions without files), xBench-DeepSearch (100) and Frames, with a
        # judge; the first two come with --data. Turns count readings.
        Protocol(
            *("asearcher", ("frames",), 0, "f1_set", "asearcher", 65_536),
            k=5,
            max_searches=128,
            max_tokens=8192,
            engine="Google by Serper, pages by Jina",
            engines=("serper",),
            style="linked",
            rollout={
                **{"grammar": "asearcher", "context": "shorten-pages:100", "pages": "jina"},
                **{"reader": "parts:25000:10", "reads_first": True},
                **{"max_turns": 128, "max_tokens_per_turn": 2048},
            },
        ),
        # Published on eight sets of documents, among them BrowseComp-Plus (830 questions) and a sample
        # of 50 of it; questions name their documents in a file that is given with --data.
        Protocol(
            *("harness-1", (), 0, "set_recall", "harness-1", 81_920),
            k=10,
            max_searches=1000,
            max_tokens=4096,
            engine="BM25 and text-embedding-3-small over the corpus of the set, reranked",
            engines=("bm25:", "dense:"),
            style="named",
            metrics=("set_recall", "set_precision", "f_beta", "pool_recall"),
            rollout={
                **{"grammar": "harness", "context": "render:5", "budget": 30_720},
                **{"max_turns": 40, "max_tokens_per_turn": 2048},
            },
        ),
        Protocol(
            *("r1-searcher", ("hotpotqa", "2wikimultihopqa", "bamboogle", "musique"), 500, "cover_em"),
            *("r1-searcher-chat", 4608),
            k=3,
            max_searches=8,
            max_tokens=1000,
            engine="bge-large-en-v1.5 over KILT's Wikipedia of 2019",
            engines=("dense:", "remote:"),
            style="numbered",
            rollout={"grammar": "r1-searcher", "max_tokens_per_turn": 512},
        ),
        # Up to five retrievals in evaluation, four in training.
        Protocol(
            *("rag-r1", _SEVEN, 0, "em", "rag-r1", 6144),
            k=3,
            max_searches=15,
            max_tokens=1000,
            engine="bge-large-en-v1.5 over KILT's Wikipedia of 2019",
            engines=("dense:", "remote:"),
            style="aligned",
            rollout={
                **{"grammar": "rag-r1", "max_turns": 5, "last_turn": "answer"},
                "max_tokens_per_turn": 1024,
            },
        ),
        Protocol(
            *("deepresearcher", _SEVEN, 512, "f1_set", "deepresearcher", 20_000),
            k=10,
            max_searches=120,
            max_tokens=1500,
            engine="Google by Serper",
            engines=("serper",),
            style="results",
            rollout={
                **{"grammar": "deepresearcher", "pages": "web", "reader": "passages:8"},
                **{"only_seen": "last", "max_turns": 10, "max_tokens_per_turn": 2000},
            },
            read_by_model=True,
        ),
    )
}


OFFERS = Offers("innersearch.protocols", Protocol, "protocol", PROTOCOLS)
"""Those and what other packages offer."""


def protocol(name: str) -> Protocol:
    """A protocol by name.

    Raises:
        ConfigError: There is none of that name.
    """
    return OFFERS.get(name)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """How an evaluation is to be done, before its model is known."""

    data: str
    prompt: str | None
    max_new_tokens: int
    subset: int | None
    """Questions per group; 0 takes all."""
    search: SearchChoice | None = None
    """Who answers the queries; None: the model itself."""
    groups: tuple[str, ...] = ()
    """Only questions of these groups."""
    direct: bool = False
    """Ask for the answer without search tags."""
    skip_long: bool = False
    """Leave out questions that are too long."""
    metrics: tuple[str, ...] = ()
    """Scores beside those that are always there."""
    protocol: Protocol | None = None
    departures: str = ""

    def select(self, questions: Sequence[Question]) -> list[Question]:
        """The questions that are asked."""
        if self.protocol is None:
            return draw(questions, self.subset or 0)
        return self.protocol.select(questions, self.subset)

    def counted(self, questions: Sequence[Question]) -> Choices:
        """The same, with every set of the protocol named that is not as large as published."""
        if self.protocol is None or not self.data or self.data != ",".join(self.protocol.sets):
            return self
        asked = Counter(question.group for question in questions)
        sizes = self.protocol.sizes(self.subset)
        missing = [
            f"{name} {asked[name]:,} of {size:,} questions"
            for name, size in sizes.items()
            if asked[name] != size and name in (self.groups or sizes)
        ]
        return replace(self, departures=", ".join(filter(None, [self.departures, *missing])))

    def limit(self, settings: SearchSettings | None) -> SearchSettings | None:
        """The search settings with what has no option of its own."""
        if self.protocol is None or settings is None:
            return settings
        style = {"style": self.protocol.style} if self.protocol.style else {}
        return settings.model_copy(update={"max_tokens": self.protocol.max_tokens, **style})

    def departing(self, given: Mapping[str, Any]) -> Choices:
        """The same, with what is given of `RolloutSettings` and is not the protocol's named."""
        preset = self.protocol.rollout if self.protocol and not self.direct else {}
        other = [f"{name} {value}" for name, value in given.items() if preset.get(name, value) != value]
        # A language model reads in published runs, whichever is at hand.
        if self.protocol and self.protocol.read_by_model:
            reader = str(given.get("reader", preset["reader"]))
            other = [name for name in other if not name.startswith("reader ")]
            other += [] if reader.startswith("model:") else [f"reader {reader}"]
        return replace(self, departures=", ".join(filter(None, [self.departures, *other])))

    @property
    def record(self) -> dict[str, Any]:
        """What the settings of the evaluation keep of the protocol."""
        named = {"protocol": self.protocol.name if self.protocol else "", "departures": self.departures}
        asked = self.metrics if self.metric in (*ALWAYS, *self.metrics) else (*self.metrics, self.metric)
        return (
            named
            | ({"skip_long": True} if self.skip_long else {})
            | ({"metrics": asked} if asked else {})
        )

    @property
    def only_real(self) -> bool:
        """Whether an engine answers every query."""
        return self.search is not None and self.search.only_real

    @property
    def metric(self) -> str:
        """What is reported first."""
        return self.protocol.metric if self.protocol else "em"


def follow(given: Choices, name: str) -> Choices:
    """The choices with those of a protocol where nothing is given.

    Raises:
        ConfigError: There is no such protocol, or it searches and no engine is given.
    """
    preset, search = protocol(name), given.search
    if preset.engine and search is None and not given.direct:
        raise ConfigError(
            f"protocol {name} asks an engine for every query (published: {preset.engine}): name "
            "yours with --search, for example bm25:DIR or remote:URL; for self-search there is protocol "
            "ssrl"
        )
    if search is not None:
        limits = {"k": preset.k, "max_searches": preset.max_searches}
        search = replace(search, given=limits | {**search.given})
    if not (given.data or preset.sets):
        raise ConfigError(
            f"protocol {name} is of questions that name their documents: give a file of them with --data"
        )
    return replace(
        given,
        metrics=tuple(dict.fromkeys((*preset.metrics, *given.metrics))),
        data=given.data or ",".join(preset.sets),
        prompt=given.prompt or (None if given.direct else preset.prompt),
        max_new_tokens=given.max_new_tokens or preset.max_new_tokens,
        search=search,
        protocol=preset,
        departures=", ".join(_departures(given, preset)),
    )


def _departures(given: Choices, preset: Protocol) -> Iterator[str]:
    """What is given and not the protocol's, in words."""
    search, limits = given.search, given.search.given if given.search else {}
    if preset.sets and given.data not in ("", ",".join(preset.sets)):
        yield f"data {given.data}"
    if preset.sets and given.groups and set(given.groups) != set(preset.sets):
        yield f"groups {','.join(given.groups)}"
    if given.direct:
        yield "direct"
    yield from preset.departures(
        prompt=given.prompt,
        max_new_tokens=given.max_new_tokens or None,
        subset=given.subset,
        k=limits.get("k"),
        max_searches=limits.get("max_searches"),
    )
    rule = "self" if search is None else str(search.rule or "hybrid")
    if not given.direct and rule != ("always" if preset.engine else "self"):
        yield f"search {rule}"
    if search and search.engine and not search.engine.startswith(preset.engines):
        yield f"engine {search.engine}"
    if noise := limits.get("noise"):
        yield f"noise {noise.end:g}"


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
