"""A recipe for verl, its trajectories, and workers without verl."""

from __future__ import annotations

from pathlib import Path

from innersearch.config import (
    PromptSettings,
    Recipe,
    SamplingSettings,
    SearchSettings,
    TrainerSettings,
    VerlSettings,
)
from innersearch.grammar import MaskRule
from innersearch.policy.loading import end_ids, load_model, load_tokenizer
from innersearch.policy.transformers import TransformersPolicy
from innersearch.records import write_json
from innersearch.rewards import Rubric
from innersearch.rollout.episode import Task
from innersearch.rollout.run import Rollout
from innersearch.routing.router import parse_router
from innersearch.search.base import Engine
from innersearch.tools.search import SearchTool
from innersearch.train.tasks import encode_prompts
from innersearch.train.verl.server import ServerPolicy
from innersearch.train.verl.worker import Worker
from innersearch.types import (
    Finish,
    Kind,
    Sampling,
    Segment,
    Source,
    Span,
    StopReason,
    Trajectory,
)
from innersearch.world_1.bundled import BUNDLED
from innersearch.world_1.encyclopedia import Encyclopedia, Split
from innersearch.world_1.questions import questions

RECIPE = Recipe(
    model=str(BUNDLED),
    prompt=PromptSettings(name="world", max_tokens=64),
    sampling=SamplingSettings(max_new_tokens=96),
    trainer=TrainerSettings(prompts_per_step=4, group_size=2, micro_batch=2, steps=10),
    verl=VerlSettings(gpus_per_node=2, max_error_rate=0.5),
)
SEARCHING = RECIPE.model_copy(
    update={"search": SearchSettings(router="always", engine="world-1", k=1, style="plain")}
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
