"""What evaluations have written, as far as it is read again; `innersearch.stored` reads it.

What came later may be missing.
"""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(min_length=1)]
K = Annotated[str, Field(pattern=r"^[1-9]\d*$")]


class Greedy(TypedDict):
    """A line of greedy.jsonl, as far as it is compared."""

    id: Name
    group: Name
    em: bool
    f1: Share
    cover_em: bool
    searches: Amount
    question: NotRequired[str]
    golden_answers: NotRequired[list[str]]
    f1_rule: NotRequired[str]
    scores: NotRequired[dict[str, Share]]


class Sampled(TypedDict):
    """A line of samples.jsonl, as far as it is compared."""

    id: Name
    group: Name
    em: Annotated[list[Annotated[int, Field(ge=0, le=1)]], Field(min_length=1)]
    question: NotRequired[str]
    golden_answers: NotRequired[list[str]]


class Judged(TypedDict):
    """A line of judged.jsonl: what a judge said of one answer."""

    id: Name
    judge: Name
    of: str
    verdict: str | None
    score: Share | None
    error: str | None
    calls: Count
    tokens_in: Count
    tokens_out: Count


class Scored(TypedDict):
    """The score of one trajectory; see `innersearch.evaluate.scores.Score`."""

    id: Name
    answer: str | None
    em: bool
    cover_em: bool
    f1: Share
    format: Share
    searches: Count
    calls: Count
    failed: Count
    tokens: Count
    unfinished: bool
    partial: NotRequired[Count]
    rolled_back: NotRequired[Count]
    f1_rule: NotRequired[str]
    scores: NotRequired[dict[str, Share]]
    canary: NotRequired[str]


class Answered(Scored):
    """A line of greedy.jsonl, as far as an evaluation goes on from it."""

    group: Name
    question: str
    golden_answers: list[str]


class Repeated(TypedDict):
    """A line of samples.jsonl, as far as an evaluation goes on from it."""

    id: Name
    group: Name
    question: str
    golden_answers: list[str]
    em: Annotated[list[Annotated[int, Field(ge=0, le=1)]], Field(min_length=1)]
    answers: Annotated[list[str | None], Field(min_length=1)]
    format: Share
    searches: Amount
    unfinished: Count
    each: NotRequired[dict[str, list[Count]]]
    scores: NotRequired[dict[str, Annotated[list[Share], Field(min_length=1)]]]
    canary: NotRequired[str]


class _Asked(TypedDict):
    id: Name


class _Drawn(TypedDict):
    temperature: Amount


class Attempt(TypedDict):
    """A line of trajectories.jsonl, as far as is asked whose it is."""

    question: _Asked
    sampling: _Drawn


class _Decided(TypedDict):
    value: NotRequired[float | None]


class _Called(TypedDict):
    decision: NotRequired[_Decided | None]


class Searched(TypedDict):
    """A line of trajectories.jsonl, as far as its searches were decided by a signal."""

    calls: list[_Called]


class _Found(TypedDict):
    id: str
    title: str
    text: str


class _Weighed(_Decided):
    own: NotRequired[str | None]


class _Compared(TypedDict):
    input: str
    documents: list[_Found]
    decision: NotRequired[_Weighed | None]


class Checked(TypedDict):
    """A line of trajectories.jsonl, as far as engine and policy wrote about the same query."""

    calls: list[_Compared]


class Whole(TypedDict):
    """What summary.json needs to be compared."""

    n: Count
    settings: dict[str, Any]


class Made(TypedDict):
    """What settings.json needs to be compared."""

    model: str


class Estimated(TypedDict):
    """An estimate in a summary; null where there were too few samples."""

    value: float | None
    low: float | None
    high: float | None
    n: Count


class Shown(TypedDict):
    """What summary.json needs to be shown in a report."""

    em: Annotated[dict[str, Estimated], Field(min_length=1)]
    format_rate: Share
    searches: Amount
    calls: NotRequired[Amount]
    pass_at_k: NotRequired[dict[str, dict[K, Estimated]]]
    scores: NotRequired[dict[str, dict[str, Estimated]]]
