"""The verl adapter without verl, within a worker: outputs, sampler, episodes."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from innersearch.cli import main
from innersearch.config import (
    NoiseSettings,
    Recipe,
)
from innersearch.errors import ConfigError, ModelError, RunError, SearchError
from innersearch.policy.base import Request
from innersearch.policy.loading import load_tokenizer
from innersearch.policy.stops import StopStrings
from innersearch.records import write_json
from innersearch.search.base import SearchResult
from innersearch.stored import read_lines
from innersearch.train.trl.segments import to_columns
from innersearch.train.verl.outputs import to_outputs
from innersearch.train.verl.server import ServerPolicy
from innersearch.train.verl.worker import Worker
from innersearch.types import (
    Finish,
    Sampling,
    Source,
    Trajectory,
)
from innersearch.world_1.bundled import BUNDLED
from tests.train.verl_runs import (
    QUESTIONS,
    RECIPE,
    SEARCHING,
    open_worker,
    rolled_out,
    rows,
    segment,
    trajectory,
)
from tests.verl_servers import Repeating, output

# Outputs


def test_masked_tokens_at_the_end_are_left_out() -> None:
    [columns] = to_outputs(trajectory(segment([1, 0, 1, 0, 0])))
    assert columns["prompt_ids"] == [1, 2]
    assert columns["response_ids"] == [10, 11, 12]
    assert columns["response_mask"] == [1, 0, 1]
    assert columns["response_logprobs"] == [-0.5, -0.5, -0.5]
    assert columns["reward_score"] == 0.7


def test_tokens_that_nobody_sampled_have_the_filler_log_probability() -> None:
    [columns] = to_outputs(trajectory(segment([1, 0, 0, 1], [1, 0, 0, 1])))
    assert columns["response_logprobs"] == [-0.5, 0.0, 0.0, -0.5]


def test_a_response_is_never_empty() -> None:
    [columns] = to_outputs(trajectory(segment([0, 0, 0])))
    assert columns["response_ids"] == [10]
    assert columns["response_mask"] == [0]


def test_a_segment_with_something_to_train_comes_last() -> None:
    first, second, untrained = segment([1]), segment([1, 1]), segment([0, 0, 0])
    outputs = to_outputs(trajectory(first, untrained, second, untrained))
    assert [sum(columns["response_mask"]) for columns in outputs] == [0, 0, 1, 2]
    assert {columns["reward_score"] for columns in outputs} == {0.7}
    outputs[0]["extra_fields"]["raw_prompt"] = "verl writes here"
    assert "raw_prompt" not in outputs[1]["extra_fields"]


@pytest.mark.parametrize("recipe", [RECIPE, SEARCHING], ids=["self", "world"])
def test_masks_are_those_of_trl(recipe: Recipe) -> None:
    sampled = rolled_out(recipe, 8)
    columns, _ = to_columns(sampled)
    masked = 0
    for number, one in enumerate(sampled):
        [mine] = to_outputs(one)
        kept = len(mine["response_ids"])
        assert mine["prompt_ids"] == columns["prompt_ids"][number]
        assert mine["response_ids"] == columns["completion_ids"][number][:kept]
        assert mine["response_mask"] == columns["env_mask"][number][:kept]
        assert mine["response_logprobs"] == columns["logprobs"][number][:kept]
        assert not any(columns["env_mask"][number][kept:])
        masked += mine["response_mask"].count(0)
    assert masked


# Sampler


async def ask(server: object, request: Request) -> object:
    async with ServerPolicy(server, frozenset({0}), 512).session(Sampling(0.7, 96, 5)) as sampler:
        return await sampler.generate(request), sampler


class Scripted:
    def __init__(self, *outputs: object) -> None:
        self.outputs, self.parameters, self.identities = list(outputs), [], []

    async def generate(self, request_id, *, prompt_ids, sampling_params):
        self.identities.append(request_id)
        self.parameters.append(sampling_params)
        given = self.outputs.pop(0)
        if isinstance(given, Exception):
            raise given
        return given


def test_stop_strings_and_seeds_go_to_the_server() -> None:
    stop = StopStrings(load_tokenizer(str(BUNDLED)), ["</search>"])
    closing = load_tokenizer(str(BUNDLED)).encode("</search>", add_special_tokens=False)
    server = Scripted(*(output(closing) for _ in range(2)), output([0]), output([0]))
    request = Request((1, 2), ("3/0", 1, 4), stop=stop, max_new_tokens=20)
    completion, sampler = asyncio.run(ask(server, request))
    asyncio.run(ask(server, request))
    asyncio.run(ask(server, replace(request, stream=("3/0", 2, 4), stop=None, temperature=1.0)))
    asyncio.run(ask(server, replace(request, temperature=0.0)))
    first, again, other, greedy = server.parameters
    assert "seed" not in greedy
    assert first["stop"] == ["</search>"]
    assert first["include_stop_str_in_output"]
    assert not first["skip_special_tokens"]
    assert (first["temperature"], first["max_tokens"]) == (0.7, 20)
    assert (first["top_p"], first["top_k"], first["logprobs"]) == (1.0, -1, True)
    assert first["seed"] == again["seed"] != other["seed"]
    assert 0 <= first["seed"] < 2**31
    assert first["stop_token_ids"] == [0]
    assert "stop" not in other
    assert other["temperature"] == 1.0
    assert server.identities == ["3/0/1", "3/0/1", "3/0/2", "3/0/1"]
    assert completion.finish is Finish.STOP
    assert sampler.versions == [3]


def test_the_finish_is_read_from_the_tokens() -> None:
    tokenizer = load_tokenizer(str(BUNDLED))
    stop = StopStrings(tokenizer, ["</search>"])
    closing = tokenizer.encode("</search>", add_special_tokens=False)
    for tokens, limit, stops, finish in [
        ([5, 0], 2, stop, Finish.EOS),
        ([5, *closing], 9, stop, Finish.STOP),
        ([5, *closing], 1 + len(closing), stop, Finish.STOP),
        ([5, 6], 2, stop, Finish.LENGTH),
    ]:
        request = Request((1,), ("g", 0), stop=stops, max_new_tokens=limit)
        completion, _ = asyncio.run(ask(Scripted(output(tokens)), request))
        assert completion.finish is finish
        assert completion.token_ids == tokens


@pytest.mark.parametrize(
    "given",
    [
        output([], stop_reason="aborted"),
        output([5], stop_reason="aborted"),
        output([5]),
        output([5, 6], [-1.0]),
        SimpleNamespace(**(vars(output([5])) | {"log_probs": None})),
    ],
    ids=["nothing", "aborted", "ended by nothing", "too few log-probabilities", "none"],
)
def test_a_server_that_gives_up_is_an_error(given: object) -> None:
    with pytest.raises(ModelError, match=r"the server returned|the engine took them away"):
        asyncio.run(ask(Scripted(given), Request((1,), ("g", 0))))


# Worker


def roll_out_all(worker: Worker, step: int = 1, temperature: float = 1.0) -> list[Trajectory]:
    async def all_of_them() -> list[Trajectory]:
        pairs = [worker.roll_out(worker.task(row), temperature) for row in rows(step)]
        return [one for one, _ in await asyncio.gather(*pairs)]

    return asyncio.run(all_of_them())


@pytest.mark.parametrize("recipe", [RECIPE, SEARCHING], ids=["self", "world"])
def test_the_same_tokens_make_the_same_trajectories_as_elsewhere(tmp_path, recipe: Recipe) -> None:
    """The server goes on only from prefixes that were really sampled or injected."""
    expected = rolled_out(recipe, 8)
    server = Repeating([s for one in expected for s in one.segments])
    got = roll_out_all(open_worker(tmp_path, recipe, server))
    for mine, theirs in zip(got, expected, strict=True):
        [one], [other] = mine.segments, theirs.segments
        assert (one.token_ids, one.loss_mask, one.sampled_mask) == (
            other.token_ids,
            other.loss_mask,
            other.sampled_mask,
        )
        assert mine.reward == theirs.reward
        assert mine.components == theirs.components
        assert [call.input for call in mine.calls] == [call.input for call in theirs.calls]
        assert mine.question.golden_answers == theirs.question.golden_answers
    assert any("stop" in parameters for parameters in server.parameters) == (recipe is SEARCHING)
    written = {record["uid"]: record for record in read_lines(tmp_path / "trajectories.jsonl")}
    assert set(written) == {one.uid for one in got}
    assert all(written[t.uid]["segments"][0]["token_ids"] == t.segments[0].token_ids for t in got)


def test_the_step_of_the_curriculum_reaches_the_searches(tmp_path) -> None:
    """Noise at step 1 of 10 is nearly none, and at step 10 it is certain."""
    noise = NoiseSettings(curve="linear", start=0.0, end=1.0, distractors="removed")
    search = SEARCHING.search.model_copy(update={"noise": noise})
    recipe = SEARCHING.model_copy(update={"search": search})
    shares = []
    for step in (1, 10):
        query = load_tokenizer(str(BUNDLED)).encode("<search>who</search>", add_special_tokens=False)
        server = Scripted(*(output(query) for _ in range(80)))
        got = roll_out_all(open_worker(tmp_path / str(step), recipe, server), step)
        labels = [call.label for one in got for call in one.calls]
        assert len(labels) >= len(QUESTIONS)
        shares.append(labels.count("noisy") / len(labels))
    assert shares[0] < 0.4
    assert shares[1] == 1.0


def test_competence_is_told_of_steps_that_ended(tmp_path) -> None:
    noise = NoiseSettings(curve="competence", end=0.5)
    search = SEARCHING.search.model_copy(update={"noise": noise})
    recipe = SEARCHING.model_copy(update={"search": search})
    expected = rolled_out(SEARCHING, 8)
    worker = open_worker(tmp_path, recipe, Repeating([s for t in expected for s in t.segments]))
    assert worker.curriculum.at(1) == 0.0
    roll_out_all(worker, 1)
    assert worker.curriculum.at(2) == 0.0
    em = sum(one["components"]["em"] for one in read_lines(tmp_path / "trajectories.jsonl")) / 8
    asyncio.run(worker.roll_out(worker.task(rows(2)[0]), 1.0))
    assert em > 0
    assert worker.curriculum.at(2) == pytest.approx(min(1.0, em / noise.competent) * 0.5)


def test_a_failed_rollout_is_data(tmp_path) -> None:
    expected = rolled_out(RECIPE, 8)
    server = Repeating([one.segments[0] for one in expected[1:]])
    worker = open_worker(tmp_path, RECIPE, server)
    got = roll_out_all(worker)
    assert "LookupError" in got[0].error
    assert [one.error for one in got[1:]] == [None] * 7
    [columns] = to_outputs(got[0])
    assert columns["response_mask"] == [0]
    assert columns["reward_score"] == 0.0
    names = [set(c["extra_fields"]["reward_extra_info"]) for t in got for c in to_outputs(t)]
    assert all(one == {"em", "f1", "format", "failed"} for one in names)
    assert (worker.rollouts, worker.failures) == (8, 1)
    assert sum("error" in record for record in read_lines(tmp_path / "trajectories.jsonl")) == 1


def test_too_many_failures_stop_the_run(tmp_path) -> None:
    worker = open_worker(tmp_path, RECIPE, Scripted(*[ValueError("no such server")] * 40))
    roll_out_all(worker, 1)
    roll_out_all(worker, 2)
    with pytest.raises(RunError, match=r"20 of 20 rollouts failed.*max_error_rate.*no such server"):
        roll_out_all(worker, 3)


def test_a_response_beyond_the_configured_length_is_a_failure(tmp_path) -> None:
    expected = rolled_out(RECIPE, 1)
    worker = open_worker(tmp_path, RECIPE, Repeating(expected[0].segments), max_response=3)
    got, _ = asyncio.run(worker.roll_out(worker.task(rows()[0]), 1.0))
    assert "max_response_length = 3" in got.error


def test_failed_searches_stop_the_run_as_elsewhere(tmp_path) -> None:
    class Down:
        name, source, identity = "down", Source.RETRIEVER, {}

        async def search(self, queries, k):
            return [SearchResult(error="no answer") for _ in queries]

        async def close(self):
            pass

    query = load_tokenizer(str(BUNDLED)).encode("<search>who</search>", add_special_tokens=False)
    server = Scripted(*(output(query) for _ in range(200)))
    worker = open_worker(tmp_path, SEARCHING, server, engine=Down())
    with pytest.raises(SearchError, match="max_error_rate"):
        roll_out_all(worker)


@pytest.mark.parametrize("missing", ["global_steps", "session_id"])
def test_a_row_without_step_or_session_is_refused(tmp_path, missing: str) -> None:
    worker = open_worker(tmp_path, RECIPE, Repeating([]))
    row = {key: value for key, value in rows()[0].items() if key != missing}
    with pytest.raises(ConfigError, match="use_v1"):
        worker.task(row)


def test_an_unknown_engine_is_an_error(tmp_path) -> None:
    search = SEARCHING.search.model_copy(update={"engine": "warld"})
    with pytest.raises(ConfigError, match="warld"):
        open_worker(tmp_path, SEARCHING.model_copy(update={"search": search}), Repeating([]))


def test_relative_paths_begin_where_the_run_was_started(tmp_path, monkeypatch) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"id": "1", "contents": "Nemie\\nNemie taught Bulak."}\n')
    monkeypatch.chdir(tmp_path)
    assert main(["index", "corpus.jsonl", "index"]) == 0
    search = SEARCHING.search.model_copy(update={"engine": "bm25:index"})
    recipe = SEARCHING.model_copy(update={"search": search})
    write_json(tmp_path / "recipe.json", recipe.model_dump(mode="json"))
    tokenizer = load_tokenizer(str(BUNDLED))
    policy = ServerPolicy(Repeating([]), frozenset({0}), 512)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(SearchError):
        Worker.open(tmp_path, tokenizer, policy, 64)
    worker = Worker.open(tmp_path, tokenizer, policy, 64, started_in=tmp_path)
    [found] = asyncio.run(worker.rollout.search.engine.search(["Bulak"], 1))
    assert found.documents[0].title == "Nemie"


def test_several_workers_write_one_file(tmp_path) -> None:
    expected = rolled_out(RECIPE, 8)
    server = Repeating([s for one in expected for s in one.segments])
    workers = [open_worker(tmp_path, RECIPE, server) for _ in range(4)]
    threads = [threading.Thread(target=roll_out_all, args=(w, n)) for n, w in enumerate(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = (tmp_path / "trajectories.jsonl").read_text().splitlines()
    assert len({json.loads(line)["uid"] for line in lines}) == len(lines) == 32
