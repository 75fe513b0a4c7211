"""Trains the thirty lines of examples/agent.py, unchanged, through two URLs.

    nice -n 10 python benchmarks/two_urls.py --steps 24 --seeds 1 2 3 --output two_urls.json

Measured are runs of the same program on validation questions, at the temperature of training, before and
after each training, on the same questions. The interval is a t interval over the gains of the seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from scipy import stats

from innersearch import Agent, open_agent, open_engine, read_questions
from innersearch.assemble.recipes import recipe_with
from innersearch.config import Recipe
from innersearch.rewards import Rubric
from innersearch.rollout.episode import Task
from innersearch.serve.programs import program_rollout
from innersearch.tools.search import SearchTool
from innersearch.train.start import Training, resolved
from innersearch.types import Question

ROOT = Path(__file__).parents[1]


def measure(agent: Agent, recipe: Recipe, questions: list[Question]) -> dict[str, float]:
    search = SearchTool(open_engine("world"), recipe.search.rule, recipe.search)
    made = program_rollout(recipe, agent.policy, agent.tokenizer, search, Rubric.of(recipe.reward))
    with made as rollout:
        found = rollout.run([Task(question, (1,), f"measured/{question.id}") for question in questions])
    return {
        "reward": statistics.fmean(trajectory.reward or 0.0 for trajectory in found),
        "searches": statistics.fmean(len(trajectory.calls) for trajectory in found),
        "answered": statistics.fmean(trajectory.answer is not None for trajectory in found),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--questions", type=int, default=128)
    parser.add_argument("--output", type=Path, default=Path("two_urls.json"))
    chosen = parser.parse_args()
    command = f"{sys.executable} -S {ROOT / 'examples' / 'agent.py'} {{question}}"
    trainer = {"steps": chosen.steps, "save_every": chosen.steps}
    recipe = recipe_with(
        str(ROOT / "recipes" / "agent-world.toml"), {"agent": {"command": command}, "trainer": trainer}
    )
    asked = read_questions("world:validation")
    asked = asked[:: max(1, len(asked) // chosen.questions)][: chosen.questions]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in chosen.seeds:
            started = time.monotonic()
            own = recipe.model_copy(update={"seed": seed})
            before = measure(open_agent("world"), own, asked)
            training = Training(resolved(own), rollouts=program_rollout)
            run = training.start(Path(folder) / str(seed))
            after = measure(open_agent(str(run.model)), own, asked)
            rows.append(
                {"seed": seed, "before": before, "after": after, "seconds": time.monotonic() - started}
            )
            print(json.dumps(rows[-1]), flush=True)
    gains = [row["after"]["reward"] - row["before"]["reward"] for row in rows]
    result = {
        "command": " ".join(["python", "benchmarks/two_urls.py", *sys.argv[1:]]),
        "questions": len(asked),
        "steps": chosen.steps,
        "trajectories_per_step": recipe.trainer.prompts_per_step * recipe.trainer.group_size,
        "runs": rows,
        "gain": statistics.fmean(gains),
    }
    if len(gains) > 1:
        spread = statistics.stdev(gains) / len(gains) ** 0.5
        width = spread * stats.t.ppf(0.975, len(gains) - 1)
        result["interval"] = [result["gain"] - width, result["gain"] + width]
    chosen.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
