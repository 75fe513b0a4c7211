"""Episodes: one question, rolled out to a trajectory by one coroutine.

The policy writes until it closes a query to which the router listens. Who writes the information is
decided there: the engine, whose documents are appended as injected text; the policy, which just goes
on; or the policy first and the engine where it was unsure, in which case its own information is
rolled back. Where the router never listens, self-search is one uninterrupted generation.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from innersearch.config import SearchSettings
from innersearch.errors import PolicyError, Refusal, SearchError
from innersearch.grammar import MaskRule, closing, last_answer
from innersearch.grammar.transcript import transcript
from innersearch.policy.base import Completion, Request, Sampler
from innersearch.policy.stops import StopStrings
from innersearch.rollout.observation import STYLES, observation
from innersearch.rollout.segment import SegmentBuilder, Written
from innersearch.routing.router import Query, Route, Router
from innersearch.routing.signals import SAMPLED, SIGNALS, Own
from innersearch.search.base import Engine, SearchRequest, SearchResult, ask
from innersearch.types import (
    Call,
    Decision,
    Finish,
    Kind,
    Question,
    Sampling,
    Source,
    StopReason,
    Trajectory,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Score = Callable[[Trajectory], tuple[float, dict[str, float]]]
"""Reward and named components of a trajectory."""

_TALLY_FLOOR = 20
"""Searches, or trajectories, before the share of failed ones is judged."""
_MOST_REFUSED, _MOST_OF_FEW = 0.2, 0.5
"""Share of trajectories that a policy may refuse to write, and of fewer than those."""


@dataclass(frozen=True, slots=True)
class Task:
    """One rollout to do."""

    question: Question
    prompt_ids: tuple[int, ...]
    group: str
    """Identity of the group, from which with the repetition all its random numbers follow."""
    repetition: int = 0
    step: int = 0
    message: str = ""
    """The user message in the prompt; see `Request`."""


@dataclass(frozen=True)
class SearchPlan:
    """How queries are answered that the policy does not answer itself."""

    engine: Engine
    router: Router
    settings: SearchSettings = field(default_factory=SearchSettings)

    @property
    def identity(self) -> dict[str, Any]:
        """What results depend on, for the record."""
        deciding = {"k", "style", "max_searches", "max_tokens", "stop_at_answer", "samples"}
        return {
            "engine": dict(self.engine.identity),
            "router": self.settings.router,
            **self.settings.model_dump(include=deciding),
        }


@dataclass
class Tally:
    """Searches and trajectories of a run, and how many of them failed."""

    calls: int = 0
    failures: int = 0
    """Partly failed ones included: they are not what the engine finds either."""
    last_error: str | None = None
    trajectories: int = 0
    refused: int = 0
    last_refusal: str | None = None

    def add(self, result: SearchResult, limit: float) -> None:
        """Count a result.

        Raises:
            SearchError: More than `limit` of all searches failed, wholly or in part, or the budget is
                used up.
        """
        self.calls += 1
        error = result.error or result.partial
        self.failures += error is not None
        self.last_error = error or self.last_error
        if result.used_up:
            raise SearchError(f"{error}; what is written stays, and --resume goes on from it")
        if self.calls >= _TALLY_FLOOR and self.failures > limit * self.calls:
            raise SearchError(
                f"{self.failures} of {self.calls} searches failed, more than max_error_rate = {limit}; "
                f"the last one: {self.last_error}; what is written stays, and --resume goes on from it"
            )

    def end(self, error: str | None) -> None:
        """Count a trajectory that ended, and whether the policy refused to go on.

        Raises:
            PolicyError: It refused too many.
        """
        self.trajectories += 1
        self.refused += error is not None
        self.last_refusal = error or self.last_refusal
        if self.trajectories >= _TALLY_FLOOR:
            self.judge()

    def judge(self) -> None:
        """Find out whether a policy wrote enough to be measured.

        Raises:
            PolicyError: It refused too many.
        """
        most = _MOST_REFUSED if self.trajectories >= _TALLY_FLOOR else _MOST_OF_FEW
        if self.refused > most * self.trajectories:
            raise PolicyError(
                f"the policy refused {self.refused} of {self.trajectories} trajectories; the last "
                f"reason: {self.last_refusal}; what is written stays, and --resume asks again for "
                "those that were refused"
            )


@dataclass(frozen=True)
class Stops:
    """The stop strings of a tokenizer's episodes."""

    query: StopStrings
    """Ends at a query, and at an answer where the plan says so."""
    block: StopStrings
    """Ends at whatever block comes next."""

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast, plan: SearchPlan) -> Stops:
        """The stop strings for a plan."""
        answer = [closing(Kind.ANSWER)] * plan.settings.stop_at_answer
        blocks = (Kind.INFORMATION, Kind.SEARCH, Kind.ANSWER)
        return cls(
            StopStrings(tokenizer, [closing(Kind.SEARCH)], last=answer),
            StopStrings(tokenizer, [closing(kind) for kind in blocks]),
        )


@dataclass
class Episode:
    """One trajectory in the making."""

    task: Task
    sampler: Sampler
    tokenizer: PreTrainedTokenizerFast
    sampling: Sampling
    rule: MaskRule
    plan: SearchPlan | None
    stops: Stops | None
    tally: Tally
    turns: int = 0
    queries: list[Query] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.builder = SegmentBuilder(self.tokenizer, self.task.prompt_ids, self.rule)
        self.identity = (self.task.group, self.task.repetition)

    async def run(self) -> Trajectory:
        """Roll the question out."""
        error = refused = None
        limit = self.plan.settings.timeout_s if self.plan else 0.0
        scope = asyncio.timeout(limit or None)
        try:
            async with scope:
                reason = await self._write()
        except TimeoutError:
            if not scope.expired():
                raise
            reason = StopReason.TIMEOUT
            error = f"not finished within search.timeout_s = {limit:g} seconds"
        except Refusal as refusal:
            reason, refused = StopReason.ERROR, str(refusal)
        self.tally.end(refused)
        segment, calls = self.builder.build(reason.finish)
        trajectory = Trajectory(
            uid=f"{self.task.group}/{self.task.repetition}",
            group_id=self.task.group,
            repetition=self.task.repetition,
            question=self.task.question,
            segments=[segment],
            calls=calls,
            sampling=self.sampling,
            stop_reason=reason,
            step=self.task.step,
            error=error or refused,
        )
        return replace(trajectory, answer=last_answer(transcript(trajectory)))

    async def _write(self) -> StopReason:
        reason = None
        while reason is None:
            completion = await self._generate(self._stop())
            self.builder.add_sampled(completion)
            if completion.finish is Finish.STOP and self.plan:
                reason = await self._go_on(self.plan)
            else:
                reason = self._ended(completion.finish)
        return reason

    def _ended(self, finish: Finish) -> StopReason:
        """Why no reply follows one that ended so."""
        if finish is Finish.LENGTH:
            return self._full()
        return StopReason.EOS if finish is Finish.EOS else StopReason.ANSWER

    def _full(self) -> StopReason:
        """Which limit it is that leaves no token to write."""
        spent = self.builder.sampled >= self.sampling.max_new_tokens
        full = len(self.builder.token_ids) >= self.sampler.context
        return StopReason.CONTEXT_FULL if full and not spent else StopReason.TOKEN_BUDGET

    async def _go_on(self, plan: SearchPlan) -> StopReason | None:
        """Answer the query at which the policy stopped; why the trajectory ends, or None."""
        if plan.settings.stop_at_answer and self.builder.written(Kind.ANSWER):
            return StopReason.ANSWER
        query = self.builder.written(Kind.SEARCH)
        # A closing tag that closes nothing asks nothing.
        if query is not None:
            if len(self.queries) >= plan.settings.max_searches:
                return StopReason.CALL_LIMIT
            if self._left() and not await self._answer(plan, query):
                return StopReason.CONTEXT_FULL
        return None if self._left() else self._full()

    def _stop(self) -> StopStrings | None:
        if self.plan and self.stops and self.plan.router.listens(len(self.queries)):
            return self.stops.query
        return None

    def _left(self) -> int:
        """Tokens that the policy may still write; text that is encoded again may have exceeded them."""
        room = self.sampler.context - len(self.builder.token_ids)
        return max(0, min(self.sampling.max_new_tokens - self.builder.sampled, room))

    async def _generate(self, stop: StopStrings | None, *, sample: int | None = None) -> Completion:
        """Let the policy go on from what is written; a numbered sample is drawn at temperature 1."""
        turn = (self.turns,) if self.turns else ()
        stream = (
            (*self.identity, *turn) if sample is None else (*self.identity, self.turns, "sample", sample)
        )
        if sample is None:
            self.turns += 1
        request = Request(
            self.builder.token_ids,
            stream,
            stop=stop,
            max_new_tokens=max(1, self._left()),
            temperature=None if sample is None else 1.0,
            sequence="/".join(map(str, self.identity)) if sample is None else None,
            message=self.task.message,
        )
        return await self.sampler.generate(request)

    async def _answer(self, plan: SearchPlan, written: Written) -> bool:
        """Find out who answers a query and let it; whether the trajectory can go on."""
        query = Query(
            written.text,
            len(self.queries),
            written.logprobs,
            tuple(self.queries[-1:]),
            (*self.identity, self.turns),
        )
        self.queries.append(query)
        route = plan.router.route(query)
        if route.writer == "policy first":
            return await self._answer_unless_unsure(plan, query, route)
        decision = Decision(
            plan.router.name, route.writer == "engine", route.signal, route.value, route.threshold
        )
        if route.writer == "engine":
            return await self._search(plan, query, decision)
        self.builder.record(Call(query.index, query.text, Source.SELF_SEARCH, decision=decision))
        return True

    async def _answer_unless_unsure(self, plan: SearchPlan, query: Query, route: Route) -> bool:
        assert self.stops  # noqa: S101
        mark = self.builder.mark()
        others = await self._samples(plan) if route.signal in SAMPLED else []
        completion = await self._generate(self.stops.block)
        self.builder.add_sampled(completion)
        written = self.builder.written(Kind.INFORMATION)
        texts = [text for text, _ in others]
        own = (
            Own(written.text, written.logprobs, written.entropies, texts) if written else Own("", (), ())
        )
        value = SIGNALS[route.signal](own)
        unsure = written is None or value > (route.threshold or 0.0)
        spent = sum(tokens for _, tokens in others) + unsure * len(completion.token_ids)
        decision = Decision(
            plan.router.name,
            unsure,
            route.signal,
            value,
            route.threshold,
            own=(own.text if unsure else None),
            own_tokens=spent,
        )
        if unsure:
            self.builder.roll_back(mark)
            return await self._search(plan, query, decision)
        self.builder.record(Call(query.index, query.text, Source.SELF_SEARCH, decision=decision))
        return True

    async def _samples(self, plan: SearchPlan) -> list[tuple[str, int]]:
        """Further samples of the information that comes next, and their lengths in tokens."""
        assert self.stops  # noqa: S101
        completions = await asyncio.gather(
            *(self._generate(self.stops.block, sample=number) for number in range(plan.settings.samples))
        )
        samples = []
        for completion in completions:
            mark = self.builder.mark()
            self.builder.add_sampled(completion)
            written = self.builder.written(Kind.INFORMATION)
            samples.append((written.text if written else "", len(completion.token_ids)))
            self.builder.roll_back(mark)
        return samples

    async def _search(self, plan: SearchPlan, query: Query, decision: Decision) -> bool:
        started = time.perf_counter()
        asked = SearchRequest(
            query.text, self.task.question, (*self.identity, query.index), self.task.step
        )
        result = await ask(plan.engine, asked, plan.settings.k)
        waited = result.latency_s or time.perf_counter() - started
        source = plan.engine.source
        self.builder.record(
            Call(
                query.index,
                query.text,
                source,
                list(result.documents),
                result.error,
                waited,
                plan.engine.name,
                decision,
                result.label,
                result.faults,
                result.partial,
            )
        )
        self.tally.add(result, plan.settings.max_error_rate)
        return self._inject(plan, result, source if result.documents else Source.FORCED)

    def _inject(self, plan: SearchPlan, result: SearchResult, source: Source) -> bool:
        """Append a result; whether the model's context has room for it and more."""
        mark = self.builder.mark()
        style = STYLES[plan.settings.style]
        self.builder.add_information(
            observation(result, style),
            source,
            before=style.before,
            after=style.after,
            max_tokens=plan.settings.max_tokens,
        )
        if self._left() > 0:
            return True
        self.builder.roll_back(mark)
        return False
