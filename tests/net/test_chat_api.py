"""Chat APIs differ in what they take and answer; policies and simulators ask and read alike."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from innersearch.cli import main
from innersearch.config import SimulatorSettings
from innersearch.errors import PolicyError
from innersearch.net.chat import read_reply, refused_parameter
from innersearch.policy.chat import ChatPolicy
from innersearch.policy.servers import Patience
from innersearch.rollout.run import Rollout
from innersearch.simulator.writers import ChatWriter
from innersearch.stored import read_json
from innersearch.types import Sampling, StopReason, Trajectory
from tests.rollout.rolling import tasks, tokenizer
from tests.search_servers import Answer, Asked, LocalServer
from tests.simulator.writing import QUICK, ask_at, asked, engine, texts

PATIENCE = Patience(
    deadline_s=5.0, max_outage_s=0.5, rest_s=0.05, tries=2, open_after=2, backoff_s=0.001
)


def openai(name: str, *, value: bool = False) -> dict[str, Any]:
    """How OpenAI refuses a parameter, or all values of it but one."""
    message = f"Unsupported parameter: '{name}' is not supported with this model."
    if name == "max_tokens":
        message += " Use 'max_completion_tokens' instead."
    if value:
        message = f"Unsupported value: '{name}' does not support 0 with this model. Only the default (1)"
    code = "unsupported_value" if value else "unsupported_parameter"
    return {"error": {"message": message, "type": "invalid_request", "param": name, "code": code}}


REFUSALS: dict[str, Callable[[str], tuple[int, Any]]] = {
    "OpenAI": lambda name: (400, openai(name)),
    "OpenAI, a value": lambda name: (400, openai(name, value=True)),
    "OpenAI without its fields": lambda name: (
        400,
        {"error": {"message": openai(name)["error"]["message"]}},
    ),
    "Azure": lambda name: (
        400,
        {"error": {"message": f"Unrecognized request argument supplied: {name}"}},
    ),
    "Mistral": lambda name: (
        422,
        {
            "detail": [
                {
                    "type": "extra_forbidden",
                    "loc": ["body", name],
                    "msg": "Extra inputs are not permitted",
                }
            ]
        },
    ),
    "Gemini": lambda name: (400, [{"error": {"message": f'Unknown name "{name}": Cannot find field.'}}]),
    "Groq": lambda name: (400, {"error": {"message": f"property '{name}' is unsupported"}}),
    "xAI": lambda name: (400, {"error": f"Argument not supported on this model: {name}"}),
    "LiteLLM": lambda name: (
        400,
        {
            "error": {
                "message": f"litellm.UnsupportedParamsError: o3 models don't support {name}=0.",
                "param": None,
            }
        },
    ),
}


@pytest.mark.parametrize("api", REFUSALS)
@pytest.mark.parametrize("name", ["max_tokens", "temperature", "seed", "stop"])
def test_a_parameter_that_is_refused_is_found_in_what_was_said(api: str, name: str) -> None:
    sent = {"model": "m", "messages": [], "max_tokens": 9, "temperature": 0, "seed": 1, "stop": ["x"]}
    _, body = REFUSALS[api](name)
    assert refused_parameter(sent, str(body)) == name


@pytest.mark.parametrize(
    "said",
    [
        "max_tokens is too large: 5000. This model supports at most 4096 completion tokens",
        "'max_tokens' or 'max_completion_tokens' is too large: maximum context length is 2048",
        "temperature must be between 0 and 2",
        "unknown model: gpt-9",
        "Unsupported parameter: 'tools' is not supported with this model.",
        "{'message': 'Unsupported value: messages[0].role', 'param': 'messages'}",
        "the stopwatch and the seedling are unsupported",
        "",
    ],
)
def test_other_refusals_leave_the_parameters_alone(said: str) -> None:
    sent = {"model": "m", "messages": [], "max_tokens": 9, "temperature": 0, "seed": 1, "stop": ["x"]}
    assert refused_parameter(sent, said) is None


def reply(message: dict[str, Any] | Any, finish: str | None = "stop", **fields: Any) -> Answer:
    message = message if isinstance(message, dict) else {"content": message}
    return Answer({"choices": [{"message": message, "finish_reason": finish, **fields}]})


def picky(api: str, *names: str, answer: Answer) -> Callable[[Asked], Answer]:
    """A server that refuses some parameters, one at a time."""

    def picky(asked: Asked) -> Answer:
        for name in names:
            if name in asked.values:
                status, body = REFUSALS[api](name)
                return Answer(body, status)
        return answer

    return picky


def policy_at(
    answer: Callable[[Asked], Answer], n: int = 3
) -> tuple[list[Trajectory], LocalServer, ChatPolicy]:
    with LocalServer(answer) as server:
        policy = ChatPolicy(server.url, "closed", tokenizer(), patience=PATIENCE, in_flight=1)
        with Rollout(policy, tokenizer(), Sampling(0.0, 60)) as rollout:
            return rollout.run(tasks(600)[:n]), server, policy


def written(answer: Callable[[Asked], Answer]) -> tuple[Any, LocalServer, ChatWriter]:
    settings = SimulatorSettings()
    calls = replace(QUICK, tries=2, open_after=2)
    with LocalServer(answer) as server:
        writer = ChatWriter(server.url, "sim", settings, calls)
        [result] = ask_at(engine(writer, settings=settings), asked())
        return result, server, writer


@pytest.mark.parametrize("api", REFUSALS)
def test_parameters_that_a_server_refuses_are_renamed_or_left_out_and_remembered(
    api: str, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("max_tokens", "temperature", "seed", "stop")
    with caplog.at_level(logging.WARNING):
        trajectories, server, policy = policy_at(
            picky(api, *names, answer=reply("<answer>Lima</answer>"))
        )
    assert {trajectory.answer for trajectory in trajectories} == {"Lima"}
    # Without a search there is no stop string.
    assert len(server.asked) == len(trajectories) + 3
    assert server.asked[-1].values.keys() == {"model", "messages", "max_completion_tokens"}
    assert server.asked[-1].values["max_completion_tokens"] == 60
    assert policy.parameters.left_out == ["seed", "temperature"]
    assert [record.message.count("left out") for record in caplog.records] == [1, 1]
    result, server, writer = written(
        picky(api, *names, answer=reply("Doc 1: a\nDoc 2: b</information>c"))
    )
    assert texts(result) == ["a", "b"]
    assert len(server.asked) == 5
    assert writer._completions.parameters.left_out == ["seed", "stop", "temperature"]


def test_a_limit_that_is_refused_under_both_names_is_left_out() -> None:
    answer = picky("OpenAI", "max_tokens", "max_completion_tokens", answer=reply("<answer>x</answer>"))
    trajectories, server, _ = policy_at(answer, 1)
    assert trajectories[0].answer == "x"
    assert len(server.asked) == 3


def test_a_request_that_stays_refused_is_not_asked_for_ever() -> None:
    status, body = REFUSALS["OpenAI"]("messages")
    with pytest.raises(PolicyError, match="HTTP 400"):
        policy_at(lambda asked: Answer(body, status))
    result, server, _ = written(lambda asked: Answer(body, status))
    assert "HTTP 400" in result.error
    assert len(server.asked) == 1


PARTS = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "Rome"}]},
    {"type": "text", "text": "x "},
]
TEXTS: dict[str, tuple[dict[str, Any], str]] = {
    "a text": ({"content": "x y"}, "x y"),
    "thoughts beside it": ({"content": "x y", "reasoning_content": "Rome"}, "x y"),
    "thoughts of another name": ({"content": "x y", "reasoning": "Rome", "thinking": "Rome"}, "x y"),
    "parts": ({"content": [*PARTS, {"type": "text", "text": "y"}]}, "x y"),
    "parts of texts": ({"content": ["x ", "y"]}, "x y"),
    "parts that redact": ({"content": [{"type": "redacted_thinking", "data": "?"}, *PARTS]}, "x "),
    "parts of another name": ({"content": [{"type": "output_text", "text": "x"}]}, "x"),
    "an empty refusal": ({"content": "x", "refusal": None, "tool_calls": []}, "x"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_are_read_without_the_thoughts_beside_them(name: str) -> None:
    message, text = TEXTS[name]
    found = read_reply(reply(message).body)
    assert (found.text, found.finish, found.withheld) == (text, "stop", "")


WITHHELD: dict[str, tuple[dict[str, Any], str, str]] = {
    "a refusal": ({"content": None, "refusal": "I can't."}, "stop", "a refusal"),
    "a refusal in parts": ({"content": [{"type": "refusal", "refusal": "No."}]}, "stop", "a refusal"),
    "a filter": ({"content": None}, "content_filter", "content_filter"),
    "a filter and nothing": ({"content": ""}, "content_filter", "content_filter"),
    "a thought only": ({"content": None, "reasoning_content": "Rome"}, "stop", "a thought and no text"),
    "a thought and blanks": ({"content": "\n", "reasoning": "Rome"}, "stop", "a thought and no text"),
    "a thought in parts": ({"content": PARTS[:1]}, "stop", "a thought and no text"),
    "a tool": ({"content": None, "tool_calls": [{}]}, "tool_calls", "the call of a tool"),
    "nothing": ({"content": None}, "stop", "no text"),
}


@pytest.mark.parametrize("name", WITHHELD)
def test_a_reply_without_a_text_says_why_and_is_no_answer(name: str) -> None:
    message, finish, why = WITHHELD[name]
    assert why in read_reply(reply(message, finish).body).withheld
    first = iter([reply(message, finish)])
    trajectories, _, _ = policy_at(lambda asked: next(first, None) or reply("<answer>x</answer>"))
    [refused] = [t for t in trajectories if t.stop_reason is StopReason.ERROR]
    assert why in str(refused.error)
    assert "Rome" not in str(refused.error)
    result, server, _ = written(lambda asked: reply(message, finish))
    assert why in result.error
    assert not result.documents
    assert len(server.asked) == 1


def test_a_thought_that_took_all_tokens_is_a_trajectory_that_was_cut_off() -> None:
    message = {"content": None, "reasoning_content": "Rome, or"}
    [cut], _, _ = policy_at(lambda asked: reply(message, "length"), 1)
    assert (cut.stop_reason, cut.answer, cut.error) == (StopReason.TOKEN_BUDGET, None, None)
    result, _, _ = written(lambda asked: reply(message, "length"))
    assert result.faults == ("few", "cut")
    assert "wrote no document" in result.error


FAILURES = [
    {"error": {"message": "Provider returned error", "code": 502}},
    {"error": "overloaded"},
    {"choices": [], "detail": "the worker died"},
    {"choices": [{"error": {"message": "gone", "code": 500}, "finish_reason": "error", "message": {}}]},
    {"choices": [{"finish_reason": "error", "message": {"content": "hal"}}]},
]


@pytest.mark.parametrize("body", FAILURES)
def test_a_failure_with_status_200_is_asked_again(body: dict[str, Any]) -> None:
    first = iter([Answer(body)])
    [trajectory], server, _ = policy_at(
        lambda asked: next(first, None) or reply("<answer>x</answer>"), 1
    )
    assert (trajectory.answer, len(server.asked)) == ("x", 2)
    first = iter([Answer(body)])
    result, server, _ = written(lambda asked: next(first, None) or reply("Doc 1: a\nDoc 2: b"))
    assert (texts(result), len(server.asked)) == (["a", "b"], 2)


@pytest.mark.parametrize(
    "body",
    [None, [], {}, {"choices": {}}, {"choices": [[]]}, {"choices": [{"message": {"content": {}}}]}],
)
def test_what_is_no_completion_is_said_without_its_texts(body: Any) -> None:
    with pytest.raises(ValueError, match=r"no (?:completion|text), but an? "):
        read_reply(body)


def test_a_reply_in_the_form_of_another_api_is_not_printed() -> None:
    body = {"message": {"role": "assistant", "content": "sealed words"}, "done": True}
    result, server, _ = written(lambda asked: Answer(body))
    assert "sent no completion" in str(result.error)
    assert "sealed" not in str(result.error)
    assert len(server.asked) == 1


def test_an_endless_reply_is_cut() -> None:
    result, _, _ = written(lambda asked: reply("Doc 1: a\nDoc 2: " + "b" * 1_000_000))
    assert result.faults == ("cut",)
    assert len(texts(result)[1]) < 400_000


def test_the_stop_string_of_a_simulator_ends_its_text_but_not_its_thought() -> None:
    text = "<think>I end with </information> then.</think>Doc 1: a\nDoc 2: b</information>\n<answer>c"
    result, _, _ = written(lambda asked: reply(text))
    assert texts(result) == ["a", "b"]
    assert result.faults == ("thought",)


def test_a_direct_evaluation_scores_what_follows_the_thought_and_names_what_was_not_taken(
    tmp_path: Path,
) -> None:
    data = tmp_path / "one.jsonl"
    data.write_text('{"id": "1", "question": "Where was Nemie born?", "golden_answers": ["Malgate"]}\n')
    answer = picky("Azure", "seed", answer=reply("<think>Rolgate? No.</think> Malgate"))
    with LocalServer(answer) as server:
        options = ["--data", str(data), "--policy", f"chat:{server.url}#closed", "--direct"]
        assert main(["eval", "world-1", *options, "--output", str(tmp_path / "e")]) == 0
    summary = read_json(tmp_path / "e" / "summary.json")
    assert summary["em"]["one"]["value"] == 1.0
    assert summary["not_taken"] == ["seed"]
