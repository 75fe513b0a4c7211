"""The loop over grammar, tools and context, with policies that write what a script says."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from innersearch.config import RolloutSettings
from innersearch.config.harness import HarnessSettings
from innersearch.grammar import GRAMMARS, MaskRule, tool_calls
from innersearch.policy.base import Completion, Request
from innersearch.rollout.context import Context, append, named, render, shorten
from innersearch.rollout.episode import NO_MORE
from innersearch.rollout.rules import Rules
from innersearch.rollout.segment import SegmentBuilder
from innersearch.types import (
    Finish,
    Kind,
    Sampling,
    Source,
    StopReason,
    Trajectory,
)
from innersearch.view.terminal import print_trajectory
from tests.rollout.scripts import ANSWER, ASK, PROMPT, TOKENIZER, Found, Notebook, Script, roll, spans


@pytest.mark.parametrize(
    ("style", "line"),
    [
        ("numbered", "(1)All about a."),
        ("linked", "[Doc 1](https://world.invalid/d): All about a."),
        ("search-r1", "Doc 1(Title: Title) All about a."),
        ("results", '[{"search_query": "a", "web_page_info_list": [{"title": "Title"'),
    ],
)
def test_styles_write_what_was_found_as_published(style: str, line: str) -> None:
    trajectory = roll(Script([ASK, ANSWER]), search={"style": style})
    assert line in "".join(spans(trajectory, Source.RETRIEVER))


def test_what_the_framework_begins_is_neither_sampled_nor_trained_on() -> None:
    policy = Script(["hm</think><search>a</search>", "well</think>" + ANSWER])
    trajectory = roll(policy, "asearcher")
    [segment] = trajectory.segments
    begun = [s for s in segment.spans if s.source is Source.FORCED]
    assert [(s.kind, s.text) for s in begun] == [(Kind.THINK, "<think>")] * 2
    for span in begun:
        place = slice(span.start, span.end)
        assert not any(segment.sampled_mask[place] + segment.loss_mask[place])
    # Within a thought that goes on nothing is begun.
    inside = Script(["hm <|begin_of_query|>a<|end_of_query|>", "so</think>" + ANSWER])
    assert spans(roll(inside, "r1-searcher"), Source.FORCED) == ["<think>"]


CALLS = tool_calls("calls", {"search": "query", "open": "url"}, several=True, malformed="tell")


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


def test_what_is_asked_for_before_an_answer_in_one_reply_is_done_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(GRAMMARS, "plain-calls", CALLS)
    object.__setattr__(CALLS, "turns", False)
    reply = call("search", query=["a", "b"]) + call("open", url="x") + ANSWER + call("search", query="c")
    trajectory = roll(
        Script([reply]), "plain-calls", tools=[Notebook()], search={"stop_at_answer": True}
    )
    assert [(c.tool, c.input) for c in trajectory.calls] == [
        ("search", "a"),
        ("search", "b"),
        ("open", "x"),
    ]
    assert len({c.id for c in trajectory.calls}) == 3
    assert (trajectory.stop_reason, trajectory.answer) == (StopReason.ANSWER, "Belira")


@pytest.mark.parametrize(
    ("malformed", "retries", "reason", "replies"),
    [
        ("end", 0, StopReason.MALFORMED, 1),
        ("tell", 0, StopReason.EOS, 2),
        ("retry", 2, StopReason.EOS, 2),
    ],
)
def test_replies_that_cannot_be_read_end_it_are_told_or_are_tried_again(
    monkeypatch: pytest.MonkeyPatch, malformed: Any, retries: int, reason: StopReason, replies: int
) -> None:
    grammar = tool_calls("own", {"search": "query"}, malformed=malformed, retries=retries)
    object.__setattr__(grammar, "turns", False)
    monkeypatch.setitem(GRAMMARS, "own", grammar)
    policy = Script(["<tool_call>{oops</tool_call>", ANSWER])
    rolled = roll(policy, "own") if malformed != "retry" else rolled_back(policy)
    assert (rolled.stop_reason, rolled.malformed, len(policy.asked)) == (reason, 1, replies)
    assert ("not valid JSON" in "".join(spans(rolled, Source.FORCED))) is (malformed == "tell")


def rolled_back(policy: Script) -> Trajectory:
    """Of replies that are tried again only the last one is in the trajectory."""

    class Forgetful(Script):
        async def generate(self, request: Request) -> Completion:
            self.sampled.clear()
            return await super().generate(request)

    forgetful = Forgetful(policy.texts, asked=policy.asked)
    return roll(forgetful, "own")


def test_no_more_turns_than_are_allowed() -> None:
    endless = [ASK] * 9
    assert roll(Script(endless), max_turns=3).stop_reason is StopReason.TURN_LIMIT
    policy = Script(endless)
    ended = roll(policy, max_turns=3)
    assert (len(policy.asked), len(ended.calls)) == (3, 2)
    policy = Script([ASK, ASK, "<think>so</think>" + ANSWER])
    granted = roll(policy, max_turns=2, last_turn="answer")
    assert (len(policy.asked), len(granted.calls), granted.answer) == (3, 2, "Belira")
    assert granted.stop_reason is StopReason.EOS
    # In the last reply nothing is asked for.
    last = roll(Script(endless), max_turns=2, last_turn="answer")
    assert (len(last.calls), last.stop_reason) == (2, StopReason.EOS)


def test_no_more_calls_than_are_allowed() -> None:
    policy = Script([ASK] * 5)
    ended = roll(policy, search={"max_searches": 2})
    assert (len(ended.calls), ended.stop_reason) == (2, StopReason.CALL_LIMIT)
    policy = Script([ASK, ASK, "<think>so</think>" + ANSWER])
    granted = roll(policy, search={"max_searches": 1, "stop_at_answer": True}, last_turn="answer")
    assert (len(granted.calls), granted.answer) == (1, "Belira")
    assert NO_MORE in "".join(spans(granted, Source.FORCED))
    assert granted.stop_reason is StopReason.ANSWER


def test_replies_are_cut_where_a_turn_may_not_be_longer() -> None:
    policy = Script(["<think>" + "hm " * 50])
    cut = roll(policy, max_tokens_per_turn=7)
    assert (len(policy.sampled), cut.stop_reason) == (7, StopReason.TOKEN_BUDGET)


def test_the_version_of_the_weights_goes_with_each_token() -> None:
    trajectory = roll(Script([ASK, ANSWER], versions=True))
    [segment] = trajectory.segments
    known = [v for v, s in zip(segment.versions, segment.sampled_mask, strict=True) if s]
    assert set(known) == {1, 2}
    assert known == sorted(known)
    assert all((v is None) is not s for v, s in zip(segment.versions, segment.sampled_mask, strict=True))
    assert trajectory.step == 1
    assert roll(Script([ASK, ANSWER])).segments[0].versions is None


def test_settings_name_contexts_and_grammars() -> None:
    assert [named(text) for text in ("append", "shorten:9", "render:2")] == [
        append(),
        shorten(9),
        render(recent=2),
    ]
    for wrong in ({"context": "shorten"}, {"context": "render:x"}, {"grammar": "none"}):
        with pytest.raises(ValueError, match=r"write append|unknown grammar|no grammar"):
            RolloutSettings(**wrong)


# Contexts


def test_a_result_is_read_in_full_once_and_shortened_afterwards() -> None:
    long = Found(lambda query: f"{query} " + "on and on " * 20)
    policy = Script([ASK, "<search>b</search>", "<search>c</search>", ANSWER])
    trajectory = roll(policy, engine=long, context=shorten(9))
    assert [len(s.token_ids) > s.prompt_len for s in trajectory.segments] == [True] * 3
    texts = [TOKENIZER.decode(request.prompt_ids) for request in policy.asked]
    assert [text.count("on and on on and on") > 0 for text in texts] == [False, True, True, True]
    assert texts[2].count("<information>") == 2
    assert "<information>a on and </information>" in texts[2].replace("\n", "")
    assert "<information>b on and on on and" in texts[2].replace("\n", "")
    assert [(c.id, c.turn) for c in trajectory.calls] == [(0, 0), (1, 1), (2, 2)]
    # What is short already stays, and so does the segment.
    assert len(roll(Script([ASK, ASK, ANSWER]), context=shorten(99)).segments) == 1


def test_prompts_made_anew_hold_the_notes_and_the_last_turns() -> None:
    replies = [f"</think><access>fact {n}</access>" for n in range(6)]
    policy = Script([*replies, ANSWER])
    wide = {"budget": 400, "search": {"max_searches": 9}}
    trajectory = roll(policy, "asearcher", tools=[Notebook()], context=render(recent=2), **wide)
    assert len(trajectory.segments) == 7
    for number, request in enumerate(policy.asked[1:], 1):
        text = TOKENIZER.decode(request.prompt_ids)
        assert len(request.prompt_ids) <= 400 + len(TOKENIZER.encode("<think>"))
        assert all(f"fact {n}" in text.partition("<access>")[0] for n in range(number))
        assert text.count("<access>") == min(2, number)


def test_a_prompt_that_cannot_be_made_ends_the_trajectory() -> None:
    replies = [f"</think><access>{n} " + "on and on " * 30 + "</access>" for n in range(9)]
    policy = Script(replies)
    trajectory = roll(policy, "asearcher", tools=[Notebook()], context=render(recent=2), budget=300)
    assert trajectory.stop_reason is StopReason.CONTEXT_FULL
    assert all(segment.prompt_len <= 300 for segment in trajectory.segments)


pieces_of_replies = st.lists(
    st.sampled_from(
        [
            *("<search>a</search>", "<access>x</access>", "<search>", "</search>", "<information>"),
            *("</information>", "</think>", ANSWER, "hm ", "\n", "é", "<access></access>"),
        ]
    ),
    max_size=5,
)


@pytest.mark.parametrize(
    "context", [append(), shorten(5), shorten(0), render(recent=2)], ids=["append", "5", "0", "render"]
)
@settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    replies=st.lists(pieces_of_replies, max_size=7),
    budget=st.sampled_from([0, 60, 120]),
    tokens=st.sampled_from([30, 2000]),
)
@example(replies=[["<access></access>"]], budget=0, tokens=30)
@example(replies=[["<access></access>"]], budget=0, tokens=2000)
@example(
    replies=[["<access>x</access>"], ["<search>", "<search>", "</think>", "<access></access>"]],
    budget=0,
    tokens=30,
)
@example(replies=[["<search>a</search>"]] * 3, budget=60, tokens=2000)
def test_every_token_is_trained_once_and_no_prompt_is_too_long(
    context: Context, replies: list[list[str]], budget: int, tokens: int
) -> None:
    policy = Script(["".join(reply) for reply in replies], context=260)
    trajectory = roll(
        policy,
        "asearcher",
        tools=[Notebook()],
        context=context,
        tokens=tokens,
        budget=budget,
        engine=Found(lambda query: "on and on " * 8),
        search={"max_searches": 9},
    )
    assert len(policy.sampled) <= tokens
    for segment in trajectory.segments:
        assert len(segment.token_ids) <= 260
    if not context.appends:
        for segment in trajectory.segments[1:]:
            assert segment.prompt_len <= (budget or 259)
    for before, after in pairwise(trajectory.segments):
        # A prompt that goes on exactly where the segment before was would have gone on with that one.
        prompt = after.token_ids[: after.prompt_len]
        assert prompt[: len(before.token_ids)] != before.token_ids
    assert sum(sum(segment.sampled_mask) for segment in trajectory.segments) == len(policy.sampled)
    ids = [call.id for call in trajectory.calls]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    "context", [append(), shorten(3), render(recent=2)], ids=lambda value: value.name
)
def test_no_reply_begins_where_only_its_beginning_has_room(context: Context) -> None:
    """The framework writes the beginning of a reply, and the policy needs a token behind it."""
    heading = len(TOKENIZER.encode("<think>"))
    reasons = set()
    for room in range(len(PROMPT) + heading + 1, 100):
        policy = Script([ASK] * 4, context=room)
        trajectory = roll(policy, "asearcher", tools=[Notebook()], context=context)
        assert max(len(segment.token_ids) for segment in trajectory.segments) <= room
        reasons.add(trajectory.stop_reason)
    assert StopReason.CONTEXT_FULL in reasons


def test_what_is_shortened_keeps_what_stood_around_it() -> None:
    """It is cut when the segment has gone on, perhaps to where part of a tag stands."""
    builder = SegmentBuilder(TOKENIZER, PROMPT, MaskRule())
    shown = builder.observation("all of it")
    ids = TOKENIZER.encode("<search>a</search><info")
    builder.add_sampled(Completion(ids, [], [], Finish.STOP))
    later = builder.observation("all")
    assert later.text == "rmation>all</information>"
    assert shown.around(later).text == "<information>all</information>"


def test_segments_are_shown_one_after_the_other() -> None:
    long = Found(lambda query: f"{query} " + "on and on " * 20)
    trajectory = roll(Script([ASK, ASK, ASK]), engine=long, context=shorten(9), max_turns=3)
    console = Console(record=True, width=200)
    print_trajectory(trajectory, console)
    shown = console.export_text()
    assert shown.count("another prompt, of") == 2 - 1
    assert "none (cut off after the last turn)" in shown


def test_rules_are_those_of_today_by_default() -> None:
    rules = Rules(TOKENIZER, Sampling())
    assert (rules.grammar.name, rules.context.name, rules.turns) == ("tags", "append", None)
    assert rules.answer_stop is None
    assert RolloutSettings().model_dump() == {
        **{"grammar": "tags", "tools": (), "context": "append", "budget": 0},
        **{"pages": "", "reader": "whole", "only_seen": True},
        **{"max_turns": 0, "max_tokens_per_turn": 0, "last_turn": "end"},
        **{"harness": HarnessSettings().model_dump(), "reads_first": False},
    }


CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_results_of_tool_calls_are_turns_of_the_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the template puts between a call and the next reply is there once, and nobody's loss."""
    monkeypatch.setattr(TOKENIZER, "chat_template", CHATML)
    reply = "<think>hm</think>" + call("search", query=["a", "b"])
    policy = Script([reply, "<think>so</think>" + ANSWER])
    trajectory = roll(policy, "tool-call", search={"style": "numbered"})
    assert trajectory.error is None
    assert (trajectory.answer, trajectory.stop_reason) == ("Belira", StopReason.EOS)
    assert [(c.input, c.turn) for c in trajectory.calls] == [("a", 0), ("b", 0)]
    text = TOKENIZER.decode(policy.asked[1].prompt_ids).partition("</tool_call>")[2]
    assert text.count("<|im_end|>") == 2
    assert text.startswith("<|im_end|>\n<|im_start|>")
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert text.index("All about a.") < text.index("All about b.")
    [segment] = trajectory.segments
    between = [s for s in segment.spans[1:] if s.source not in (Source.POLICY, Source.SELF_SEARCH)]
    assert "".join(s.text for s in between) == text
    assert not any(flag for s in between for flag in segment.loss_mask[s.start : s.end])
