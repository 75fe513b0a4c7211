"""A chat API gives text only: what is sent, and how its text becomes a trajectory that is marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from innersearch.cli import main
from innersearch.errors import ConfigError, ModelError
from innersearch.grammar import grammar_of
from innersearch.policy.chat import ChatPolicy
from innersearch.policy.servers import Patience
from innersearch.prompts import render
from innersearch.rollout.context import Context, shorten
from innersearch.rollout.context import render as anew
from innersearch.rollout.run import Rollout
from innersearch.stored import read_json, read_lines
from innersearch.types import Sampling, Source, StopReason, Trajectory
from tests.rollout.rolling import index, plan, tasks, tokenizer
from tests.search_servers import Answer, Asked, LocalServer

QUICK = Patience(
    deadline_s=5.0, max_outage_s=0.5, rest_s=0.05, probe_max_s=0.05, backoff_s=0.01, probe_s=0.01
)


def said(text: Any, reason: str = "stop") -> Answer:
    return Answer({"choices": [{"message": {"content": text}, "finish_reason": reason}]})


def two_turns(asked: Asked) -> Answer:
    """Asks once, without the closing tag, which APIs take away; then answers."""
    if len(asked.values["messages"]) == 1:
        return said("<think>Let me see.</think><search>where was Nemie born")
    return said("<answer>Malgate</answer>")


def roll(
    answer: Callable[[Asked], Answer], router: str = "always"
) -> tuple[list[Trajectory], list[Asked]]:
    with LocalServer(answer) as server:
        policy = ChatPolicy(server.url, "closed", tokenizer(), patience=QUICK)
        with Rollout(policy, tokenizer(), Sampling(0.0, 60), search=plan(router, index())) as rollout:
            return rollout.run(tasks(600)), server.asked


def test_information_is_sent_as_the_users_and_masked() -> None:
    trajectories, asked = roll(two_turns)
    for trajectory in trajectories:
        [call] = trajectory.calls
        assert call.input == "where was Nemie born"
        assert trajectory.answer == "Malgate"
        [segment] = trajectory.segments
        returned = [span for span in segment.spans if span.source is Source.RETRIEVER]
        assert call.documents[0].text in "".join(span.text for span in returned)
        assert not any(segment.loss_mask[i] for span in returned for i in range(span.start, span.end))
        assert set(segment.logprobs) == {None}
    last = asked[-1]
    roles = [message["role"] for message in last.values["messages"]]
    assert roles == ["user", "assistant", "user"]
    assert last.values["messages"][1]["content"].endswith("</search>")
    assert last.values["messages"][2]["content"].startswith("<information>")
    assert last.values["stop"] == ["</search>"]


def in_context(context: Context, replies: Sequence[str]) -> tuple[Trajectory, list[Asked]]:
    """One trajectory of an API that says one thing after another."""
    script = iter(replies)
    with LocalServer(lambda asked: said(next(script))) as server:
        policy = ChatPolicy(server.url, "closed", tokenizer(), patience=QUICK)
        search = plan("always", index())
        task = replace(tasks(600)[0], message="Answer this: where is it?")
        with Rollout(policy, tokenizer(), Sampling(0.0, 200), search=search, context=context) as rollout:
            return rollout.run([task])[0], server.asked


QUERIES = [f"where was {name} born" for name in ("Nemie", "Jirara", "Bulak")]


ASKED = [f"<search>{query}" for query in QUERIES]


def test_a_prompt_that_is_made_anew_reaches_the_api_as_messages() -> None:
    trajectory, asked = in_context(anew(recent=1), [*ASKED, "<answer>Malgate</answer>"])
    assert (trajectory.answer, len(trajectory.segments)) == ("Malgate", 4)
    sent = [request.values["messages"] for request in asked]
    assert [[message["role"] for message in messages] for messages in sent] == [["user"]] * 4
    texts = [messages[0]["content"] for messages in sent]
    assert texts[0] == "Answer this: where is it?"
    for text, query, number in zip(texts[1:], QUERIES, range(3), strict=True):
        assert text.startswith(texts[0])
        assert query in text
        assert not any(other in text for other in QUERIES[:number] + QUERIES[number + 1 :])
        assert "<information>" in text


def test_what_is_shortened_reaches_the_api_short() -> None:
    trajectory, asked = in_context(shorten(4), [*ASKED, "<answer>Malgate</answer>"])
    assert (trajectory.answer, len(trajectory.segments)) == ("Malgate", 3)
    sent = [request.values["messages"] for request in asked]
    assert [len(messages) for messages in sent] == [1, 3, 5, 7]
    for messages in sent:
        assert messages[0]["content"] == "Answer this: where is it?"
        returned = [m["content"] for m in messages[1:] if m["role"] == "user"]
        lengths = [len(text) - len("<information></information>") for text in returned]
        assert all(length <= 4 + 2 for length in lengths[:-1])
        assert all(length > 4 + 2 for length in lengths[-1:])


def test_turns_of_a_template_are_not_for_a_policy_that_takes_text() -> None:
    policy, search = ChatPolicy("http://127.0.0.1:1", "closed", tokenizer()), plan("always", index())
    with pytest.raises(ConfigError, match=r"tool-call puts results .* closed takes text only"):
        Rollout(policy, tokenizer(), Sampling(), search=search, written_in=grammar_of("tool-call"))


def test_an_api_that_keeps_the_stop_string_is_read_alike() -> None:
    def kept(asked: Asked) -> Answer:
        answer = two_turns(asked)
        content = answer.body["choices"][0]["message"]
        content["content"] += "</search>" * (len(asked.values["messages"]) == 1)
        return answer

    texts = [[s.text for t in roll(f)[0] for s in t.segments[0].spans] for f in (two_turns, kept)]
    assert texts[0] == texts[1]


def test_endings() -> None:
    [cut, *_], _ = roll(lambda asked: said("<think>on and on", "length"))
    assert cut.stop_reason is StopReason.TOKEN_BUDGET
    [empty, *_], _ = roll(lambda asked: said(""))
    assert empty.stop_reason is StopReason.EOS
    assert empty.answer is None
    with pytest.raises(ModelError, match="no completion, but a list"):
        roll(lambda asked: Answer(["?"]))


@pytest.mark.parametrize("router", ["self", "always"])
def test_an_answer_after_a_mention_of_a_tag_is_no_query(router: str) -> None:
    text = "<think>No need for <search> here.</think><answer>Paris</answer>"
    trajectories, asked = roll(lambda asked: said(text), router)
    assert {(t.answer, t.stop_reason) for t in trajectories} == {("Paris", StopReason.EOS)}
    assert len(asked) == len(trajectories)


def test_an_api_that_writes_more_than_it_may_ends_there() -> None:
    text = "<think>" + "on and on " * 40 + "</think><search>where was Nemie born"
    trajectories, asked = roll(lambda asked: said(text))
    assert {(t.stop_reason, len(t.calls)) for t in trajectories} == {(StopReason.TOKEN_BUDGET, 0)}
    assert len(asked) == len(trajectories)


def test_half_a_character_is_refused_like_a_request() -> None:
    halved = iter([said("<answer>\ud83d</answer>")])
    trajectories, _ = roll(lambda asked: next(halved, None) or said("<answer>x</answer>"), "self")
    [refused] = [t for t in trajectories if t.stop_reason is StopReason.ERROR]
    assert "surrogate" in str(refused.error)


def test_a_filtered_answer_is_refused_like_a_request() -> None:
    filtered = iter([said(None, "content_filter")])
    trajectories, _ = roll(lambda asked: next(filtered, None) or said("<answer>x</answer>"), "self")
    [refused] = [t for t in trajectories if t.stop_reason is StopReason.ERROR]
    assert "content_filter" in str(refused.error)


def test_an_api_that_writes_on_after_a_stop_is_cut_there() -> None:
    def deaf(asked: Asked) -> Answer:
        if len(asked.values["messages"]) > 1:
            return two_turns(asked)
        return said(
            "<think>Let me see.</think><search>where was Nemie born</search>"
            "<information>Nowhere.</information><answer>Nowhere</answer>",
            "length",
        )

    texts = [[s.text for t in roll(f)[0] for s in t.segments[0].spans] for f in (two_turns, deaf)]
    assert texts[0] == texts[1]


def test_signals_that_need_tokens_are_refused() -> None:
    for router in ("gate:min-prob:0.5", "entropy-trend"):
        with pytest.raises(ConfigError, match="does not tell"):
            roll(two_turns, router)


def test_an_evaluation_is_marked_as_retokenised(tmp_path: Path) -> None:
    data = tmp_path / "two.jsonl"
    data.write_text(
        '{"id": "1", "question": "Where was Nemie born?", "golden_answers": ["Malgate"]}\n'
        '{"id": "2", "question": "Where was Bulak born?", "golden_answers": ["Rolgate"]}\n'
    )
    with LocalServer(two_turns) as server:
        policy = f"chat:{server.url}#closed"
        options = ["--data", str(data), "--policy", policy, "--search", "world-1"]
        assert main(["eval", "world-1", *options, "--output", str(tmp_path / "e")]) == 0
    summary = read_json(tmp_path / "e" / "summary.json")
    assert summary["retokenised"] is True
    assert summary["em"]["two"]["value"] == 0.5
    assert summary["settings"]["prompt"] == "search-r1"
    [first, _] = read_lines(tmp_path / "e" / "trajectories.jsonl")
    sent = [asked.values["messages"][0]["content"] for asked in server.asked]
    assert render("search-r1", "Where was Nemie born?") in sent
    assert first["answer"] == "Malgate"
