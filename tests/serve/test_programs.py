"""Agents of others as rollouts: what they wrote is trained on as it was sampled, however they end."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from innersearch.assemble.agents import Agent, open_agent
from innersearch.config import AgentSettings, Recipe
from innersearch.errors import ConfigError, RunError
from innersearch.rewards import Rubric
from innersearch.rollout.episode import Task
from innersearch.serve.capture import Capture
from innersearch.serve.programs import (
    ProgramRollout,
    demand_program_recipe,
    environment,
    how_it_ended,
    program_rollout,
    run_program,
)
from innersearch.testing import ScriptedPolicy
from innersearch.tools.search import SearchTool
from innersearch.train.monitors import METRICS, step_metrics
from innersearch.train.samples import trained_samples
from innersearch.trajectories import as_trajectory, to_line
from innersearch.types import Question, Source, StopReason, Trajectory
from tests.serve.programs import program

QUESTION = Question("q", "Who taught the spouse of Nemie?", ("Zisara",))


@pytest.fixture(scope="module")
def agent() -> Agent:
    return open_agent("world-1")


@contextmanager
def rolling(agent: Agent, command: str, **given: object) -> Iterator[ProgramRollout]:
    settings = AgentSettings(command=command, **{"timeout_s": 60.0, **given})
    recipe = Recipe(agent=settings, sampling={"max_new_tokens": 96}, model="world-1")
    made = program_rollout(recipe, agent.policy, agent.tokenizer, SearchTool.itself(), Rubric.read("em"))
    with made as rollout:
        yield rollout


def run(agent: Agent, command: str, count: int = 1, **given: object) -> list[Trajectory]:
    with rolling(agent, command, **given) as rollout:
        return rollout.run([Task(QUESTION, (1,), "g", number, step=3) for number in range(count)])


def written(trajectory: Trajectory) -> list[str]:
    """What the policy wrote, a text per segment."""
    policy = (Source.POLICY, Source.SELF_SEARCH)
    return ["".join(p.text for p in s.spans if p.source in policy) for s in trajectory.segments]


TWICE = """
first = ask(user, stop=["</search>"])
found = "<information> The teacher of Zisara is Bulak.</information>"
user += [{"role": "assistant", "content": first + "</search>"}, {"role": "tool", "content": found}]
second = ask(user)
print("thinking of it\\n" + second.partition("<answer>")[2].partition("</answer>")[0])
"""


def test_captured_logprobs_are_those_of_the_model(tmp_path: Path, agent: Agent) -> None:
    trajectories = run(agent, program(tmp_path, TWICE), 3)
    assert [t.uid for t in trajectories] == ["g/0", "g/1", "g/2"]
    for trajectory in trajectories:
        assert trajectory.agent.requests == 2
        assert trajectory.step == 3
        assert trajectory.stop_reason is StopReason.ANSWER
        assert (
            trajectory.answer
            == written(trajectory)[0].rpartition("<answer>")[2].partition("<")[0].strip()
        )
        assert trajectory.reward == float(trajectory.answer == "Zisara")
        [segment] = trajectory.segments
        ids = torch.tensor([segment.token_ids])
        with torch.inference_mode():
            logits = agent.policy.model(ids).logits[0, :-1]
        again = torch.log_softmax(logits, -1).gather(1, ids[0, 1:, None])[:, 0].tolist()
        sampled = [n for n, mask in enumerate(segment.sampled_mask) if mask]
        assert len(sampled) > 10
        assert all(math.isclose(segment.logprobs[n], again[n - 1], abs_tol=1e-4) for n in sampled)
        injected = [span.text for span in segment.spans if span.source is Source.FORCED]
        assert injected == ["<information> The teacher of Zisara is Bulak.</information>"]


def test_the_same_seed_draws_the_same_however_the_requests_arrive(tmp_path: Path, agent: Agent) -> None:
    command = program(tmp_path, TWICE)
    with rolling(agent, command) as rollout:
        tasks = [Task(QUESTION, (1,), "g", number) for number in range(4)]
        first, again = rollout.run(tasks), rollout.run(tasks[::-1])[::-1]
    assert [t.segments[0].token_ids for t in first] == [t.segments[0].token_ids for t in again]


PARALLEL = """
from concurrent.futures import ThreadPoolExecutor
plan = ask(user, max_tokens=4)
after = user + [{"role": "assistant", "content": plan}]
def part(word):
    return ask(after + [{"role": "user", "content": word}], max_tokens=5)
with ThreadPoolExecutor(3) as pool:
    parts = list(pool.map(part, "abc"))
ask([{"role": "user", "content": "in short: " + parts[0]}], max_tokens=6)
ask([{"role": "user", "content": "in short: " + parts[0]}], max_tokens=6)
print(parts[0])
"""


def test_parallel_repeated_and_rewritten_requests_are_all_there_once(
    tmp_path: Path, agent: Agent
) -> None:
    [trajectory] = run(agent, program(tmp_path, PARALLEL))
    assert trajectory.agent.requests == 6
    # The plan goes on in one of its three parts.
    assert len(trajectory.segments) == 5
    sampled = [sum(segment.sampled_mask) for segment in trajectory.segments]
    assert sorted(sampled) == [5, 5, 6, 6, 9]
    assert len(trained_samples(trajectory)) == 5
    assert to_line(as_trajectory(_record(trajectory), tmp_path, "here")) == to_line(trajectory)


def _record(trajectory: Trajectory) -> dict[str, object]:
    import json

    return json.loads(to_line(trajectory))


@pytest.mark.parametrize(
    ("body", "reason", "said", "requests"),
    [
        ("print('x')", StopReason.ANSWER, None, 0),
        ("ask(user, max_tokens=3)", StopReason.EOS, None, 1),
        ("ask(user, max_tokens=3); print('x'); raise ValueError('no')", StopReason.ERROR, "no", 1),
        (
            "for i in range(99):\n try: ask(user, max_tokens=3)\n except OSError: pass",
            StopReason.TURN_LIMIT,
            "refused",
            4,
        ),
        ("for i in range(9): ask(user, max_tokens=40)", StopReason.ERROR, "400", 3),
    ],
    ids=["idle", "silent", "crash", "asks for ever", "over budget"],
)
def test_however_an_agent_ends_what_the_model_wrote_stays(
    tmp_path: Path, agent: Agent, body: str, reason: StopReason, said: str | None, requests: int
) -> None:
    good, bad = program(tmp_path, TWICE), program(tmp_path, body)
    # In one run with an agent that works, for one that never asks would end it.
    both = f"{good.split()[0]} {tmp_path / 'both.py'} {{question}}"
    (tmp_path / "both.py").write_text(
        "import os, sys\n"
        "path = sys.argv[1].endswith('x') and "
        f"{bad.split()[2]!r} or {good.split()[2]!r}\n"
        "os.execv(sys.executable, [sys.executable, '-S', path, sys.argv[1]])\n"
    )
    spoiled = Question("x", QUESTION.question + " x", ("x",))
    with rolling(agent, both, max_requests=4) as rollout:
        fine, trajectory = rollout.run([Task(QUESTION, (1,), "g"), Task(spoiled, (1,), "x")])
    assert fine.stop_reason is StopReason.ANSWER
    assert (trajectory.stop_reason, trajectory.agent.requests) == (reason, requests)
    assert said is None or said in trajectory.error
    assert sum(sum(s.sampled_mask) for s in trajectory.segments) >= 3 * requests
    assert (trajectory.answer == "x") == ("print" in body)
    assert trajectory.reward == float("print" in body)
    metrics = step_metrics([fine, trajectory])
    assert metrics.keys() <= METRICS.keys()
    assert metrics["agent/idle_share"] == (requests == 0) / 2
    assert metrics["agent/failed_share"] == (trajectory.agent.exit_code != 0) / 2
    assert metrics["agent/silent_share"] == ("print" not in body) / 2


def test_an_agent_that_does_not_end_is_killed_with_what_it_started(agent: Agent) -> None:
    """It would be waited for as long as anything holds its output open."""
    child = "import os, time; os.fork(); print('x', flush=True); time.sleep(600)"
    settings = AgentSettings(command=f'{sys.executable} -S -c "{child}"', timeout_s=1.0)
    ended = asyncio.run(run_program(settings, "Who?", "http://127.0.0.1:9", asyncio.Event()))
    assert (ended.exit_code, ended.timed_out) == (None, True)
    reason, error = how_it_ended(ended, Capture(agent.tokenizer), 1.0, answered=True)
    assert reason is StopReason.TIMEOUT
    assert error == "the agent did not end within agent.timeout_s = 1 seconds"


def test_an_agent_that_never_asks_the_model_ends_the_run(tmp_path: Path, agent: Agent) -> None:
    with pytest.raises(
        RunError, match=r"none of 2 runs .* OPENAI_BASE_URL; .*exit code 1: ValueError: no"
    ):
        run(agent, program(tmp_path, "raise ValueError('no')"), 2)


def test_what_counts_as_answer_is_a_setting(tmp_path: Path, agent: Agent) -> None:
    command = program(tmp_path, "ask(user)\nprint('one\\ntwo\\n')")
    assert [run(agent, command, answer=how)[0].answer for how in ("line", "output")] == [
        "two",
        "one\ntwo",
    ]
    [last] = run(agent, command, answer="message")
    assert last.answer in written(last)[0]
    assert last.answer not in ("", "two")


def test_an_agent_without_a_place_for_the_question_reads_it(tmp_path: Path, agent: Agent) -> None:
    command = program(tmp_path, "").removesuffix(" {question}")
    path = Path(command.split()[-1])
    path.write_text(
        path.read_text().replace("sys.argv[1]", "input()")
        + "ask(user, max_tokens=2)\nprint(user[0]['content'])"
    )
    assert run(agent, command)[0].answer == QUESTION.question


def test_a_question_is_never_read_by_a_shell(tmp_path: Path, agent: Agent) -> None:
    command = program(tmp_path, "ask(user, max_tokens=2)\nprint(sys.argv[1])")
    odd = Question("o", '\'; touch x; $(id) "{question}" -x', ())
    with rolling(agent, command) as rollout:
        [trajectory] = rollout.run([Task(odd, (1,), "o")])
    assert trajectory.answer == odd.question


def test_what_cannot_be_trained_is_refused_in_a_line() -> None:
    def recipe(command: str = "python x", **given: object) -> Recipe:
        return Recipe(agent={"command": command}, **given)

    for wrong, said in [
        (recipe("no-such-program x"), "no program 'no-such-program'"),
        (recipe("'"), "is no command"),
        (recipe(trainer={"kind": "verl"}), "take --trainer trl"),
        (recipe(search={"router": "first:1", "engine": "world"}), "search.router always"),
    ]:
        with pytest.raises(ConfigError, match=said) as error:
            demand_program_recipe(wrong)
        assert "\n" not in str(error.value)


def test_a_policy_without_tokens_cannot_be_captured(agent: Agent) -> None:
    policy = ScriptedPolicy(agent.tokenizer, [""], provides=frozenset())
    with pytest.raises(ConfigError, match="token ids with log-probabilities"):
        program_rollout(
            Recipe(agent={"command": "python x"}), policy, agent.tokenizer, SearchTool.itself()
        )


def test_a_program_is_told_where_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "intranet")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    told = environment("http://127.0.0.1:1/s/a", "Who?")
    assert told["OPENAI_BASE_URL"] == "http://127.0.0.1:1/s/a/v1"
    assert told["INNERSEARCH_SEARCH_URL"] == "http://127.0.0.1:1/s/a"
    assert told["NO_PROXY"] == "intranet,127.0.0.1"
    assert "sk-secret" not in told.values()
