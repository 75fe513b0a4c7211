"""Episodes: one question, rolled out to a trajectory by one coroutine.

The policy writes until it closes a block that asks for something. What it asks for is done by tools, all
of a reply at once, and what comes back is appended as injected text, or put into a new prompt, as the
context says. Where no tool listens, the reply is one uninterrupted generation.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate

from innersearch.errors import InnersearchError, Refusal
from innersearch.grammar import ANSWER, Malformed, last_answer
from innersearch.grammar.injection import encode_document
from innersearch.grammar.transcript import transcript
from innersearch.policy.base import Completion, Message, Request, Sampler
from innersearch.policy.stops import StopStrings
from innersearch.rollout.context import History, Prompt, Turn
from innersearch.rollout.observation import STYLES, Answered, answered_of, first_part, write
from innersearch.rollout.pen import EpisodePen
from innersearch.rollout.rules import Rules
from innersearch.rollout.scheduler import is_cancelled
from innersearch.rollout.segment import (
    NOTHING_SHOWN,
    Asking,
    Mark,
    Observation,
    Reply,
    SegmentBuilder,
)
from innersearch.tools.base import Outcome, State, ToolRequest, failed, is_free, unknown
from innersearch.types import Call, Finish, Question, Segment, Source, StopReason, Trajectory

Score = Callable[[Trajectory], tuple[float, dict[str, float]]]
"""Reward and named components of a trajectory."""
NO_MORE = "Nothing more can be asked for: answer now."
"""What a policy is told that asks for more than it may."""
_log = logging.getLogger(__name__)


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
    system: str = ""
    """The system message above it, if there is one."""


class Episode:
    """One trajectory in the making."""

    def __init__(self, task: Task, sampler: Sampler, rules: Rules) -> None:
        self.task, self.sampler, self.rules = task, sampler, rules
        self.identity = (task.group, task.repetition)
        self.state = State(self.identity)
        self.state.pen = EpisodePen(self)
        self.builder = self._begin(task.prompt_ids)
        told = [("system", task.system)] if task.system else []
        self._messages: Sequence[Message] = [*told, ("user", task.message)] if task.message else []
        self._opening = len(task.prompt_ids)
        self.replies = 0
        self.malformed = 0
        self._segments: list[Segment] = []
        self._calls: list[Call] = []
        self._turns: list[Turn] = []
        self._sampled = 0
        self._retried = 0
        self._rolled_back = 0
        self._last: StopReason | None = None
        self._reads = False
        self._read = False
        self._parts: list[Answered] = []

    async def run(self) -> Trajectory:
        """Roll the question out."""
        error = refused = None
        limit = self.rules.search.settings.timeout_s
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
        self.rules.tally.end(refused)
        return self._trajectory(reason, error or refused)

    def _trajectory(self, reason: StopReason, error: str | None) -> Trajectory:
        self._close(reason.finish)
        versions = [v for s in self._segments for v in s.versions or () if v is not None]
        trajectory = Trajectory(
            uid=f"{self.task.group}/{self.task.repetition}",
            group_id=self.task.group,
            repetition=self.task.repetition,
            question=self.task.question,
            segments=self._segments,
            calls=self._calls,
            sampling=self.rules.sampling,
            stop_reason=reason,
            step=min(versions, default=self.task.step),
            error=error,
            malformed=self.malformed,
            rolled_back=self._rolled_back or None,
        )
        if self.state.chosen is not None:
            trajectory = replace(trajectory, chosen=list(self.state.chosen))
        grammar = self.rules.grammar
        return replace(trajectory, answer=last_answer(transcript(trajectory, grammar), grammar))

    def _begin(self, prompt_ids: Sequence[int], calls: int = 0) -> SegmentBuilder:
        rules = self.rules
        return SegmentBuilder(rules.tokenizer, prompt_ids, rules.rule, rules.grammar, first_call=calls)

    def _close(self, finish: Finish) -> None:
        segment, calls = self.builder.build(finish)
        self._segments.append(segment)
        self._calls += calls
        self._sampled += self.builder.sampled

    async def _write(self) -> StopReason:
        reason = None
        while reason is None:
            reason = await self._reply()
        return reason

    async def _reply(self) -> StopReason | None:
        """One reply and what it asks for; why the trajectory ends, or None."""
        mark = self.builder.mark()
        # A thought about what came back began it.
        if not self._read:
            self.builder.begin_reply()
        self.builder.replies = self.replies
        reads, self._reads, self._read = self._reads and not self._last, False, False
        stop = self.rules.thought_stop if reads else self._stop()
        completion = await self.generate(stop)
        self.replies += 1
        self.builder.add_sampled(completion)
        if reads and completion.finish is Finish.STOP:
            return self._after_reading(mark)
        if (completion.finish is Finish.STOP and stop) or (
            completion.finish is Finish.EOS and self.rules.acts_at_end
        ):
            return await self._go_on(mark, completion.finish)
        return self._ended(completion.finish)

    def _after_reading(self, mark: Mark) -> StopReason | None:
        """Show the next part of a page, or let the policy act; why the trajectory ends, or None."""
        if self._parts:
            return self._show_part(mark)
        self._read = True
        if not self.rules.context.appends:
            self._turns.append(Turn(*self.builder.since(mark), (), "", lambda _: NOTHING_SHOWN))
            prompt = self.rules.context.prompt(self._history())
            if prompt and self.builder.rest_of(prompt.token_ids, NOTHING_SHOWN) is None:
                return self._begin_segment(prompt) or self._out_of_turns()
        return self._out_of_turns() if self._can_go_on() else self._full()

    def _show_part(self, mark: Mark) -> StopReason | None:
        """Show the next part of a page, to be read."""
        self._reads = True
        part, settings = self._parts.pop(0), self.rules.search.settings
        content = write(STYLES[settings.style], [part], self._cut, settings.max_tokens)
        most = part.max_tokens or settings.max_tokens
        return self._append(content, Source.PAGE, mark, most) or self._out_of_turns()

    def _ended(self, finish: Finish) -> StopReason:
        """Why no reply follows one that ended so."""
        if finish is Finish.LENGTH:
            return self._full()
        return StopReason.EOS if finish is Finish.EOS else StopReason.ANSWER

    async def _go_on(self, mark: Mark, finish: Finish) -> StopReason | None:
        """Do what a reply asks for; why the trajectory ends, or None."""
        if finish is Finish.STOP and self.builder.open in self.rules.grammar.opaque:
            # What ended the reply is text there, such as an answer that a thought mentions.
            self.replies -= 1
            return None if self.left() else self._full()
        reply = self.builder.reply(mark)
        if reply.malformed:
            return self._misread(reply.malformed, mark)
        self._retried = 0
        asked, answered = self._before_answer(reply)
        if self._last:
            return StopReason.ANSWER if answered else self._last
        reason = await self._use(asked, mark, show=not answered) if asked else None
        if answered:
            return StopReason.ANSWER
        if reason or (finish is Finish.EOS and not asked):
            return reason or StopReason.EOS
        return self._out_of_turns() if self._can_go_on() else self._full()

    def _before_answer(self, reply: Reply) -> tuple[list[Asking], bool]:
        """What is asked for before the first answer that counts, and whether there is one."""
        asked: list[Asking] = []
        for one in reply.asked:
            if one.action.tool != ANSWER:
                asked.append(one)
            elif self.rules.search.settings.stop_at_answer:
                return asked, True
        return asked, False

    async def _use(self, asked: Sequence[Asking], mark: Mark, *, show: bool) -> StopReason | None:
        settings, last = self.rules.search.settings, self.rules.settings.last_turn
        inputs = sum(max(1, len(one.action.inputs)) for one in asked)
        if self.state.calls + inputs > settings.max_searches:
            if last == "end":
                return StopReason.CALL_LIMIT
            self._last = StopReason.CALL_LIMIT
            return self._append(NO_MORE, Source.FORCED, mark) if show else None
        if not self.left():
            return self._full()
        ends = show and last == "end" and self._turns_are_up()
        if ends and not (asked := [one for one in asked if self._is_free(one)]):
            return StopReason.TURN_LIMIT
        outcomes = await self._outcomes(asked)
        self.state.calls += inputs
        for one, outcome in zip(asked, outcomes, strict=True):
            self.builder.record(*outcome.calls, block=one.block)
            for result in filter(None, outcome.results):
                self.rules.tally.add(result, settings.max_error_rate)
        if any(outcome.ends for outcome in outcomes):
            return StopReason.ANSWER
        if ends:
            return StopReason.TURN_LIMIT
        return self._show(asked, outcomes, mark) if show else None

    def _is_free(self, one: Asking) -> bool:
        """Whether it changes nothing but what the trajectory remembers, so that the last turn may."""
        return is_free(self.rules.tools.get(one.action.tool))

    async def _outcomes(self, asked: Sequence[Asking]) -> list[Outcome]:
        """What came of everything that was asked for, all at once."""
        if len(asked) == 1:
            return [await self._outcome(asked[0], self.state.calls)]
        places = accumulate((len(one.action.inputs) for one in asked), initial=self.state.calls)
        return await asyncio.gather(*map(self._outcome, asked, places))

    async def _outcome(self, one: Asking, place: int) -> Outcome:
        action = one.action
        tool = self.rules.tools.get(action.tool)
        if tool is None:
            return unknown(action, self.rules.tools)
        request = ToolRequest(
            action.inputs[0] if action.inputs else "",
            self.task.question,
            (*self.identity, place),
            self.task.step,
            one.written,
        )
        try:
            outcome = await tool.use(action, request, self.state)
        except InnersearchError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            # Some clients let out that they cancelled something of their own.
            if isinstance(error, asyncio.CancelledError) and is_cancelled():
                raise
            # Its text may hold what was sent, keys included: only whoever looks for it sees that.
            _log.warning("the tool %s failed: %s", action.tool, type(error).__name__)
            _log.debug("how the tool %s failed", action.tool, exc_info=error)
            return failed(action, type(error).__name__)
        if len(outcome.results) != len(action.inputs) or len(outcome.calls) != len(action.inputs):
            return failed(action, f"{len(outcome.results)} results for {len(action.inputs)} inputs")
        return outcome

    def _show(
        self, asked: Sequence[Asking], outcomes: Sequence[Outcome], mark: Mark
    ) -> StopReason | None:
        """Let the policy read what came back, unless it writes that itself."""
        settings = self.rules.search.settings
        notices = [outcome.notice for outcome in outcomes if outcome.notice]
        answered, source = answered_of([one.action for one in asked], outcomes)
        if not answered:
            return self._append("\n".join(notices), source, mark) if notices else None
        self._reads = self.rules.settings.reads_first
        if self._reads and source is Source.PAGE:
            answered, self._parts = first_part(answered)
        style = STYLES[settings.style]
        content = write(style, answered, self._cut, settings.max_tokens)
        alone = len(answered) == 1 and style.build is None and not notices
        most = answered[0].max_tokens or settings.max_tokens
        content = "\n".join([*notices, content])
        return self._append(content, source, mark, most if alone else None)

    def _cut(self, text: str, max_tokens: int | None) -> tuple[str, int]:
        cut = encode_document(self.rules.tokenizer, text, max_tokens, self.rules.grammar)
        return "".join(cut.pieces), len(cut.token_ids)

    def _append(
        self, content: str, source: Source, mark: Mark, max_tokens: int | None = None
    ) -> StopReason | None:
        """Put text between tags of information, or into a new prompt; why there is no room, or None."""
        if not self.left():
            return self._full()
        builder = self.builder
        observation = partial(self._observation, builder, max_tokens)
        shown = observation(content)
        if not self.rules.context.appends:
            reply = builder.since(mark)
            # What is around it is that of this place, wherever the segment is by then.
            shorter = lambda most: shown.around(observation(content[:most]))  # noqa: E731
            page = source is Source.PAGE
            self._turns.append(Turn(*reply, shown.token_ids, shown.text, shorter, page))
            prompt = self.rules.context.prompt(self._history()) or Prompt(())
            made = prompt.token_ids
            rest = builder.rest_of(made, shown) if made else shown
            if rest is None or len(made) > self._room():
                return self._begin_segment(prompt)
            shown = rest
        point = builder.mark()
        if self.rules.grammar.turns:
            builder.end_turn()
        builder.add_observation(shown, source)
        if self._can_go_on():
            return None
        builder.roll_back(point)
        return StopReason.CONTEXT_FULL

    def _observation(self, builder: SegmentBuilder, max_tokens: int | None, content: str) -> Observation:
        if turns := self.rules.turns:
            return builder.turn(turns.result(self._cut(content, max_tokens)[0]), turns)
        style = STYLES[self.rules.search.settings.style]
        return builder.observation(
            content, max_tokens=max_tokens, before=style.before, after=style.after
        )

    def _history(self) -> History:
        rules, task = self.rules, self.task
        message = "\n\n".join(filter(None, (task.system, task.message or task.question.question)))
        return History(
            *(rules.tokenizer, rules.grammar, message, task.prompt_ids),
            *(self._turns, self.state, self._room()),
        )

    def _room(self) -> int:
        """Tokens that a prompt may have."""
        context = self.sampler.context - 1 - self.rules.heading
        return min(context, self.rules.settings.budget or context)

    def _begin_segment(self, prompt: Prompt) -> StopReason | None:
        tokens = prompt.token_ids
        if len(tokens) > self._room():
            return StopReason.CONTEXT_FULL
        calls = self.builder.calls
        self._close(Finish.STOP)
        self.builder = self._begin(tokens, calls)
        if prompt.messages:
            self._messages, self._opening = prompt.messages, len(tokens)
        return None

    def _misread(self, malformed: Malformed, mark: Mark) -> StopReason | None:
        """What happens to a reply that cannot be read."""
        self.malformed += 1
        grammar = self.rules.grammar
        if self._last or grammar.malformed == "end":
            return StopReason.MALFORMED
        if grammar.malformed == "retry":
            if self._retried >= grammar.retries:
                return StopReason.MALFORMED
            self._retried += 1
            written = self.builder.sampled
            self.builder.roll_back(mark)
            self._rolled_back += written - self.builder.sampled
            return None
        self._retried += 1
        if grammar.retries and self._retried > grammar.retries:
            return StopReason.MALFORMED
        reason = self._append(str(malformed), Source.FORCED, mark)
        if reason:
            return reason
        return self._out_of_turns() if self._can_go_on() else self._full()

    def _turns_are_up(self) -> bool:
        most = self.rules.settings.max_turns
        return bool(most) and self.replies >= most

    def _out_of_turns(self) -> StopReason | None:
        """Why no turn follows, or None; the last one is granted here."""
        if self._last or not self._turns_are_up():
            return None
        if self.rules.settings.last_turn == "end":
            return StopReason.TURN_LIMIT
        self._last = StopReason.TURN_LIMIT
        return None

    def _stop(self) -> StopStrings | None:
        if self._last:
            return self.rules.answer_stop
        return self.rules.stop if self.rules.listens(self.state) else None

    def left(self) -> int:
        """Tokens that the policy may still write; text that is encoded again may have exceeded them."""
        room = self.sampler.context - len(self.builder)
        spent = self._sampled + self.builder.sampled
        return max(0, min(self.rules.sampling.max_new_tokens - spent, room))

    def _can_go_on(self) -> bool:
        """Whether there is room for another reply and what the framework begins it with."""
        return self.left() > 0 and len(self.builder) + self.rules.heading < self.sampler.context

    def _full(self) -> StopReason:
        """Which limit it is that leaves no token to write."""
        spent = self._sampled + self.builder.sampled >= self.rules.sampling.max_new_tokens
        full = len(self.builder) + self.rules.heading >= self.sampler.context
        return StopReason.CONTEXT_FULL if full and not spent else StopReason.TOKEN_BUDGET

    async def generate(self, stop: StopStrings | None, *, sample: int | None = None) -> Completion:
        """Let the policy go on from what is written; a numbered sample is drawn at temperature 1."""
        made = self.state.generations
        if sample is None:
            self.state.generations += 1
        most = max(1, self.left())
        if self.rules.settings.max_tokens_per_turn:
            most = min(most, self.rules.settings.max_tokens_per_turn)
        request = Request(
            self.builder.token_ids,
            self._stream(made, sample),
            stop=stop,
            max_new_tokens=most,
            temperature=None if sample is None else 1.0,
            sequence="/".join(map(str, self.identity)) if sample is None else None,
            messages=self._messages,
            opening=self._opening,
            grammar=self.rules.grammar,
        )
        return await self.sampler.generate(request)

    def _stream(self, made: int, sample: int | None) -> tuple[str | int, ...]:
        """The name of the random numbers of a generation, of which so many were made before."""
        if sample is not None:
            return (*self.identity, made, "sample", sample)
        return (*self.identity, made) if made else self.identity
