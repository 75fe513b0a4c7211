"""What rollouts ahead of training gain where searches are slow, and what they cost in accuracy.

    python benchmarks/ahead.py                 runs what is missing, writes results/ahead.md
    python benchmarks/ahead.py --seeds 1 2 3 --steps 60

The bundled model learns to search the encyclopedia of the embedded world
(`recipes/search-r1-world.toml`, small steps) while each search takes as long as one of a search API
(log-normal, p50 0.4 s, p99 3 s; they are slept, not computed). The same is run with rollouts and
training by turns, and with rollouts two and four steps ahead. What a run had measured is kept in its
folder, and not measured again.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

from scipy.stats import ks_2samp

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from innersearch.assemble.engines import open_engine  # noqa: E402
from innersearch.assemble.recipes import recipe_with  # noqa: E402
from innersearch.assemble.sources import load_questions  # noqa: E402
from innersearch.config import Recipe  # noqa: E402
from innersearch.intervals import DRAWS, Scores, difference, generator, mean_score  # noqa: E402
from innersearch.public import evaluate_agent  # noqa: E402
from innersearch.runs import Run  # noqa: E402
from innersearch.search.wrappers.slow import WEB, Slow  # noqa: E402
from innersearch.stored import read_lines  # noqa: E402
from innersearch.train.order import steps  # noqa: E402
from innersearch.train.run import train  # noqa: E402
from innersearch.view.tables import markdown  # noqa: E402
from innersearch.world.bundled import BUNDLED  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "ahead.md"
AHEAD = (0, 2, 4)
GROUPS, SIZE = 2, 4
"""Of a step: few, so that waiting and not computing decides."""
VALIDATION = 60
SUMMARY = "benchmark.json"


class Arm(NamedTuple):
    """One run."""

    ahead: int
    seed: int
    slow: bool = True

    @property
    def name(self) -> str:
        """That of its folder."""
        return f"{'web' if self.slow else 'instant'}-{self.ahead}-{self.seed}"


def recipe_of(arm: Arm, number: int) -> Recipe:
    """Small steps of a recipe in which the model searches; off-policy tokens are weighted."""
    plan = {
        "steps": number,
        "prompts_per_step": GROUPS,
        "group_size": SIZE,
        "micro_batch": GROUPS * SIZE,
    }
    plan |= {"ahead": arm.ahead, "correction": "truncate" if arm.ahead else "none"}
    changes = {"model": str(BUNDLED), "seed": arm.seed, "trainer": plan | {"save_every": number}}
    # Few and small groups are noisy, which is no collapse.
    return recipe_with(
        ROOT / "recipes" / "search-r1-world.toml", changes | {"guard": {"enabled": False}}
    )


def questions_of(recipe: Recipe, split: str) -> list[Any]:
    """The questions of a split that the recipe asks."""
    return [q for q in load_questions(f"world:{split}") if q.group in recipe.groups]


def measured(arm: Arm, number: int, folder: Path) -> dict[str, Any]:
    """Train and evaluate, unless that was done before."""
    path = folder / arm.name
    if (path / SUMMARY).is_file():
        return json.loads((path / SUMMARY).read_text(encoding="utf-8"))
    recipe = recipe_of(arm, number)
    engine = open_engine(recipe.search)
    began, cpu = time.perf_counter(), cpu_seconds()
    run = train(
        recipe,
        questions_of(recipe, "train"),
        path,
        engine=Slow(engine, WEB, arm.seed) if arm.slow else engine,
    )
    found = {"wall_s": time.perf_counter() - began, "cpu_s": cpu_seconds() - cpu}
    found |= of_records(run, recipe)
    asked = questions_of(recipe, "validation")
    asked = asked[:: len(asked) // VALIDATION][:VALIDATION]
    evaluate_agent(str(run.model), asked, path / "eval", engine="world")
    found["em"] = [line["components"]["em"] for line in read_lines(path / "eval" / "trajectories.jsonl")]
    (path / SUMMARY).write_text(json.dumps(found), encoding="utf-8")
    return found


def cpu_seconds() -> float:
    """Of this process so far, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def of_records(run: Run, recipe: Recipe) -> dict[str, Any]:
    """What the records of a run say."""
    curve = list(read_lines(run.metrics))
    groups: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for line in read_lines(run.trajectories):
        groups.setdefault((line["step"], line["group_id"]), []).append(line)
    rows = steps(recipe.seed, len(questions_of(recipe, "train")), GROUPS)
    order = [str(row) for _ in curve for row in next(rows)]
    return {
        "step_s": [step["time/step_s"] for step in curve],
        "wait_s": [step.get("ahead/wait_s", step["time/rollout_s"]) for step in curve],
        "reward": [step["reward/mean"] for step in curve],
        "ages": [age(step, lines) for (step, _), lines in groups.items()],
        "token_ages": dict(
            Counter(a for (step, _), lines in groups.items() for a in token_ages(step, lines))
        ),
        "slowness": [max(map(waited_s, lines)) for lines in groups.values()],
        "in_order": [group.partition("/")[2] for _, group in groups] == order,
        "cut": fmean(step.get("policy/weights_cut", 0.0) for step in curve),
    }


def token_ages(step: int, lines: Sequence[Mapping[str, Any]]) -> list[int]:
    """Of each sampled token, how many steps before `step` its weights were the newest."""
    told = (
        v for line in lines for s in line["segments"] for v in s.get("versions") or () if v is not None
    )
    return [step - version for version in told]


def age(step: int, lines: Sequence[Mapping[str, Any]]) -> int:
    """That of the oldest token."""
    return max(token_ages(step, lines), default=0)


def waited_s(line: Mapping[str, Any]) -> float:
    """Seconds that a trajectory waited for its searches, one after another."""
    return sum(call["latency_s"] for call in line["calls"])


def groups_per_hour(found: Mapping[str, Any]) -> float:
    """Trained groups, by the time that all steps took."""
    return 3600 * GROUPS * len(found["step_s"]) / sum(found["step_s"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--runs", type=Path, default=Path("runs/ahead"))
    parser.add_argument("--output", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    found: dict[Arm, dict[str, Any]] = {}
    for seed in chosen.seeds:
        for arm in (Arm(0, seed, slow=False), *(Arm(ahead, seed) for ahead in AHEAD)):
            found[arm] = measured(arm, chosen.steps, chosen.runs)
            print(arm.name, f"{groups_per_hour(found[arm]):.0f} groups/h", flush=True)
    told = text_of(found, chosen.seeds, chosen.steps)
    before = chosen.output.read_text(encoding="utf-8").partition(MEASURED)[0]
    chosen.output.write_text(f"{before}{MEASURED}\n{told}", encoding="utf-8")
    print(told)


MEASURED = "<!-- what follows is written by benchmarks/ahead.py -->\n"


def text_of(found: Mapping[Arm, Mapping[str, Any]], seeds: Sequence[int], number: int) -> str:
    """Tables and what was aimed at."""
    arms = {"0, searches at once": (0, False)} | {str(ahead): (ahead, True) for ahead in AHEAD}
    rows = []
    by = {name: [found[Arm(a, seed, slow)] for seed in seeds] for name, (a, slow) in arms.items()}
    for name, runs in by.items():
        right = mean_score([em for run in runs for em in run["em"]])
        ages = [a for run in runs for a in run["ages"]]
        steps_s = [s for run in runs for s in run["step_s"]]
        rows.append(
            [
                name,
                " / ".join(f"{groups_per_hour(run):.0f}" for run in runs),
                f"{median(steps_s):.2f}",
                f"{fmean(w for run in runs for w in run['wait_s']):.2f}",
                f"{sum(run['cpu_s'] for run in runs) / len(steps_s):.2f}",
                f"{fmean(ages):.2f}, {max(ages)}",
                f"{100 * fmean(run['cut'] for run in runs):.2f}",
                f"{100 * right.value:.1f} ({100 * right.low:.1f}–{100 * right.high:.1f})",
            ]
        )
    header = [
        *("η", "trained groups per hour, each seed", "median s per step", "of it waiting, mean s"),
        *(
            "CPU s per step, loading included",
            "age of groups: mean, max",
            "weights cut, %",
            f"EM, % (n = {VALIDATION} × {len(seeds)})",
        ),
    ]
    return "\n\n".join([heading(seeds, number), markdown(header, rows), histogram(by), aims(by)]) + "\n"


def heading(seeds: Sequence[int], number: int) -> str:
    """What was run."""
    told = f"--seeds {' '.join(map(str, seeds))} --steps {number}"
    return f"## Measured\n\n`python benchmarks/ahead.py {told}`; {GROUPS} groups of {SIZE} a step."


def histogram(by: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """How old tokens and groups were."""
    rows = []
    for name, runs in by.items():
        tokens: Counter[int] = Counter()
        for run in runs:
            tokens.update({int(a): n for a, n in run["token_ages"].items()})
        groups = Counter(a for run in runs for a in run["ages"])
        for what, counts in (("groups", groups), ("tokens", tokens)):
            if counts:
                rows.append([name, what, *(f"{counts[a]:,}" for a in range(max(AHEAD) + 1))])
    return markdown(["η", "of age", *map(str, range(max(AHEAD) + 1))], rows)


def aims(by: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """What was aimed at, and whether it was reached."""
    lines = []
    turns = by["0"]
    for ahead in map(str, AHEAD[1:]):
        pairs = list(zip(by[ahead], turns, strict=True))
        ratios = [groups_per_hour(run) / groups_per_hour(other) for run, other in pairs]
        each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        lines.append(f"η = {ahead}: {each} × the groups per hour of η = 0, each seed (aim 1.6)")
        apart = [a - b for one, other in pairs for a, b in zip(one["em"], other["em"], strict=True)]
        gap = difference(Scores.single(apart), 1.0, DRAWS, generator(0, "em"))
        lines.append(
            f"η = {ahead}: EM {100 * gap.value:+.1f} points ({100 * gap.low:+.1f} to "
            f"{100 * gap.high:+.1f}, paired; aim ±3)"
        )
        slow, others = ([s for run in some for s in run["slowness"]] for some in (by[ahead], turns))
        test = ks_2samp(slow, others)
        in_order = all(run["in_order"] for run in by[ahead])
        lines.append(
            f"η = {ahead}: seconds that the slowest trajectory of a trained group waited for searches, "
            f"against η = 0: KS D = {test.statistic:.3f}, p = {test.pvalue:.2f} (n = {len(slow)}); "
            f"the groups are those of the seed in their order: {'yes' if in_order else '**no**'}"
        )
    return "\n".join(f"* {line}" for line in lines)


if __name__ == "__main__":
    main()
