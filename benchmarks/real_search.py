"""Trained agents with real search, on the embedded world's test split: the figures of docs/world-1.md.

For each run of SSRL: its own memory, the first K searches real, a gate of each signal over its
thresholds, and random gates; for each run of Search-R1: its own memory and BM25. The gate's signal and
threshold are chosen on the validation split. Evaluations that are there already are not repeated.

    python benchmarks/real_search.py --ssrl runs/seed-0 runs/seed-1 runs/seed-2 \
        --search-r1 runs/r1-0 runs/r1-1 runs/r1-2 --figure docs/real-search.svg
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from innersearch.assemble.sources import load_questions
from innersearch.cli.progress import Display
from innersearch.config import SearchSettings
from innersearch.evaluate.calibrate import BEST, Wanted, calibrate, em, signal_values
from innersearch.evaluate.evaluation import Evaluation
from innersearch.intervals import DRAWS, Scores, difference, generator, proportion
from innersearch.metrics import auroc
from innersearch.routing.gate import gate_router
from innersearch.routing.signals import SAMPLED, SIGNALS
from innersearch.stored import read_lines
from innersearch.view.tables import comparison_table, markdown, percent
from innersearch.world_1.encyclopedia import Encyclopedia
from innersearch.world_1.relations import RELATIONS

RANDOM_RATES = (0.25, 0.5, 0.75)
SWEEP = (0.05, 0.1, 0.2, 0.4, 0.7)
"""Shares of searches above the thresholds that are drawn."""
SETTINGS = {"engine": "world-1", "k": 1, "style": "plain"}
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
UNSEEN = ("one_hop_unseen", "two_hop_unseen")


class Agent:
    """A model and its evaluations, kept under one directory."""

    def __init__(self, model: str, folder: Path, display: Display) -> None:
        self.folder, self.display = folder, display
        choices = {"max_new_tokens": 96, "seed": 0}
        self.sets = {
            split: Evaluation(model, load_questions(f"world:{split}"), None, choices, resume=True)
            for split in ("validation", "test")
        }

    def run(self, router: str, split: str = "test", engine: str = "world-1") -> dict[str, Any]:
        """An evaluation with a router; `plain` is BM25 without spelling correction."""
        search = None if router == "self" else SearchSettings(**SETTINGS | {"router": router})
        place = self.place(router, split, engine)
        if search and engine == "plain":
            search = search.model_copy(update={"engine": f"bm25:{plain_index(self.folder.parent)}"})
        return self.sets[split].run(
            place, search, self.display.update, f"{self.folder.name} {place.name}"
        )

    def place(self, router: str, split: str = "test", engine: str = "world-1") -> Path:
        """The directory of an evaluation."""
        return self.folder / split / f"{router}-{engine}".replace(":", "-")

    def greedy(self, router: str) -> list[dict[str, Any]]:
        """Per-question records, in the order of the questions."""
        records = {r["id"]: r for r in read_lines(self.place(router) / "greedy.jsonl")}
        return [records[question.id] for question in self.sets["test"].questions]


def plain_index(folder: Path) -> Path:
    """An index of the encyclopedia as published baselines would make it."""
    from innersearch.search.index.bm25 import BM25Engine

    path = folder / "plain-index"
    if not path.is_dir():
        BM25Engine.build(Encyclopedia.generate(0).documents(), path)
    return path


def own_is_wrong(call: dict[str, Any], truths: dict[str, str]) -> bool:
    """Whether the policy's own information lacks what the encyclopedia says to its query."""
    tail = truths.get(call["query"])
    return tail is None or tail not in call["decision"].get("own", "")


def truths_of(world: Encyclopedia) -> dict[str, str]:
    """Query → tail, for every way to ask for a fact."""
    return {
        query.format(x=fact.head): fact.tail
        for fact in world.facts
        for query in RELATIONS[fact.relation].queries
    }


def signal_quality(agent: Agent, truths: dict[str, str], signals: Iterable[str]) -> dict[str, float]:
    """AUROC of each signal for "own information is wrong", over all searches of the test split."""
    quality = {}
    for signal in signals:
        agent.run(f"gate:{signal}:-inf")
        path = agent.place(f"gate:{signal}:-inf") / "trajectories.jsonl"
        calls = [c for t in read_lines(path) for c in t["calls"] if c.get("decision")]
        wrong = [own_is_wrong(call, truths) for call in calls]
        quality[signal] = auroc([call["decision"]["value"] for call in calls], wrong)
    return quality


def sweep(agent: Agent, signal: str) -> list[dict[str, Any]]:
    """Evaluations of a gate over thresholds."""
    values = signal_values(agent.place(f"gate:{signal}:-inf"))
    rates = SWEEP[1:4:2] if signal in SAMPLED else SWEEP
    return [agent.run(f"gate:{signal}:{float(np.quantile(values, 1 - rate))!r}") for rate in rates]


def measure(agent: Agent, truths: dict[str, str], signals: Iterable[str]) -> dict[str, Any]:
    """Everything about one SSRL run with real search."""
    quality = signal_quality(agent, truths, signals)

    def on_validation(router: str, path: Path) -> dict[str, Any]:
        search = SearchSettings(**SETTINGS | {"router": router})
        return agent.sets["validation"].run(path, search, agent.display.update, path.name)

    gate = calibrate(on_validation, BEST, Wanted(em_loss=0.01), agent.folder / "calibration")
    best = gate["signal"]
    always, hybrid = agent.run("always"), agent.run(gate_router(gate))
    rate = hybrid["calls"] / always["calls"]
    chance = f"random:{rate:.3f}"
    rows = {
        "self": agent.run("self"),
        "K = 1": agent.run("first:1"),
        "K = 3": agent.run("first:3"),
        "all": always,
        "entropy trend": agent.run("entropy-trend"),
        f"gate {best}": hybrid,
        f"random {rate:.2f}": agent.run(chance),
    }
    pairs = list(zip(agent.greedy(gate_router(gate)), agent.greedy(chance), strict=True))
    gained = Scores.single([float(mine["em"]) - float(theirs["em"]) for mine, theirs in pairs])
    return {
        "signals": quality,
        "best": best,
        "gate": gate,
        "rows": rows,
        "rate": rate,
        "above random": difference(gained, 1.0, DRAWS, generator(0, "")),
        "unseen": [
            unseen(agent.run("self")),
            unseen(agent.run("always", engine="plain")),
            unseen(always),
        ],
    }


def unseen(summary: dict[str, Any]) -> str:
    """EM over all questions on facts that pre-training never stated."""
    groups = [summary["em"][group] for group in UNSEEN]
    n = sum(group["n"] for group in groups)
    return percent(proportion(round(sum(g["value"] * g["n"] for g in groups)), n)._asdict())


def report(runs: dict[str, dict[str, Any]]) -> None:
    """Print what was measured of the SSRL runs."""
    for name, found in runs.items():
        print(f"\n## {name}, real search without further training\n")
        print(comparison_table(found["rows"]))
    print("\n## Facts never seen in pre-training, EM\n")
    heads = ["run", "self", "BM25", "BM25 with spelling correction"]
    print(markdown(heads, [[name, *found["unseen"]] for name, found in runs.items()]))
    print("\n## Gates\n")
    heads = [
        "run",
        *(f"AUROC {signal}" for signal in SIGNALS),
        "gate",
        "threshold",
        "calls",
        "EM",
        "− random, points",
    ]
    print(markdown(heads, [[name, *_gate_row(found)] for name, found in runs.items()]))


def _gate_row(found: dict[str, Any]) -> list[str]:
    always, hybrid = found["rows"]["all"], found["rows"][f"gate {found['best']}"]
    return [
        *(f"{found['signals'][s]:.3f}" if s in found["signals"] else "–" for s in SIGNALS),
        found["best"],
        f"{found['gate']['threshold']:.3f}",
        f"{100 * found['rate']:.0f} % of {always['calls']:.2f}",
        f"{100 * em(hybrid) / em(always):.1f} % of {100 * em(always):.1f}",
        percent(found["above random"]._asdict()),
    ]


def cross(ssrl: dict[str, Agent], search_r1: dict[str, Agent], bundled: Agent) -> str:
    """Train engine × test engine: EM over all questions, and on two-hop questions over common facts."""
    rows = []
    for name, agent in {"none (bundled)": bundled, **ssrl, **search_r1}.items():
        summaries = [agent.run("self"), agent.run("always")]
        whole = [percent(summary["em"]["all"]) for summary in summaries]
        two_hop = [percent(summary["em"]["two_hop_common"]) for summary in summaries]
        rows.append([name, *whole, *two_hop])
    return markdown(["trained with", "self, all", "BM25, all", "self, two-hop", "BM25, two-hop"], rows)


def draw(agent: Agent, path: Path) -> None:
    """EM against real searches per question."""
    sweeps = {signal: sweep(agent, signal) for signal in SIGNALS}
    chance = [agent.run(f"random:{rate}") for rate in RANDOM_RATES]
    figure, axes = plt.subplots(figsize=(7, 4.5))
    ends = [agent.run("self"), agent.run("always")]

    def plot(summaries: list[dict[str, Any]], label: str, **style: Any) -> None:
        points = sorted((summary["calls"], 100 * em(summary)) for summary in summaries)
        axes.plot(*zip(*points, strict=True), label=label, marker="o", markersize=4, **style)

    plot([*ends, *chance], "random", color="#999999", linestyle="--")
    for colour, (signal, summaries) in zip(COLOURS, sweeps.items(), strict=True):
        plot([*ends, *summaries], f"gate: {signal}", color=colour)
    for name, summary in (("never", ends[0]), ("always", ends[1])):
        axes.annotate(name, (summary["calls"], 100 * em(summary)), (6, -12), textcoords="offset points")
    axes.set(xlabel="real searches per question", ylabel="exact match, %")
    axes.set_title("A gate searches where the policy's own information is doubtful", fontsize=11)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--ssrl", nargs="*", default=[], type=Path, help="run directories of SSRL")
    parser.add_argument("--search-r1", nargs="*", default=[], type=Path, help="those of Search-R1")
    parser.add_argument("--output", type=Path, default=Path("runs/real-search"))
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    truths = truths_of(Encyclopedia.generate(0))
    with Display() as display:

        def agents(kind: str, paths: list[Path]) -> dict[str, Agent]:
            places = [arguments.output / f"{kind}-{number}" for number in range(len(paths))]
            found = zip(paths, places, strict=True)
            return {place.name: Agent(str(path / "model"), place, display) for path, place in found}

        ssrl, search_r1 = agents("ssrl", arguments.ssrl), agents("search-r1", arguments.search_r1)
        measured = {}
        for name, agent in ssrl.items():
            # Further samples for every search take long, so only the first run tries them.
            signals = [s for s in SIGNALS if s not in SAMPLED or not measured]
            measured[name] = measure(agent, truths, signals)
        table = cross(ssrl, search_r1, Agent("world-1", arguments.output / "bundled", display))
        if arguments.figure and ssrl:
            draw(next(iter(ssrl.values())), arguments.figure)
    report(measured)
    print(f"\n## Train engine × test engine, EM\n\n{table}")


if __name__ == "__main__":
    main()
