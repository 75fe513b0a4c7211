"""A model behind servers writes what it writes in this process, and failures of servers lose nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from innersearch.assemble.policies import open_policy
from innersearch.cli import main
from innersearch.errors import ConfigError, DataError, ModelError, PolicyError
from innersearch.evaluate.run import EvalSettings, evaluate
from innersearch.policy.base import Request
from innersearch.policy.completions import CompletionsPolicy
from innersearch.policy.servers import Patience
from innersearch.policy.transformers import TransformersPolicy
from innersearch.rollout.run import Rollout
from innersearch.stored import read_lines
from innersearch.tools.search import SearchTool
from innersearch.types import Finish, Sampling, StopReason
from innersearch.view.tables import evaluation_table
from innersearch.world_1.bundled import BUNDLED
from tests.model_servers import ModelServer
from tests.rollout.rolling import TEST, index, model, plan, tasks, tokenizer
from tests.search_servers import Answer, Asked

QUESTIONS = TEST[::90]
SETTINGS = EvalSettings(prompt="world", max_new_tokens=80, max_batch=16)
QUICK = Patience(
    deadline_s=5.0, max_outage_s=0.6, rest_s=0.05, probe_max_s=0.05, backoff_s=0.01, probe_s=0.01
)
HELLO = Request((5, 6, 7), ("hello",), max_new_tokens=4)


@cache
def local() -> TransformersPolicy:
    return TransformersPolicy.of(model(), tokenizer(), 16)


def server(**spoiled: Any) -> ModelServer:
    return ModelServer(local(), tokenizer(), **spoiled)


def remote(*servers: ModelServer, patience: Patience = QUICK) -> CompletionsPolicy:
    urls, ends = [s.url for s in servers], local().end_ids
    return CompletionsPolicy(urls, "tiny", ends, 256, vocabulary=len(tokenizer()), patience=patience)


def generate(policy: CompletionsPolicy, *requests: Request) -> list[Any]:
    async def run() -> list[Any]:
        async with policy.session(Sampling(0.0, 8)) as sampler:
            return await asyncio.gather(*map(sampler.generate, requests), return_exceptions=True)

    return asyncio.run(run())


@pytest.mark.parametrize("router", ["self", "always", "gate:min-prob:0.3"])
def test_trajectories_are_those_of_the_model_itself(router: str, tmp_path: Path) -> None:
    searching = SearchTool.itself() if router == "self" else plan(router, index())
    with server() as one, server() as two:
        policy = open_policy(f"http:{one.url},{two.url}", str(BUNDLED), tokenizer(), max_batch=16)
        evaluate(policy, tokenizer(), QUESTIONS, tmp_path / "remote", SETTINGS, search=searching)
    evaluate(local(), tokenizer(), QUESTIONS, tmp_path / "local", SETTINGS, search=searching)
    pairs = [read_lines(tmp_path / name / "trajectories.jsonl") for name in ("remote", "local")]
    for theirs, ours in zip(*pairs, strict=True):
        [theirs], [ours] = theirs["segments"], ours["segments"]
        assert theirs["token_ids"] == ours["token_ids"]
        assert theirs["loss_mask"] == ours["loss_mask"]
        assert theirs["logprobs"] == pytest.approx(ours["logprobs"], abs=1e-4)
        assert set(theirs["entropies"]) == {None}
    assert one.asked
    assert two.asked


def test_a_question_is_asked_through_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    def asked(*options: str) -> str:
        assert main(["ask", "world-1", QUESTIONS[0].question, *options]) == 0
        return capsys.readouterr().out

    alone = asked()
    with server() as one:
        assert asked("--policy", f"http:{one.url}") == alone
    assert one.asked
    assert main(["ask", "world-1", "Who?", "--policy", "htp:x"]) == 1
    assert "did you mean 'http'" in capsys.readouterr().err


def test_turns_of_a_trajectory_go_to_one_server() -> None:
    first, second = (Request((5, 6, n), ("x", n), max_new_tokens=2, sequence="x") for n in (7, 8))
    with server() as one, server() as two:
        policy = remote(one, two)
        for _ in range(3):
            generate(policy, first, second)
    assert sorted([len(one.asked), len(two.asked)]) == [0, 6]


def test_another_server_takes_over_from_one_that_is_down() -> None:
    with server() as one, server() as two:
        policy = remote(one, two)
        one.stop()
        answers = generate(policy, *[HELLO] * 6)
    assert [len(answer.token_ids) for answer in answers] == [4] * 6


def test_a_busy_server_is_asked_again() -> None:
    failures = iter([Answer({}, 503), Answer({}, 500), Answer({}, 429)])
    with server(spoil=lambda asked, body: next(failures, None)) as one:
        [answer] = generate(remote(one), HELLO)
    assert answer.finish is Finish.LENGTH
    assert len(one.asked) == 4


def test_an_outage_that_lasts_is_said_once_and_stops_the_run(caplog: pytest.LogCaptureFixture) -> None:
    async def run(one: ModelServer) -> Any:
        async with remote(one).session(Sampling(0.0, 8)) as sampler:
            await sampler.generate(HELLO)
            await asyncio.to_thread(one.stop)
            [error] = await asyncio.gather(sampler.generate(HELLO), return_exceptions=True)
            return error

    with server() as one:
        error = asyncio.run(run(one))
    [said] = caplog.messages
    assert "cannot be reached" in said
    assert "trying again, for up to 0.6 seconds" in said
    assert isinstance(error, PolicyError)
    assert "resume" in str(error)


def test_a_server_that_never_answered_is_not_waited_for_long() -> None:
    waiting = """
import asyncio
from innersearch.policy.servers import Patience, Servers
servers = Servers(["http://127.0.0.1:1"], 1, Patience(first_s=0.1, backoff_s=0.01, probe_s=0.01))
asyncio.run(servers.post("completions", {}))
"""
    ended = subprocess.run([sys.executable, "-c", waiting], capture_output=True, text=True)
    # Whoever waits reads so without having set up logs.
    assert "trying again, for up to 0.1 seconds" in ended.stderr.splitlines()[0]
    assert "start it, or correct the address" in ended.stderr.splitlines()[-1]


def test_refused_trajectories_are_recorded_and_too_many_stop_the_run() -> None:
    chosen = tasks(150)
    with server(spoil=lambda asked, body: Answer({"error": "no"}, 400)) as one:
        rollout = Rollout(remote(one), tokenizer(), Sampling(0.0, 8))
        with rollout:
            trajectories = []
            with pytest.raises(PolicyError, match=f"refused {len(chosen)} of {len(chosen)} .*HTTP 400"):
                trajectories.extend(rollout.stream(chosen))
            assert {t.stop_reason for t in trajectories} == {StopReason.ERROR}
            assert all("HTTP 400" in str(t.error) for t in trajectories)
            with pytest.raises(PolicyError, match="refused 20 of 20"):
                rollout.run(chosen)


def test_what_was_refused_is_counted_and_asked_again_on_resume(tmp_path: Path) -> None:
    def picky(asked: Asked, body: dict[str, Any]) -> Answer | None:
        return Answer({"error": "no"}, 400) if asked.values["prompt"] == unwanted else None

    questions, record = TEST[::150], tmp_path / "e"
    unwanted = list(tasks(150)[3].prompt_ids)
    with server(spoil=picky) as one:
        summary = evaluate(remote(one, patience=Patience()), tokenizer(), questions, record, SETTINGS)
    assert summary["unfinished"] == 1
    assert "1 trajectory ended by an error and counts as wrong" in evaluation_table(summary)
    with server() as one:
        whole = evaluate(
            remote(one, patience=Patience()), tokenizer(), questions, record, SETTINGS, resume=True
        )
        assert len(one.asked) == 1
    assert whole["unfinished"] == 0
    fresh = evaluate(local(), tokenizer(), questions, tmp_path / "fresh", SETTINGS)
    assert whole["em"] == fresh["em"]


def test_refused_samples_of_an_evaluation_that_stopped_are_asked_again(tmp_path: Path) -> None:
    questions, settings = TEST[::600], replace(SETTINGS, samples=2)
    sampled = 0

    def picky(asked: Asked, body: dict[str, Any]) -> Answer | None:
        nonlocal sampled
        sampled += asked.values["temperature"] > 0
        return Answer({"error": "no"}, 400) if sampled else None

    with (
        server(spoil=picky) as one,
        pytest.raises(PolicyError, match="refused"),
    ):
        evaluate(remote(one), tokenizer(), questions, tmp_path / "cut", settings)
    with server() as one:
        again = evaluate(remote(one), tokenizer(), questions, tmp_path / "cut", settings, resume=True)
        assert again == evaluate(remote(one), tokenizer(), questions, tmp_path / "whole", settings)
    assert again["unfinished"] == 0


def test_an_evaluation_of_few_questions_is_none_if_most_were_refused(tmp_path: Path) -> None:
    for resume in (False, True):
        with (
            server(spoil=lambda asked, body: Answer({"error": "no"}, 400)) as one,
            pytest.raises(PolicyError, match="refused 3 of 3"),
        ):
            evaluate(remote(one), tokenizer(), TEST[:3], tmp_path, SETTINGS, resume=resume)
        assert not (tmp_path / "summary.json").exists()


@pytest.mark.parametrize(
    "answer",
    [Answer(b"<html>busy</html>"), Answer(b'{"choices": [{'), Answer({}, 302, {"Location": "/else"})],
    ids=["html", "torn", "moved"],
)
def test_a_broken_server_is_no_refusal(answer: Answer) -> None:
    with server(spoil=lambda asked, body: answer) as one:
        [error] = generate(remote(one), HELLO)
    assert type(error) is PolicyError


def test_a_server_that_asks_for_time_gets_it() -> None:
    failures = iter([Answer({}, 429, {"Retry-After": "1"})])
    with server(spoil=lambda asked, body: next(failures, None)) as one:
        started = time.monotonic()
        [answer] = generate(remote(one, patience=Patience()), HELLO)
    assert answer.finish is Finish.LENGTH
    assert time.monotonic() - started >= 1.0


def test_a_key_may_be_any_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNERSEARCH_POLICY_KEY", "EMPTY")
    with server() as one:
        [answer] = generate(remote(one), HELLO)
    assert answer.finish is Finish.LENGTH
    assert one.asked[0].headers["authorization"] == "Bearer EMPTY"


class Deaf(ModelServer):
    """Writes on after a stop string and after the end."""

    def _complete(self, asked: dict[str, Any]) -> dict[str, Any]:
        body = super()._complete(asked | {"stop": None})
        for values, more in zip(
            (body["choices"][0]["token_ids"], body["choices"][0]["logprobs"]["token_logprobs"]),
            (5, -1.0),
            strict=True,
        ):
            values += [more] * (len(values) < asked["max_tokens"])
        return body


def test_a_server_that_writes_on_after_a_stop_is_cut_there() -> None:
    calm = partial(remote, patience=Patience())
    policies, found = (calm, lambda _: local()), []
    for policy in policies:
        with Deaf(local(), tokenizer()) as deaf:
            rollout = Rollout(
                policy(deaf), tokenizer(), Sampling(0.0, 60), search=plan("always", index())
            )
            with rollout:
                found.append(rollout.run(tasks(150)))
    for theirs, ours in zip(*found, strict=True):
        assert theirs.segments[0].token_ids == ours.segments[0].token_ids
        assert theirs.stop_reason == ours.stop_reason
    assert any(t.calls for t in found[0])


def test_a_wrong_key_is_no_matter_of_one_trajectory() -> None:
    with server(spoil=lambda asked, body: Answer({}, 401)) as one:
        [error] = generate(remote(one), HELLO)
    assert type(error) is PolicyError


def without(name: str) -> Any:
    def spoil(asked: Asked, body: dict[str, Any]) -> Answer:
        body["choices"][0].pop(name)
        return Answer(body)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("token_ids"), "no token ids"),
        (without("logprobs"), "log-probability"),
        (lambda asked, body: Answer({"oh": 1}), "no completion"),
        (lambda asked, body: Answer("<html>"), "no completion"),
    ],
)
def test_a_server_that_cannot_be_a_policy_is_found_out_at_once(spoil: Any, message: str) -> None:
    with server(spoil=spoil) as one, pytest.raises(ModelError, match=message):
        open_policy(f"http:{one.url}", str(BUNDLED), tokenizer())


def instead(name: str, values: list[Any]) -> Any:
    def spoil(asked: Asked, body: dict[str, Any]) -> Answer:
        [choice] = body["choices"]
        (choice["logprobs"] if name == "token_logprobs" else choice)[name] = values
        return Answer(body)

    return spoil


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("token_ids", [10**6] * 4, "none of the"),
        ("token_ids", [-3] * 4, "none of the"),
        ("token_ids", [5.0] * 4, "none of the"),
        ("token_ids", "5678", "none of the"),
        ("token_ids", [5] * 9, "9 tokens where 4 were asked for"),
        ("token_logprobs", [float("nan")] * 4, "nan as a log-probability"),
        ("token_logprobs", [5.0] * 4, "5.0 as a log-probability"),
        ("token_logprobs", [-(10**400)] * 4, "000 as a log-probability"),
        ("token_logprobs", [10**400] * 4, "000 as a log-probability"),
        ("token_logprobs", [True] * 4, "True as a log-probability"),
        ("token_ids", [10**400] * 4, "none of the"),
        ("token_logprobs", ["x"] * 4, "'x' as a log-probability"),
    ],
)
def test_impossible_tokens_are_refused(name: str, values: Any, message: str) -> None:
    with server(spoil=instead(name, values)) as one:
        [error] = generate(remote(one), HELLO)
    assert isinstance(error, ModelError)
    assert message in str(error)


@pytest.mark.parametrize("length", ["256", -1, None, 0, 10**400])
def test_an_odd_length_of_a_served_model_is_taken_from_its_directory(length: Any) -> None:
    class Odd(ModelServer):
        def _answer(self, asked: Asked) -> Answer:
            if asked.path == "/v1/models":
                return Answer({"data": [{"id": "tiny", "max_model_len": length}]})
            return super()._answer(asked)

    with Odd(local(), tokenizer()) as one:
        policy = open_policy(f"http:{one.url}", str(BUNDLED), tokenizer())
    assert policy.context == 512


def test_a_stop_string_that_a_server_took_away_is_noticed() -> None:
    def trim(asked: Asked, body: dict[str, Any]) -> Answer:
        [choice] = body["choices"]
        if choice["finish_reason"] == "stop":
            for values in (choice["token_ids"], choice["logprobs"]["token_logprobs"]):
                values.pop()
        return Answer(body)

    with server(spoil=trim) as one:
        rollout = Rollout(remote(one), tokenizer(), Sampling(0.0, 80), search=plan("always", index()))
        with rollout, pytest.raises(ModelError, match="took them away"):
            rollout.run(tasks(600))


def test_names_of_policies() -> None:
    for name in ("htp:http://x", "http:", "vllm:8", "chat:http://x"):
        with pytest.raises(ConfigError, match="unknown policy"):
            open_policy(name, str(BUNDLED), tokenizer())
    with pytest.raises(PolicyError, match="cannot be reached"):
        open_policy("http:http://127.0.0.1:9", str(BUNDLED), tokenizer())
    # An address alone is that of a server.
    with pytest.raises(PolicyError, match=r"cannot be reached at http://127\.0\.0\.1:9/"):
        open_policy("http://127.0.0.1:9", str(BUNDLED), tokenizer())
    with pytest.raises(ConfigError, match="its server has chosen"):
        open_policy("https://127.0.0.1:9", str(BUNDLED), tokenizer(), dtype="bfloat16")
    with pytest.raises(PolicyError, match="begin with http"):
        open_policy("http:ftp://x", str(BUNDLED), tokenizer())
    with server() as one, pytest.raises(PolicyError, match="did you mean 'tiny'"):
        open_policy(f"http:{one.url}#tinny", str(BUNDLED), tokenizer())


def test_what_a_policy_does_not_tell_is_no_signal() -> None:
    with server() as one, pytest.raises(ConfigError, match="min-prob"):
        Rollout(remote(one), tokenizer(), Sampling(), search=plan("gate:entropy:0.1", index()))


def test_a_prompt_without_room_is_refused_here() -> None:
    with server() as one:
        long, empty = generate(remote(one), Request((5,) * 256), Request(()))
    assert isinstance(long, DataError)
    assert isinstance(empty, DataError)
    assert not one.asked
