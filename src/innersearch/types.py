"""The nouns of innersearch, as frozen dataclasses: what flows between the rooms.

Offsets are token offsets unless a field says otherwise. A `Trajectory` written as one JSON line is
the source of truth for training, the viewer, cost and evaluation.

    >>> question = Question("q1", "Who founded Coltek?", ("Belira",))
    >>> question.golden_answers
    ('Belira',)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

ALL_GROUPS = "all"
"""The group of questions that name none, and what all questions together are reported under."""
MEAN_OF_GROUPS = "mean of groups"
"""The average that papers print: every group counts the same, whatever its size."""
SCHEMA = 2
"""How trajectories are written: 1 had `query` for `input`, and did not tell stop reasons apart."""
GROUP_LABELS = ("group", "data_source", "split")
"""Where metadata name the group of a question; the first that is there counts."""


class Kind(StrEnum):
    """What a span of tokens is for."""

    PROMPT = "prompt"
    """Before the first sampled token."""
    THINK = "think"
    """Reasoning."""
    SEARCH = "search"
    """A query."""
    OPEN = "open"
    """The address of a page."""
    CALL = "call"
    """JSON that names its tool."""
    INFORMATION = "information"
    """What a search returned, whoever wrote it."""
    ANSWER = "answer"
    """The final answer."""
    TEXT = "text"
    """Anything outside the tags, the end-of-sequence token included."""


class Source(StrEnum):
    """Who wrote a span of tokens."""

    TEMPLATE = "template"
    """The prompt."""
    POLICY = "policy"
    """The trained model."""
    SELF_SEARCH = "self_search"
    """The trained model, playing the search engine."""
    SIMULATOR = "simulator"
    """A second model, playing the search engine."""
    RETRIEVER = "retriever"
    """A local index."""
    WEB = "web"
    """A search API."""
    PAGE = "page"
    """A page that was opened."""
    FORCED = "forced"
    """The framework: notices and fixed continuations."""


class Finish(StrEnum):
    """Why a generation ended: of one reply, or the last one of a segment."""

    EOS = "eos"
    """The policy sampled an end-of-sequence token."""
    STOP = "stop"
    """A stop string appeared."""
    LENGTH = "length"
    """The token budget ran out, or no further reply was allowed."""
    ERROR = "error"
    """Something failed; the trajectory carries the message."""


class StopReason(StrEnum):
    """Why a trajectory ended."""

    EOS = "eos"
    """The policy sampled an end-of-sequence token."""
    ANSWER = "answer"
    """It closed an answer, and nothing was to follow."""
    TOKEN_BUDGET = "token_budget"
    """It had sampled all the tokens it may."""
    TURN_LIMIT = "turn_limit"
    """It had written all the replies it may."""
    CALL_LIMIT = "call_limit"
    """It asked for more than it may."""
    CONTEXT_FULL = "context_full"
    """The model's context had no room left."""
    MALFORMED = "malformed"
    """What it asked for could not be read."""
    TIMEOUT = "timeout"
    """Time ran out."""
    ERROR = "error"
    """Something failed; the trajectory carries the message."""
    LENGTH = "length"
    """In records from before these were told apart: token budget, call limit or full context."""

    @property
    def cut(self) -> bool:
        """Whether a limit ended it and not the policy."""
        return self in _CUT

    @property
    def failed(self) -> bool:
        """Whether it was not to end at all: something failed, or time ran out."""
        return self in (StopReason.ERROR, StopReason.TIMEOUT)

    @property
    def finish(self) -> Finish:
        """How the last generation counts as ended."""
        if self.cut:
            return Finish.LENGTH
        return _FINISHES.get(self, Finish.ERROR)


_CUT = frozenset(
    {
        StopReason.TOKEN_BUDGET,
        StopReason.TURN_LIMIT,
        StopReason.CALL_LIMIT,
        StopReason.CONTEXT_FULL,
        StopReason.LENGTH,
    }
)
_FINISHES = {
    StopReason.EOS: Finish.EOS,
    StopReason.ANSWER: Finish.STOP,
    StopReason.MALFORMED: Finish.STOP,
}


@dataclass(frozen=True, slots=True)
class Document:
    """One search result or corpus entry."""

    id: str
    title: str
    text: str
    url: str | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its gold answers."""

    id: str
    question: str
    golden_answers: tuple[str, ...]
    metadata: dict[str, Any] = field(default_factory=dict)
    """Free-form; see `group`."""

    @property
    def group(self) -> str:
        """What the question is reported under: its group, data source or split, else "all"."""
        labels = (self.metadata.get(key) for key in GROUP_LABELS)
        return next((name for name in labels if isinstance(name, str) and name.strip()), ALL_GROUPS)


@dataclass(frozen=True, slots=True)
class Span:
    """A run of tokens `[start, end)` of one segment with one purpose, one author and one loss mask."""

    start: int
    end: int
    kind: Kind
    source: Source
    text: str = ""
    """The characters these tokens stand for; the spans of a segment concatenate to its text."""
    call_id: int | None = None
    """The call that this query or information belongs to; the first one where they are several."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One causal token sequence the policy really conditioned on.

    All lists have one entry per token, prompt included. `loss_mask` ⊆ `sampled_mask`, and both are
    false on the prompt. The spans partition the tokens, and the loss mask is constant over each.
    """

    token_ids: list[int]
    prompt_len: int
    sampled_mask: list[bool]
    loss_mask: list[bool]
    logprobs: list[float | None]
    """Natural log of the probability under the sampling distribution; None where not sampled."""
    spans: list[Span]
    finish: Finish
    entropies: list[float | None] | None = None
    """Entropy of the sampling distribution in nats; None where not sampled."""
    versions: list[int | None] | None = None
    """The optimizer step whose weights sampled the token; None where not sampled. No list where the
    policy does not tell."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Why a search was answered by the engine or by the policy itself."""

    rule: str
    """The router, for example `gate`."""
    real: bool
    """Whether the engine was asked."""
    signal: str = ""
    """What the rule looked at."""
    value: float | None = None
    threshold: float | None = None
    own: str | None = None
    """The policy's own information that was rolled back."""
    own_tokens: int = 0
    """Tokens sampled to decide that are no part of the segment."""


@dataclass(frozen=True, slots=True)
class Call:
    """One input to a tool and what came of it. A failed call has an `error` and no documents."""

    id: int
    input: str
    """A query, an address, an id."""
    source: Source
    documents: list[Document] = field(default_factory=list)
    error: str | None = None
    latency_s: float = 0.0
    engine: str = ""
    """The engine that was asked; empty where the policy answered itself."""
    decision: Decision | None = None
    """None where there was nothing to decide."""
    label: str = ""
    """`useful` or `noisy` where the quality was decided beforehand."""
    faults: tuple[str, ...] = ()
    """What had to be mended in what a simulator wrote; see `innersearch.simulator.parsing`."""
    partial: str | None = None
    """What is missing and why, where only some of several fused engines answered."""
    tool: str = "search"
    """What was used."""
    turn: int = 0
    """The reply that asked for it, counted from 0; calls of one turn share it."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. Temperature 0 takes the most likely token."""

    temperature: float = 1.0
    max_new_tokens: int = 256
    seed: int = 0
    """Each trajectory draws from a stream of its own: (seed, group, repetition)."""


@dataclass(frozen=True, slots=True)
class AgentRun:
    """How a program ran whose requests to the model are a trajectory."""

    requests: int = 0
    """Requests that the model answered."""
    refused: int = 0
    """Requests that could not be answered: a limit was reached, or they could not be read."""
    abandoned: int = 0
    """Requests whose client went away before the answer; nothing of them is in the trajectory."""
    exit_code: int | None = None
    """None where it was stopped, or was not started here."""
    printed: int = 0
    """Characters that it printed."""
    seconds: float = 0.0
    """How long it ran."""


@dataclass(frozen=True, slots=True)
class Trajectory:
    """Everything that happened for one question once."""

    uid: str
    group_id: str
    """Shared by the repetitions of one question in one step."""
    repetition: int
    question: Question
    segments: list[Segment]
    calls: list[Call]
    sampling: Sampling
    stop_reason: StopReason
    step: int = 0
    """The optimizer step of the policy that wrote it, the smallest of several; 0 outside training. With
    rollouts ahead of training the step that trained on it; `Segment.versions` tells of the policy."""
    reward: float | None = None
    components: dict[str, float] = field(default_factory=dict)
    """The named parts the reward was made of, and unweighted metrics."""
    answer: str | None = None
    """The last closed answer the policy wrote, or None."""
    tokenizer_id: str = ""
    error: str | None = None
    malformed: int = 0
    """Actions that could not be read."""
    agent: AgentRun | None = None
    """Where a program of others asked the model; its answer need not stand in what the model wrote."""
    rolled_back: int | None = None
    """Tokens of replies that could not be read and were written anew; those of drafts stand in the
    decisions of calls. None where there were none."""
    chosen: list[str] | None = None
    """The ids of the documents that the policy chose, best first; None where that is no part of the
    task."""
    schema: int = SCHEMA
    """How the record is written; `innersearch.trajectories` reads all there have been."""
