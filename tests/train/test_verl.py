"""The verl adapter, as far as it goes without verl: outputs, sampler, worker, configuration, launch."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import TypeAdapter

from innersearch.cli import main
from innersearch.config import (
    GuardSettings,
    LoraSettings,
    NoiseSettings,
    PromptSettings,
    Recipe,
    SamplingSettings,
    SearchSettings,
    TermSettings,
    TrainerSettings,
    VerlSettings,
)
from innersearch.errors import CollapseError, ConfigError, ModelError, RunError, SearchError
from innersearch.grammar import MaskRule
from innersearch.policy.base import Request
from innersearch.policy.loading import end_ids, load_model, load_tokenizer
from innersearch.policy.stops import StopStrings
from innersearch.policy.transformers import TransformersPolicy
from innersearch.readers import read_questions
from innersearch.records import write_json
from innersearch.rewards import Rubric
from innersearch.rollout.episode import Task
from innersearch.rollout.run import Rollout
from innersearch.routing.router import parse_router
from innersearch.runs import Run
from innersearch.search.base import Engine, SearchResult
from innersearch.stored import read_json, read_lines
from innersearch.tools.search import SearchTool
from innersearch.train.tasks import encode_prompts
from innersearch.train.trl.segments import to_columns
from innersearch.train.verl import launch, settings
from innersearch.train.verl.cluster import Machine, demand_machines, demand_verl
from innersearch.train.verl.outputs import to_outputs
from innersearch.train.verl.server import ServerPolicy
from innersearch.train.verl.worker import Worker, give_up
from innersearch.types import (
    Finish,
    Kind,
    Question,
    Sampling,
    Segment,
    Source,
    Span,
    StopReason,
    Trajectory,
)
from innersearch.world.bundled import BUNDLED
from innersearch.world.encyclopedia import Encyclopedia, Split
from innersearch.world.questions import questions
from tests.verl_servers import Repeating, output

RECIPE = Recipe(
    model=str(BUNDLED),
    prompt=PromptSettings(name="world", max_tokens=64),
    sampling=SamplingSettings(max_new_tokens=96),
    trainer=TrainerSettings(prompts_per_step=4, group_size=2, micro_batch=2, steps=10),
    verl=VerlSettings(gpus_per_node=2, max_error_rate=0.5),
)
SEARCHING = RECIPE.model_copy(
    update={"search": SearchSettings(router="always", engine="world", k=1, style="plain")}
)
QUESTIONS = questions(Encyclopedia.generate(0), Split.TRAIN)[:8]


def segment(loss: list[int], sampled: list[int] | None = None) -> Segment:
    """Two prompt tokens and one for each entry of the masks, numbered from 10."""
    sampled = sampled or [1] * len(loss)
    count = len(loss)
    return Segment(
        token_ids=[1, 2, *range(10, 10 + count)],
        prompt_len=2,
        sampled_mask=[False, False, *map(bool, sampled)],
        loss_mask=[False, False, *map(bool, loss)],
        logprobs=[None, None, *(-0.5 if flag else None for flag in sampled)],
        spans=[Span(0, 2, Kind.PROMPT, Source.TEMPLATE)],
        finish=Finish.LENGTH,
    )


def trajectory(*segments: Segment, reward: float = 0.7, error: str | None = None) -> Trajectory:
    return Trajectory(
        "3/0/1",
        "3/0",
        1,
        QUESTIONS[0],
        list(segments),
        [],
        Sampling(),
        StopReason.TOKEN_BUDGET,
        3,
        reward,
        {"em": 1.0},
        error=error,
    )


def rolled_out(recipe: Recipe, tasks: int) -> list[Trajectory]:
    """Trajectories of the bundled model, as every other trainer gets them."""
    tokenizer, model = load_tokenizer(str(BUNDLED)), load_model(str(BUNDLED))
    search = SearchTool.itself()
    if recipe.search.router != "self":
        from innersearch.assemble.engines import open_engine

        engine = open_engine(recipe.search)
        search = SearchTool(engine, parse_router(recipe.search.router), recipe.search)
    prompts = encode_prompts(tokenizer, recipe, QUESTIONS, 512)
    rollout = Rollout(
        TransformersPolicy(model, end_ids(model, tokenizer)),
        tokenizer,
        Sampling(1.0, 96, recipe.seed),
        Rubric.of(recipe.reward).score,
        MaskRule(),
        search=search,
    )
    with rollout:
        return rollout.run([Task(QUESTIONS[i], prompts[i], f"1/{i}", 0, 1) for i in range(tasks)])


def rows(step: int = 1) -> list[dict[str, object]]:
    """What verl hands to an agent loop."""
    return [
        {
            "question": q.question,
            "golden_answers": list(q.golden_answers),
            "id": q.id,
            "data_source": q.group,
            "index": number,
            "session_id": 0,
            "global_steps": step,
        }
        for number, q in enumerate(QUESTIONS)
    ]


def open_worker(
    path: Path,
    recipe: Recipe,
    server: object,
    *,
    max_response: int = 4096,
    engine: Engine | None = None,
) -> Worker:
    tokenizer = load_tokenizer(str(BUNDLED))
    write_json(path / "recipe.json", recipe.model_dump(mode="json"))
    policy = ServerPolicy(server, frozenset({tokenizer.eos_token_id}), 512)
    return Worker.open(path, tokenizer, policy, max_response, engine=engine)


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


# Configuration


def configured(recipe: Recipe) -> dict[str, object]:
    return settings.configuration(recipe, Run(Path("runs/x")), context=512)


def test_a_recipe_in_verls_words() -> None:
    made = configured(RECIPE)
    assert made["algorithm.adv_estimator"] == "grpo"
    assert made["algorithm.norm_adv_by_std_in_grpo"] is True
    assert made["data.train_batch_size"] == made["actor_rollout_ref.actor.ppo_mini_batch_size"] == 4
    assert made["actor_rollout_ref.rollout.n"] == 2
    assert made["actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu"] == 2
    assert made["actor_rollout_ref.actor.use_kl_loss"] is True
    assert made["actor_rollout_ref.actor.kl_loss_coef"] == 0.001
    assert made["actor_rollout_ref.actor.kl_loss_type"] == "low_var_kl"
    assert made["data.max_response_length"] == 96
    assert made["actor_rollout_ref.rollout.max_model_len"] == 160
    assert made["actor_rollout_ref.actor.strategy"] == "fsdp2"
    assert made["trainer.total_training_steps"] == 10
    assert made["trainer.total_epochs"] == 1
    assert made["+data.steps"] == 10
    assert made["data.shuffle"] is False
    assert made["algorithm.rollout_correction.rollout_is"] == "token"
    assert made["algorithm.rollout_correction.rollout_is_threshold"] == 2.0
    assert Path(made["actor_rollout_ref.rollout.agent.agent_loop_config_path"]).is_absolute()


def test_room_is_made_for_documents() -> None:
    search = SEARCHING.search.model_copy(update={"max_searches": 3, "max_tokens": 100})
    recipe = SEARCHING.model_copy(update={"search": search})
    assert settings.response_length(recipe) == 96 + 3 * (100 + 64)
    assert configured(recipe)["actor_rollout_ref.rollout.max_model_len"] == 512


@pytest.mark.parametrize(
    ("advantage", "estimator"),
    [("group", "grpo"), ("rloo", "grpo"), ("reinforce++", "reinforce_plus_plus"), ("gae", "gae")],
)
def test_estimators(advantage: str, estimator: str) -> None:
    trainer = RECIPE.trainer.model_copy(update={"advantage": advantage})
    made = configured(RECIPE.model_copy(update={"trainer": trainer}))
    assert made["algorithm.adv_estimator"] == estimator
    assert made["algorithm.norm_adv_by_std_in_grpo"] is (advantage == "group")
    assert ("critic.model.path" in made) is (advantage == "gae")


def test_the_objective_in_verls_words() -> None:
    def made(**changes: object) -> dict[str, object]:
        trainer = RECIPE.trainer.model_copy(update=changes)
        recipe = RECIPE.model_copy(update={"trainer": trainer})
        settings.refuse(recipe)
        return configured(recipe)

    plain, actor = configured(RECIPE), "actor_rollout_ref.actor."
    assert plain[f"{actor}loss_agg_mode"] == "token-mean"
    assert f"{actor}policy_loss.loss_mode" not in plain
    assert made(updates=2)[f"{actor}ppo_mini_batch_size"] == 2
    assert made(whiten=True, advantage="rloo")["algorithm.adv_estimator"] == (
        "reinforce_plus_plus_baseline"
    )
    assert made(correction="truncate")["algorithm.rollout_correction.rollout_is_threshold"] == 5.0
    assert made(per_segment_weight="equal")[f"{actor}loss_agg_mode"] == "seq-mean-token-mean"
    cispo = made(loss="cispo", cap=4.0)
    assert cispo[f"{actor}policy_loss.loss_mode"] == "cispo"
    assert (cispo[f"{actor}clip_ratio_low"], cispo[f"{actor}clip_ratio_high"]) == (1.0, 3.0)


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("trainer", {"optimizer": "muon"}, "--trainer.optimizer adamw"),
        ("trainer", {"schedule": "linear"}, "--trainer.schedule"),
        ("trainer", {"bf16": False}, "mixed precision"),
        ("trainer", {"lora": LoraSettings(rank=8)}, "adapters"),
        ("trainer", {"whiten": True}, "does not whiten"),
        ("trainer", {"correction": "drop"}, "drops none"),
        ("trainer", {"correction": "truncate", "loss": "cispo", "updates": 2}, "multiplies the weight"),
        ("trainer", {"updates": 3}, r"does not divide trainer\.prompts_per_step = 4"),
        ("verl", {"gpus_per_node": 3}, "3 GPUs do not divide"),
        ("verl", {"tensor_parallel": 3, "gpus_per_node": 4}, "tensor_parallel"),
        ("search", {"router": "gate:entropy:1.0"}, "min-prob"),
        ("verl", {"overrides": ("actor_rollout_ref.rollout.top_p=0.95",)}, "top_p to 0.95"),
        ("verl", {"overrides": ("trainer.use_v1=false",)}, "use_v1"),
        ("verl", {"overrides": ("actor_rollout_ref.rollout.name=sglang",)}, "sglang"),
    ],
)
def test_what_verl_cannot_do_is_refused(part: str, changes: dict, message: str) -> None:
    changed = getattr(RECIPE, part).model_copy(update=changes)
    with pytest.raises(ConfigError, match=message):
        settings.refuse(RECIPE.model_copy(update={part: changed}))


def test_rewards_of_whole_groups_are_refused_by_verl() -> None:
    votes = (TermSettings(measure="majority", weight=0.9), TermSettings(measure="em", weight=0.1))
    with pytest.raises(ConfigError, match="whole groups"):
        settings.refuse(RECIPE.model_copy(update={"reward": votes}))


def test_searches_with_a_budget_are_counted_by_one_worker() -> None:
    search = SEARCHING.search.model_copy(update={"max_usd": 5.0})
    assert settings.workers(SEARCHING) == 8
    assert settings.workers(SEARCHING.model_copy(update={"search": search})) == 1


def test_questions_come_back_from_verls_data(tmp_path) -> None:
    odd = Question("q9", 'Who wrote "漢字"?', ("A", "B"), {"group": "rare"})
    settings.write_questions(RECIPE, [*QUESTIONS, odd], tmp_path / "verl" / "q.parquet")
    back = read_questions(tmp_path / "verl" / "q.parquet")
    for mine, theirs in zip(back, [*QUESTIONS, odd], strict=True):
        assert (mine.id, mine.question, mine.golden_answers, mine.group) == (
            theirs.id,
            theirs.question,
            theirs.golden_answers,
            theirs.group,
        )


def test_machines_that_do_not_suffice() -> None:
    demand_machines(RECIPE, [Machine(10, 2)])
    with pytest.raises(RunError, match=r"1 machines with 2 GPUs.*0 GPUs, 16 CPUs"):
        demand_machines(RECIPE, [Machine(16, 0)])
    with pytest.raises(RunError, match=r"reserves 10 CPUs.*2 GPUs, 8 CPUs"):
        demand_machines(RECIPE, [Machine(8, 2)])
    two = RECIPE.model_copy(update={"verl": RECIPE.verl.model_copy(update={"nodes": 2})})
    with pytest.raises(RunError, match="2 machines"):
        demand_machines(two, [Machine(64, 2)])


# Start


def fake_verl(path: Path, lines: int, *, then: str = "") -> list[str]:
    """A process that does to the files what verl and its workers do."""
    code = f"""
import json, pathlib, time
run = pathlib.Path({str(path)!r})
for step in range(1, {lines} + 1):
    with (run / "trajectories.jsonl").open("a") as file:
        file.write((run / f"step-{{step}}.jsonl").read_text())
    with (run / "verl" / "metrics-from-0.jsonl").open("a") as file:
        data = {{"actor/pg_loss": step / 10, "actor/grad_norm": 1.5, "actor/lr": 1e-6, "note": "text"}}
        file.write(json.dumps({{"step": step, "data": data}}) + "\\n")
{then}
"""
    return [sys.executable, "-c", code]


@pytest.fixture
def started(tmp_path) -> Run:
    """A run directory with what a fake verl writes for two steps."""
    run = Run.start(tmp_path / "run", RECIPE, resume=False)
    launch.write_inputs(RECIPE, QUESTIONS, run)
    adapter = TypeAdapter(Trajectory)
    good = replace(trajectory(segment([1, 1])), components={"em": 1.0, "f1": 1.0, "format": 1.0})
    for step in (1, 2, 3):
        lines = [
            adapter.dump_json(
                replace(good, step=step, uid=f"{step}/{n}/0", group_id=f"{step}/{n}", reward=n / step)
            ).decode()
            for n in range(3)
        ]
        (run.path / f"step-{step}.jsonl").write_text("\n".join(lines) + "\n")
    return run


def test_a_run_is_recorded_while_it_goes_on(started: Run, monkeypatch) -> None:
    monkeypatch.setattr(launch, "_POLL_S", 0.05)
    seen = []
    launch._watch(
        fake_verl(started.path, 2), started, RECIPE, lambda step, metrics: seen.append((step, metrics))
    )
    assert [step for step, _ in seen] == [1, 2]
    records = list(read_lines(started.metrics))
    assert [record["step"] for record in records] == [1, 2]
    assert [record["loss"] for record in records] == [0.1, 0.2]
    assert [record["reward/mean"] for record in records] == [1.0, 0.5]
    assert records[0]["grad_norm"] == 1.5


def test_the_guard_stops_a_collapsed_run(started: Run, monkeypatch) -> None:
    monkeypatch.setattr(launch, "_POLL_S", 0.05)
    recipe = RECIPE.model_copy(update={"guard": GuardSettings(window=1, reward_drop=0.4)})
    arguments = fake_verl(started.path, 2, then="time.sleep(60)")
    with pytest.raises(CollapseError, match=r"average reward fell from 1\.000 to 0\.500"):
        launch._watch(arguments, started, recipe, lambda step, metrics: None)


def test_the_word_of_a_worker_ends_the_run(started: Run, monkeypatch) -> None:
    monkeypatch.setattr(launch, "_POLL_S", 0.05)
    give_up(started.path, RunError("20 of 20 rollouts failed"))
    with pytest.raises(RunError, match="20 of 20 rollouts failed"):
        launch._watch(
            [sys.executable, "-c", "import time; time.sleep(60)"], started, RECIPE, lambda *_: None
        )


def test_a_verl_that_fails_is_quoted(started: Run, monkeypatch) -> None:
    monkeypatch.setattr(launch, "_POLL_S", 0.05)
    with pytest.raises(RunError, match=r"status 3; all it said is in .*log\.txt.*out of memory"):
        launch._watch(
            [sys.executable, "-c", "print('out of memory'); raise SystemExit(3)"],
            started,
            RECIPE,
            lambda *_: None,
        )


def test_a_resumed_run_goes_on_from_verls_checkpoint(started: Run, monkeypatch) -> None:
    monkeypatch.setattr(launch, "_POLL_S", 0.05)
    launch._watch(fake_verl(started.path, 2), started, RECIPE, lambda *_: None)
    started.checkpoints.mkdir()
    (started.checkpoints / "latest_checkpointed_iteration.txt").write_text("1")
    again = Run.start(started.path, RECIPE, resume=True)
    assert [record["step"] for record in read_lines(again.metrics)] == [1]
    assert {record["step"] for record in read_lines(again.trajectories)} == {1}
    assert launch._log_of_metrics(again).name == "metrics-from-1.jsonl"


def test_verls_model_becomes_the_result(started: Run) -> None:
    saved = started.checkpoints / "global_step_4" / "actor" / "huggingface"
    saved.mkdir(parents=True)
    (started.checkpoints / "latest_checkpointed_iteration.txt").write_text("4")
    with pytest.raises(RunError, match="left no model"):
        launch._keep(started)
    (saved / "config.json").write_text("{}")
    launch._keep(started)
    assert (started.model / "config.json").is_file()


def test_the_agent_loop_is_named_to_verl(started: Run) -> None:
    [loop] = json.loads(started.agent_loop.read_text())
    assert loop["run"] == str(started.path)
    assert loop["_target_"] == "innersearch.train.verl.agent_loop.SearchAgentLoop"
    assert read_json(started.recipe)["name"] == "ssrl"


def test_trl_refuses_what_only_verl_does(in_empty_folder, capsys) -> None:
    arguments = ["train", "recipes/ssrl-world.toml", "--trainer.advantage", "gae"]
    assert main(arguments) == 1
    assert "--trainer verl" in capsys.readouterr().err


def without_verl() -> bool:
    try:
        demand_verl()
    except ConfigError:
        return True
    return False


@pytest.mark.skipif(not without_verl(), reason="verl is installed")
def test_without_verl_the_command_is_shown_and_how_to_install_it(in_empty_folder, capsys) -> None:
    arguments = ["train", "recipes/ssrl-world.toml", "--trainer", "verl", "--print"]
    assert main([*arguments, "--trainer.optimizer", "adamw", "--trainer.schedule", "cosine"]) == 1
    shown = capsys.readouterr()
    assert "-m \\\n  verl.trainer.main_ppo" in shown.out
    assert "actor_rollout_ref.rollout.n=8" in shown.out
    assert "pip install -e '.[verl]' in a clone" in shown.err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("--search.router alwys", "unknown router 'alwys'; did you mean 'always'?"),
        ("--search.router always", "no engine given"),
        ("--search.router always --search.engine bm25:nowhere", "no index at nowhere"),
        ("--search.router gate:entropy:1 --search.engine world", "which verl's servers do not tell"),
        ("--verl.overrides trainer", "'trainer' sets nothing: write KEY=VALUE"),
        ("--output full", "full is not empty"),
        ("--model gone", "no model directory at gone"),
        ("--trainer.prompts-per-step 100000", "cannot fill a step"),
    ],
)
def test_print_refuses_what_training_would(in_empty_folder, capsys, settings: str, message: str) -> None:
    Path("full").mkdir()
    Path("full/precious.txt").write_text("mine")
    arguments = ["train", "recipes/ssrl-world.toml", "--trainer", "verl", "--print"]
    allowed = ["--trainer.optimizer", "adamw", "--trainer.schedule", "cosine"]
    assert main([*arguments, *allowed, *settings.split()]) == 1
    shown = capsys.readouterr()
    assert message in shown.err
    assert not shown.out
    assert not Path("runs").exists()


@pytest.mark.parametrize("old", [["--engine", "verl"], ["--engine=verl"], ["--trainer.engine", "verl"]])
def test_the_old_name_of_the_trainers_option_is_told_of(in_empty_folder, capsys, old) -> None:
    assert main(["train", "recipes/ssrl-world.toml", *old]) == 1
    assert "write --trainer verl" in capsys.readouterr().err
    Path("old.toml").write_text('name = "old"\n[trainer]\nengine = "verl"\n')
    assert main(["train", "old.toml"]) == 1
    assert "write kind = 'verl' below [trainer]" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"write kind = 'verl' below \[trainer\]"):
        Recipe.model_validate({"trainer": {"engine": "verl"}})


def test_search_engines_are_no_trainers(in_empty_folder, capsys) -> None:
    assert main(["train", "recipes/ssrl-world.toml", "--trainer", "bm25"]) == 2
    error = capsys.readouterr().err
    assert "bm25" in error
    assert "verl" in error
