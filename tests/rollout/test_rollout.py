"""Episodes with the bundled model and BM25 over its world: who writes what, and what is recorded."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from transformers import PreTrainedTokenizerFast

from innersearch.errors import DataError, SearchError
from innersearch.grammar import MaskRule
from innersearch.policy.base import Completion
from innersearch.rollout.episode import Task
from innersearch.rollout.segment import SegmentBuilder
from innersearch.routing.signals import SIGNALS, Own
from innersearch.search.base import SearchResult
from innersearch.testing import ScriptedEngine
from innersearch.types import (
    Call,
    Document,
    Finish,
    Kind,
    Question,
    Segment,
    Source,
    StopReason,
    Trajectory,
)
from tests.rollout.rolling import (
    TEST,
    Late,
    content,
    index,
    injected,
    model,
    plan,
    roll,
    rollout,
    segment,
    tasks,
    text,
    token_ids,
    tokenizer,
    writes_alone,
)

# Who writes the information


def test_the_engine_writes_all_information_and_none_of_it_counts_as_the_policy_s() -> None:
    calls = 0
    for trajectory in roll(plan("always"), wanted=tasks(60)):
        part, spans = segment(trajectory), injected(trajectory)
        assert len(spans) == len(trajectory.calls)
        for call, span in zip(trajectory.calls, spans, strict=False):
            calls += 1
            assert (call.source, call.engine, call.error) == (Source.RETRIEVER, "bm25", None)
            assert (call.decision.rule, call.decision.real) == ("always", True)
            assert content(span) == call.documents[0].text
            assert (span.kind, span.source, span.call_id) == (
                Kind.INFORMATION,
                Source.RETRIEVER,
                call.id,
            )
            place = slice(span.start, span.end)
            assert not any(part.sampled_mask[place])
            assert not any(part.loss_mask[place])
            assert part.logprobs[place] == part.entropies[place] == [None] * (span.end - span.start)
            [query] = [s for s in part.spans if s.kind is Kind.SEARCH and s.call_id == call.id]
            assert query.text.replace("<search> ", "<search>") == f"<search>{call.input}</search>"
            assert all(part.loss_mask[query.start : query.end])
            [found] = asyncio.run(index().search([call.input], 1))
            assert call.documents == list(found.documents)
    assert calls > 25


def test_self_search_is_one_uninterrupted_generation() -> None:
    wanted = tasks()
    bare, planned = roll(None, wanted=wanted), roll(plan("self"), wanted=wanted)
    assert planned == bare == roll(plan("first:0"), wanted=wanted)
    for trajectory, completion in zip(bare, writes_alone(wanted, 1.0), strict=True):
        part = segment(trajectory)
        assert part.token_ids[part.prompt_len :] == completion.token_ids
        assert part.logprobs[part.prompt_len :] == completion.logprobs
        assert {call.source for call in trajectory.calls} <= {Source.SELF_SEARCH}


@pytest.mark.parametrize("real", [1, 2])
def test_exactly_the_first_searches_are_real(real: int) -> None:
    most = 0
    for trajectory in roll(plan(f"first:{real}"), 1.6, tasks(20)):
        engines = [call.engine for call in trajectory.calls]
        assert engines == (["bm25"] * real + [""] * len(engines))[: len(engines)]
        assert len(injected(trajectory)) <= real
        most = max(most, len(engines))
    assert most > real


def test_an_open_gate_keeps_what_the_policy_writes() -> None:
    """Where it writes information at all; where it does not, there is nothing to be sure of."""
    wanted = tasks()
    gated = roll(plan("gate:entropy:inf"), 0.0, wanted)
    kept = 0
    for trajectory, alone in zip(gated, roll(None, 0.0, wanted), strict=True):
        decisions = [call.decision for call in trajectory.calls]
        assert all(
            (d.real, d.own) == (d.value == float("inf"), "" if d.real else None) for d in decisions
        )
        if not any(d.real for d in decisions):
            kept += bool(decisions)
            assert text(trajectory) == text(alone)
            assert [c.documents for c in trajectory.calls] == [
                c.documents for c in alone.calls[: len(decisions)]
            ]
    assert kept > 10


def test_a_closed_gate_replaces_all_and_nothing_of_what_was_rolled_back_is_left() -> None:
    wanted = tasks()
    gated = roll(plan("gate:entropy:-inf"), 0.0, wanted)
    always = roll(plan("always"), 0.0, wanted)
    assert token_ids(gated) == token_ids(always)
    written = 0
    for trajectory, other in zip(gated, always, strict=True):
        assert segment(trajectory).spans == segment(other).spans
        for call, same in zip(trajectory.calls, other.calls, strict=True):
            decision = call.decision
            assert decision.real
            assert (call.documents, call.engine) == (same.documents, "bm25")
            assert decision.own_tokens > 0
            written += bool(decision.own)
    assert written > 10


@pytest.mark.parametrize("signal", ["entropy", "max-entropy", "min-prob"])
def test_a_gate_decides_by_the_signal_of_the_information_that_was_written(signal: str) -> None:
    thresholds = {"entropy": 0.3, "max-entropy": 1.5, "min-prob": 0.5}
    real = kept = 0
    for trajectory in roll(plan(f"gate:{signal}:{thresholds[signal]}")):
        part = segment(trajectory)
        for call in trajectory.calls:
            decision = call.decision
            if decision is None:
                continue
            assert decision.real == (decision.value > decision.threshold or decision.own == "")
            real += decision.real
            if not decision.real:
                kept += 1
                assert decision.own_tokens == 0
                inside = information_tokens(part, call.id)
                own = Own("", [part.logprobs[i] for i in inside], [part.entropies[i] for i in inside])
                assert decision.value == pytest.approx(SIGNALS[signal](own))
    assert min(real, kept) > 3


def information_tokens(part: Segment, call_id: int) -> range:
    """The tokens of a self-written information block without its tags, which are tokens of their own."""
    [span] = [s for s in part.spans if s.source is Source.SELF_SEARCH and s.call_id == call_id]
    assert span.text.endswith("</information>")
    return range(span.start, span.end - 1)


def test_consistency_compares_further_samples_that_leave_no_trace() -> None:
    wanted = tasks()
    gated = roll(plan("gate:consistency:0.4", samples=3), 0.0, wanted)
    again = roll(plan("gate:consistency:0.4", samples=3), 0.0, wanted, max_batch=20)
    assert gated == again
    decisions = [call.decision for trajectory in gated for call in trajectory.calls if call.decision]
    assert {decision.real for decision in decisions} == {True, False}
    for decision in decisions:
        assert decision.real == (decision.value > 0.4 or decision.own == "")
        # Six pairs of four texts; a sample has a token at least.
        assert decision.own_tokens >= 3
    alone = roll(None, 0.0, wanted)
    for trajectory, other in zip(gated, alone, strict=True):
        if not any(call.decision and call.decision.real for call in trajectory.calls):
            assert text(trajectory) == text(other)


def test_random_decisions_depend_on_identities_only() -> None:
    wanted = tasks(50, repetitions=2)
    one = roll(plan("random:0.3", Late(seed=1)), 1.2, wanted)
    other = roll(plan("random:0.3", Late(seed=2)), 1.2, wanted, max_batch=20)
    assert one == other
    real = [call.decision.real for trajectory in one for call in trajectory.calls if call.decision]
    assert len(real) > 60
    # Four standard deviations.
    assert abs(sum(real) / len(real) - 0.3) < 4 * (0.21 / len(real)) ** 0.5


def test_entropy_trend_asks_first_and_then_where_queries_were_written_with_more_doubt() -> None:
    later = set()
    for trajectory in roll(plan("entropy-trend"), 1.2, tasks(30)):
        decisions = [call.decision for call in trajectory.calls if call.decision]
        assert [decision.real for decision in decisions[:1]] in ([], [True])
        for before, decision in pairwise(decisions):
            assert decision.threshold == before.value
            assert decision.real == (decision.value > decision.threshold)
            later.add(decision.real)
    assert later == {True, False}


# Limits


def test_the_query_after_the_last_search_ends_the_trajectory() -> None:
    ended = 0
    for trajectory in roll(plan("always", max_searches=1), 1.2, tasks(30)):
        queries = text(trajectory).count("</search>")
        assert len(trajectory.calls) == len(injected(trajectory)) <= 1
        if queries > 1 and trajectory.stop_reason is StopReason.CALL_LIMIT:
            ended += 1
            assert segment(trajectory).spans[-1].kind is Kind.SEARCH
    assert ended > 3


def test_a_long_observation_is_cut_and_closed() -> None:
    long = SearchResult((Document("d", "T", "Belira founded Goltek. " * 60),))
    seen = 0
    for trajectory in roll(plan("always", ScriptedEngine(lambda query: long), max_tokens=20)):
        for span in injected(trajectory):
            seen += 1
            assert long.documents[0].text.startswith(content(span))
            assert len(tokenizer().encode(content(span), add_special_tokens=False)) == 20
            assert span.end - span.start == 22
    assert seen > 10


def test_an_observation_that_does_not_fit_ends_the_trajectory_without_it() -> None:
    long = SearchResult((Document("d", "T", "Belira founded Goltek. " * 200),))
    searched = 0
    for trajectory in roll(plan("always", ScriptedEngine(lambda query: long), max_tokens=5000)):
        assert injected(trajectory) == []
        assert len(trajectory.calls) == text(trajectory).count("</search>")
        if trajectory.calls:
            searched += 1
            assert trajectory.stop_reason is StopReason.CONTEXT_FULL
            assert segment(trajectory).finish is Finish.LENGTH
            assert trajectory.calls[0].documents == list(long.documents)
            assert segment(trajectory).spans[-1].kind is Kind.SEARCH
    assert searched > 10


def first_with_own_information(wanted: Sequence[Task]) -> tuple[Task, Trajectory, int]:
    """A task, what greedy self-search writes, and the position after its first information block."""
    for task, trajectory in zip(wanted, roll(None, 0.0, wanted), strict=True):
        blocks = [s for s in segment(trajectory).spans if s.source is Source.SELF_SEARCH]
        if blocks:
            return task, trajectory, blocks[0].end
    raise AssertionError("no question was searched for")


def test_no_more_is_written_than_the_budget_even_where_it_ends_at_a_tag() -> None:
    task, alone, end = first_with_own_information(tasks())
    prompt_len = segment(alone).prompt_len
    for router in ("gate:entropy:inf", "random:0", "gate:entropy:-inf"):
        for tokens in (end - prompt_len - 1, end - prompt_len):
            [trajectory] = roll(plan(router), 0.0, [task], tokens=tokens)
            assert trajectory.stop_reason is StopReason.TOKEN_BUDGET
            assert sum(segment(trajectory).sampled_mask) <= tokens
            # Own information that the budget cuts off is none, so that the gate asks the engine.
            if router == "random:0" or (router == "gate:entropy:inf" and tokens >= end - prompt_len):
                assert segment(trajectory).token_ids == segment(alone).token_ids[: prompt_len + tokens]


def test_no_more_is_written_than_the_context_even_where_it_ends_at_a_tag(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, alone, end = first_with_own_information(tasks())
    query_end = next(s.end for s in segment(alone).spans if s.kind is Kind.SEARCH)
    for context in (query_end, end):
        monkeypatch.setattr(model().config, "max_position_embeddings", context)
        for router in ("gate:entropy:inf", "random:0"):
            [trajectory] = roll(plan(router), 0.0, [task])
            assert trajectory.stop_reason is StopReason.CONTEXT_FULL
            assert segment(trajectory).token_ids == segment(alone).token_ids[:context]


def test_a_prompt_that_leaves_no_room_is_refused() -> None:
    long = replace(tasks()[0], prompt_ids=(5,) * 512)
    with pytest.raises(DataError, match="has 512 tokens"):
        roll(plan("always"), wanted=[*tasks()[:2], long])


def test_a_closing_tag_that_closes_nothing_ends_nothing() -> None:
    stray = 0
    for trajectory in roll(plan("always"), 1.8, tasks(30)):
        written = re.sub(r"<search>[^<]*</search>", "", text(trajectory))
        stray += "</search>" in written
        assert trajectory.stop_reason is not StopReason.ANSWER
    assert stray > 3


def test_an_answer_ends_the_trajectory_where_the_plan_says_so() -> None:
    wanted = tasks()
    stopping = roll(plan("always", stop_at_answer=True), 0.0, wanted)
    going_on = roll(plan("always"), 0.0, wanted)
    stopped = 0
    for short, long in zip(stopping, going_on, strict=True):
        assert segment(long).token_ids[: len(segment(short).token_ids)] == segment(short).token_ids
        if short.stop_reason is StopReason.ANSWER:
            stopped += 1
            assert text(short).endswith("</answer>")
            assert short.answer is not None
    assert stopped > 10


# Searches that fail


async def forever() -> SearchResult:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.usefixtures("virtual_time")
def test_a_trajectory_that_hangs_ends_in_time_with_what_it_has() -> None:
    wanted = tasks(90)
    hanging = plan("always", ScriptedEngine(lambda query: forever()), timeout_s=3600)
    ended = roll(hanging, 0.0, wanted)
    hung = 0
    for trajectory, alone in zip(ended, roll(None, 0.0, wanted), strict=True):
        if trajectory.stop_reason is StopReason.TIMEOUT:
            hung += 1
            assert trajectory.error == "not finished within search.timeout_s = 3600 seconds"
            assert text(trajectory).endswith("</search>")
            assert text(alone).startswith(text(trajectory))
            assert trajectory.calls == []
    assert hung > 5


def test_a_time_out_of_the_engine_is_not_taken_for_the_trajectory_s() -> None:
    def answer(query: str) -> SearchResult:
        raise TimeoutError("the engine's own")

    asked = 0
    for trajectory in roll(plan("always", ScriptedEngine(answer), timeout_s=3600)):
        assert trajectory.stop_reason is not StopReason.TIMEOUT
        asked += len(trajectory.calls)
        assert all(call.error == "TimeoutError" for call in trajectory.calls)
        assert all(content(span) == "Search unavailable." for span in injected(trajectory))
    assert asked > 10
    with pytest.raises(SearchError, match=r"of 20 searches failed, more than .*TimeoutError"):
        roll(plan("always", ScriptedEngine(answer), max_error_rate=0.2), wanted=tasks(30))


def test_failed_and_empty_searches_are_read_as_such() -> None:
    results = {0: SearchResult(error="down"), 1: SearchResult(), 2: SearchResult(latency_s=2.5)}
    expected = {"down": "Search unavailable.", None: "No documents found."}
    seen = set()
    engine = ScriptedEngine(lambda query: results[len(query) % 3], source=Source.WEB)
    for trajectory in roll(plan("always", engine)):
        for call, span in zip(trajectory.calls, injected(trajectory), strict=False):
            seen.add(call.error)
            assert content(span) == expected[call.error]
            assert (span.source, call.source, call.documents) == (Source.FORCED, Source.WEB, [])
            assert (call.latency_s == 2.5) is (len(call.input) % 3 == 2)
    assert seen == set(expected)


def test_too_many_failures_end_the_run_and_keep_what_was_finished() -> None:
    def answer(query: str) -> SearchResult:
        return SearchResult(error="quota") if len(query) % 2 else SearchResult()

    with rollout(plan("always", ScriptedEngine(answer), max_error_rate=0.2)) as runner:
        done = []
        with pytest.raises(SearchError, match=r"of \d+ searches failed, more than .*quota.*--resume"):
            done += runner.stream(tasks(30))
        assert runner.tally.calls >= 20
        assert runner.tally.failures > 0.2 * runner.tally.calls
    with rollout(plan("always", ScriptedEngine(answer), max_error_rate=0.9)) as runner:
        assert len(runner.run(tasks())) == len(tasks())


# Tokens that hold the end of a query and more


def test_tokens_that_straddle_the_end_of_a_query(tokenizer: PreTrainedTokenizerFast) -> None:
    """The query counts, and a tag that such a token begins is completed instead of doubled."""
    encode = tokenizer.encode
    start = encode("<think>a</think><search>who founded it</search", add_special_tokens=False)
    tails = {"", "<", "</", "\n"}
    spelled = {tail: _id_spelling(tokenizer, ">" + tail) for tail in tails}
    for tail, end in spelled.items():
        if end is None:
            continue
        builder = SegmentBuilder(tokenizer, (0, 1), MaskRule())
        ids = [*start, end]
        builder.add_sampled(Completion(ids, [-0.5] * len(ids), [0.1] * len(ids), Finish.STOP))
        query = builder.written(Kind.SEARCH)
        assert query.text == "who founded it"
        assert query.logprobs == [-0.5] * len(query.logprobs) != []
        builder.record(Call(0, query.text, Source.RETRIEVER))
        builder.add_information("Belira", Source.RETRIEVER, before="\n\n")
        part, [call] = builder.build(Finish.LENGTH)
        assert call.input == query.text
        written = "".join(span.text for span in part.spans).removeprefix("<think>a</think>")
        between = {"<": "", "": "\n\n"}.get(tail, tail + "\n\n")
        assert re.sub(r"\s", "", written) == re.sub(
            r"\s", "", f"<search>who founded it</search>{between}<information>Belira</information>"
        )
        assert part.token_ids[2 : 2 + len(ids)] == ids
        assert not any(part.loss_mask[2 + len(ids) :])
    assert spelled[""] is not None


def _id_spelling(tokenizer: PreTrainedTokenizerFast, text: str) -> int | None:
    """A token that spells `text` after a letter, if the tokenizer has one."""
    from innersearch.token_text import pieces

    a = tokenizer.encode("a", add_special_tokens=False)[-1]
    matching = (i for i in range(len(tokenizer)) if pieces(tokenizer, [a, i])[1] == text)
    return next(matching, None)


def test_questions_are_not_mixed_up_between_trajectories() -> None:
    """Whatever finishes when, a trajectory reads what its own query found."""
    marks = {}

    def answer(query: str) -> SearchResult:
        marks[query] = f"Result {len(marks)}."
        return SearchResult((Document("d", "", marks[query]),))

    for trajectory in roll(plan("always", Late(ScriptedEngine(answer))), wanted=tasks(60)):
        for call, span in zip(trajectory.calls, injected(trajectory), strict=False):
            assert content(span) == call.documents[0].text
    assert isinstance(TEST[0], Question)
