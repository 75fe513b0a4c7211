"""What the environments of five published systems allow, over the second world: scripted agents.

    python benchmarks/five_systems.py                  prints tables, writes results/five_systems.md
    python benchmarks/five_systems.py --only rag-r1

No model is trained here. Each system is played in the environment of its own recipe,
`recipes/NAME-world.toml`, by an agent that looks up what a question is about and answers with what it
read (`benchmarks/world_agents.py`). Its figures say what can be reached by whoever learns the protocol,
and what a setting costs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import gathering as gather  # noqa: E402
from benchmarks import world_agents as agents  # noqa: E402
from innersearch.assemble.recipes import recipe_with  # noqa: E402
from innersearch.assemble.sources import load_questions  # noqa: E402
from innersearch.config import Recipe  # noqa: E402
from innersearch.intervals import mean_score  # noqa: E402
from innersearch.search.wrappers.slow import Latency, Slow  # noqa: E402
from innersearch.types import Question, StopReason, Trajectory  # noqa: E402
from innersearch.view.tables import markdown  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "five_systems.md"
LATENCY = Latency.parse("0.3")


class Table(NamedTuple):
    """What one system shows."""

    title: str
    aims: Sequence[str]
    """What was aimed at, each with whether it is met."""
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def world(name: str, **changes: Any) -> Recipe:
    """The recipe of a system on the embedded world."""
    return recipe_with(ROOT / "recipes" / f"{name}-world.toml", changes)


def em(trajectories: Sequence[Trajectory]) -> list[float]:
    """Exact match of each."""
    return [trajectory.components["em"] for trajectory in trajectories]


def share(values: Sequence[float]) -> str:
    """A mean in percent with its interval.

    >>> share([1.0, 1.0])
    '100.0 (100.0–100.0)'
    """
    found = mean_score(values)
    return f"{100 * found.value:.1f} ({100 * found.low:.1f}–{100 * found.high:.1f})"


def met(what: str, holds: bool) -> str:  # noqa: FBT001
    """A line about an aim."""
    return f"{what}: {'met' if holds else '**not met**'}"


def r1_searcher() -> Table:
    """Chains of one and two facts, one query after another inside one thought."""
    rows, aims = [], []
    for depth in (1, 2):
        asked = [q for q in load_questions("world:test") if q.metadata["depth"] == depth]
        found = agents.play(world("r1-searcher"), agents.one_by_one, asked)
        formed = [t.components["format"] for t in found]
        rows.append(
            [str(depth), f"{len(found):,}", share(em(found)), share(formed), f"{mean_rounds(found):.2f}"]
        )
        aims.append(
            met(f"every trajectory of depth {depth} is one thought and one answer", min(formed) == 1)
        )
    return Table("R1-Searcher", aims, ["depth", "n", "EM, %", "well-formed, %", "searches"], rows)


def mean_rounds(trajectories: Sequence[Trajectory]) -> float:
    """Turns of searching per question."""
    return fmean(map(agents.rounds, trajectories))


def rag_r1() -> Table:
    """Two and three facts at once, in one search or in several."""
    asked = load_questions("world:pairs-test,world:triples-test")
    rows, by = [], {}
    for name, most in (("rag-r1", 3), ("rag-r1-single", 1)):
        recipe = world("rag-r1", rollout={"grammar": name})
        found = agents.play(recipe, agents.at_once(most), asked, lambda engine: Slow(engine, LATENCY))
        waits = fmean(map(agents.waited_s, found))
        queries = fmean(len(t.calls) for t in found)
        by[name] = found, waits
        cells = [f"{len(found):,}", share(em(found)), f"{mean_rounds(found):.2f}", f"{queries:.2f}"]
        rows.append([str(most), *cells, f"{waits:.2f}"])
    (several, fast), (single, slow) = by["rag-r1"], by["rag-r1-single"]
    share_of_rounds, share_of_time = mean_rounds(several) / mean_rounds(single), fast / slow
    aims = [
        met(f"0.55 of the rounds of single queries: {share_of_rounds:.2f}", share_of_rounds <= 0.55),
        met(f"0.7 of the time waited at 0.3 s a search: {share_of_time:.2f}", share_of_time <= 0.7),
        met("the same EM", em(several) == em(single)),
    ]
    header = ["queries per search, at most", "n", "EM, %", "rounds", "queries", "waited, s"]
    return Table("RAG-R1", aims, header, rows)


def deepresearcher() -> Table:
    """Facts that stand on no first line, with and without pages, and what of a page is shown."""
    asked = facts_of_pages()
    found = {"search only": agents.play(without_pages(), agents.with_pages(0), asked)}
    for reader in ("whole", "parts:200:1", "passages:2", "passages:1"):
        recipe = world("deepresearcher", rollout={"reader": reader}, search={"max_searches": 12})
        found[reader] = agents.play(recipe, agents.with_pages(4), asked)
    rows = [
        [
            *(name, f"{len(made):,}", share(em(made)), f"{mean_rounds(made):.2f}"),
            *(
                f"{fmean(tokens(t) for t in made):.0f}"
                for tokens in (agents.page_tokens, agents.read_tokens)
            ),
        ]
        for name, made in found.items()
    ]
    none, whole, best = (fmean(em(found[name])) for name in ("search only", "whole", "passages:2"))
    tokens = [fmean(map(agents.page_tokens, found[name])) for name in ("passages:2", "whole")]
    ratio = tokens[0] / tokens[1]
    aims = [
        met(f"EM of search alone at most 5 %: {100 * none:.1f}", none <= 0.05),
        met(f"EM with pages at least 99 %: {100 * whole:.1f}", whole >= 0.99),
        met(f"passages:2 at most 40 % of the tokens of whole: {100 * ratio:.0f}", ratio <= 0.4),
        met(
            f"EM of passages:2 within 3 points of whole: {100 * (best - whole):+.1f}",
            best >= whole - 0.03,
        ),
    ]
    header = [
        "what is shown of pages",
        "n",
        "EM, %",
        "rounds",
        "tokens of pages",
        "with all around them",
    ]
    return Table("DeepResearcher", aims, header, rows)


def facts_of_pages() -> list[Question]:
    """Single facts, which stand in sections of pages."""
    return [q for q in load_questions("world:test") if q.metadata["depth"] == 1]


def without_pages() -> Recipe:
    """DeepResearcher's recipe with search alone."""
    return world("deepresearcher", rollout={"tools": [], "pages": ""})


def asearcher() -> Table:
    """Lines of teachers up to sixteen look-ups deep, under limits of searches."""
    asked = load_questions("world:lineages-test")
    deep = [q for q in asked if q.metadata["depth"] >= 11]
    rows, right = [], {}
    for limit, questions in ((4, asked[::3]), (10, asked[::3]), (40, [*asked[::3], *deep])):
        unique = list({question.id: question for question in questions}.values())
        found = gather.followed(world("asearcher", search={"max_searches": limit}), unique)
        for first, last in ((2, 4), (5, 10), (11, 16)):
            some = [t for t in found if first <= t.question.metadata["depth"] <= last]
            right[limit, first] = fmean(em(some))
            replies = fmean(gather.replies(t) for t in some)
            depth = f"{first}–{last}"
            rows.append([str(limit), depth, f"{len(some):,}", share(em(some)), f"{replies:.1f}"])
    aims = [
        met(f"EM of depth 11–16 at least 80 %: {100 * right[40, 11]:.1f}", right[40, 11] >= 0.8),
        met(
            "a limit of 4 or 10 searches leaves none of depth 11–16",
            right[4, 11] == right[10, 11] == 0.0,
        ),
    ]
    header = ["searches, at most", "depth", "n", "EM, %", "replies, readings included"]
    return Table("ASearcher", aims, header, rows)


def harness_1() -> Table:
    """The people of companies, gathered in a small window; killed and resumed; random states."""
    asked = load_questions("world:sets-test")
    rows, by = [], {}
    for context in ("render:5", "append"):
        found = gather.gathered(asked, context)
        by[context] = found
        scores = [fmean(t.components[name] for t in found) for name in ("set_recall", "set_precision")]
        turns = [gather.replies(t) for t in found]
        longest = max(s.prompt_len for t in found for s in t.segments)
        within = sum(t.stop_reason is not StopReason.CONTEXT_FULL for t in found)
        cells = [f"{100 * score:.1f}" for score in scores]
        cells += [f"{min(turns)}–{max(turns)}", f"{within} of {len(found)}", str(longest)]
        rows.append([context, str(len(found)), *cells])
    kept, lost = by["render:5"], by["append"]
    whole = all(set(t.chosen or ()) == set(t.question.metadata["documents"]) for t in kept)
    full = max(gather.replies(t) for t in lost)
    longest = max(s.prompt_len for t in kept for s in t.segments)
    resumed, killed = gather.resumes(asked)
    states, wrong = gather.states()
    aims = [
        met(f"prompts within {gather.ROOM} tokens in every turn: {longest}", longest <= gather.ROOM),
        met("the chosen set is the gold one for every question", whole),
        met(f"append overflows by turn 12: at the latest in turn {full}", full <= 12),
        met(f"the same set after a kill: {resumed} of {killed}", resumed == killed),
        met(f"random states without a loss: {states - wrong:,} of {states:,}", wrong == 0),
    ]
    header = ["context", "n", "recall, %", "precision, %", "turns", "not cut off", "longest prompt"]
    return Table(f"Harness-1, {gather.TURNS} turns in {gather.WINDOW} tokens", aims, header, rows)


SYSTEMS: dict[str, Callable[[], Table]] = {
    "r1-searcher": r1_searcher,
    "rag-r1": rag_r1,
    "deepresearcher": deepresearcher,
    "asearcher": asearcher,
    "harness-1": harness_1,
}
"""One function per system."""


def text_of(table: Table) -> str:
    """A section of the results."""
    aims = "\n".join(f"* {line}" for line in table.aims)
    return f"## {table.title}\n\n{markdown(table.header, table.rows)}\n\n{aims}\n"


HEADING = """# Five systems over the second world: what scripts reach

`python benchmarks/five_systems.py`. No model was trained for these figures: agents that follow a script
look up what a question is about, in the environment of `recipes/NAME-world.toml`, and answer with what
they read. Questions are those of the test split of seed 1; intervals are 95 %, over questions. Waits are
wall-clock: other work on the same cores makes them longer, those of many rounds most.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=sorted(SYSTEMS))
    parser.add_argument("--output", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    sections = []
    for name, play in SYSTEMS.items():
        if chosen.only in (None, name):
            sections.append(text_of(play()))
            print(sections[-1], flush=True)
    if chosen.only is None:
        chosen.output.write_text("\n".join([HEADING, *sections]), encoding="utf-8")
    else:
        replace_section(chosen.output, sections[0])
    print(f"written to {chosen.output}")


def replace_section(path: Path, section: str) -> None:
    """Put one section into the results, in place of the one with its heading or behind all."""
    heading = section.partition("\n")[0]
    parts = path.read_text(encoding="utf-8").rstrip("\n").split("\n## ")
    found = [parts[0], *(f"## {part}" for part in parts[1:])]
    named = [part.partition("\n")[0] for part in found]
    if heading in named:
        found[named.index(heading)] = section.rstrip("\n")
    else:
        found.append(section.rstrip("\n"))
    path.write_text("\n\n".join(part.rstrip("\n") for part in found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
