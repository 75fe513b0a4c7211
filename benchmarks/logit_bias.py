"""How much of a gain one constant on one logit makes: a control for reinforcement, without training.

    python benchmarks/logit_bias.py world
    python benchmarks/logit_bias.py world --group depth_2 --against runs/ssrl-world/model

Chooses the token and the constant on the validation split, by the greedy exact match of the groups named
(of all by default), and evaluates that choice on the test split, once. If it makes most of the gain of
`--against`, a trained model, then that gain was a plan that the start had and did not follow.

Candidates are the structural tokens: those that the model writes outside of information for at least
5 % of the questions, greedily or sampled, tags and words alike. All are tried with every constant of the
grid, and that is cheap: greedy trajectories are the same up to the first token that a constant changes,
and the recorded logits tell where that is. So only the changed questions are asked again, first of a
part of the questions, and of all of them the best few choices.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from innersearch.assemble.agents import Agent
from innersearch.assemble.models import conventions_of, model_path
from innersearch.assemble.sources import load_questions
from innersearch.errors import ConfigError, DataError, InnersearchError
from innersearch.intervals import DRAWS, Scores, generator, interval, mean_score
from innersearch.metrics import exact_match
from innersearch.policy.bias import biased_tokens
from innersearch.policy.loading import load_model, load_tokenizer
from innersearch.policy.transformers import TransformersPolicy
from innersearch.types import Kind, Question, Trajectory
from innersearch.view.tables import markdown

GRID = (-4.0, -2.0, -1.5, -1.0, -0.75, -0.5, -0.25, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)
SCREENED, FEW = 80, 12
"""Questions that every choice is tried on, and how many choices are tried on all."""
COMMON = 0.05
"""Share of the questions for which a structural token is written, at least."""
BATCH = 64


class Choice(NamedTuple):
    """A constant on the logit of a token, by its id."""

    token: int
    constant: float


@dataclass(frozen=True)
class Recorded:
    """The greedy trajectories of a model, with the logits that they were drawn from."""

    right: list[bool]
    tops: list[torch.Tensor]
    """Per question, the largest logit at each sampled token: (tokens,)."""
    logits: list[torch.Tensor]
    """Those of the candidates there: (tokens, candidates)."""
    drawn: list[torch.Tensor]
    """The token itself: (tokens,)."""
    seconds_best: list[torch.Tensor]
    """The second largest logit there: (tokens,)."""
    candidates: list[int]

    def changed(self, choice: Choice) -> list[int]:
        """The questions whose greedy trajectory is another under a choice."""
        column = self.candidates.index(choice.token)
        found = []
        for row, (top, logits, drawn) in enumerate(zip(self.tops, self.logits, self.drawn, strict=True)):
            own, biased = drawn == choice.token, logits[:, column] + choice.constant
            # A tie, and rounding, count as changes: then the question is only asked in vain.
            lost = own & (biased <= self.seconds_best[row] + 1e-3)
            won = ~own & (biased >= top - 1e-3)
            if bool((lost | won).any()):
                found.append(row)
        return found


class Model:
    """A model in memory, asked with and without a bias."""

    def __init__(self, name: str) -> None:
        path = model_path(name)
        self.tokenizer, self.model = load_tokenizer(path), load_model(path)
        self.conventions = conventions_of(self.tokenizer)

    def answers(
        self, questions: Sequence[Question], bias: Mapping[int, float], **how: Any
    ) -> list[Trajectory]:
        """Trajectories of questions, greedy ones unless `how` says otherwise."""
        policy = TransformersPolicy.of(self.model, self.tokenizer, 256, bias)
        agent = Agent(policy, self.tokenizer, self.conventions)
        return list(agent.roll_out(questions, **{"temperature": 0.0} | how))

    def right(self, questions: Sequence[Question], bias: Mapping[int, float]) -> list[bool]:
        """Whether the greedy answer of each question is a gold one."""
        return [_right(one) for one in self.answers(questions, bias)] if questions else []

    @torch.inference_mode()
    def record(self, trajectories: Sequence[Trajectory], candidates: list[int]) -> Recorded:
        """What the greedy trajectories were drawn from."""
        columns: dict[str, list[torch.Tensor]] = {"tops": [], "logits": [], "drawn": [], "seconds": []}
        for first in range(0, len(trajectories), BATCH):
            segments = [one.segments[0] for one in trajectories[first : first + BATCH]]
            longest = max(len(segment.token_ids) for segment in segments)
            ids = torch.zeros(len(segments), longest, dtype=torch.long)
            for row, segment in enumerate(segments):
                ids[row, : len(segment.token_ids)] = torch.tensor(segment.token_ids)
            # Padding stands at the end, which nothing before it sees.
            logits = self.model(ids).logits.float()
            for row, segment in enumerate(segments):
                places = torch.tensor(segment.sampled_mask).nonzero()[:, 0]
                at = logits[row, places - 1]
                largest = at.topk(2, dim=-1).values
                columns["tops"].append(largest[:, 0])
                columns["seconds"].append(largest[:, 1])
                columns["logits"].append(at[:, candidates])
                columns["drawn"].append(ids[row, places])
        right = [_right(one) for one in trajectories]
        return Recorded(
            right, columns["tops"], columns["logits"], columns["drawn"], columns["seconds"], candidates
        )


def _right(one: Trajectory) -> bool:
    return exact_match(one.answer, one.question.golden_answers)


def structural(trajectories: Iterable[Trajectory], questions: int) -> list[int]:
    """The tokens that are written outside of information for many of the questions, by their ids."""
    asked: Counter[int] = Counter()
    seen: dict[str, set[int]] = {}
    for one in trajectories:
        for segment in one.segments:
            inside = {
                place
                for span in segment.spans
                if span.kind is Kind.INFORMATION
                for place in range(span.start, span.end)
            }
            written = (
                p for p, sampled in enumerate(segment.sampled_mask) if sampled and p not in inside
            )
            seen.setdefault(one.question.id, set()).update(segment.token_ids[place] for place in written)
    for tokens in seen.values():
        asked.update(tokens)
    return sorted(token for token, count in asked.items() if count >= COMMON * questions)


class Tried(NamedTuple):
    """What a choice made of some questions."""

    right: int
    choice: Choice


def trial(
    model: Model, questions: Sequence[Question], recorded: Recorded, choice: Choice, most: int
) -> Tried | None:
    """What a choice makes of the first `most` questions; None where it changes nothing."""
    rows = [row for row in recorded.changed(choice) if row < most]
    if not rows:
        return None
    kept = sum(recorded.right[:most]) - sum(recorded.right[row] for row in rows)
    again = model.right([questions[row] for row in rows], {choice.token: choice.constant})
    return Tried(kept + sum(again), choice)


def choose(
    model: Model, questions: Sequence[Question], recorded: Recorded
) -> tuple[Choice | None, float]:
    """The choice with the highest exact match, and that; none where the model is better as it is."""
    tried = [
        found
        for token in recorded.candidates
        for constant in GRID
        if (found := trial(model, questions, recorded, Choice(token, constant), SCREENED))
    ]
    few = sorted(tried, key=lambda found: -found.right)[:FEW]
    whole = [trial(model, questions, recorded, found.choice, len(questions)) for found in few]
    best = max(filter(None, whole), key=lambda found: found.right, default=None)
    before = sum(recorded.right)
    if best is None or best.right <= before:
        return None, before / len(questions)
    return best.choice, best.right / len(questions)


def named(tokenizer: Any, token: int) -> str:
    """How a token is written for `innersearch eval --logit-bias`: its text where that is it alone."""
    for text in (str(tokenizer.decode([token])), str(tokenizer.convert_ids_to_tokens(token))):
        try:
            if biased_tokens(tokenizer, [f"{text}=1"]) == {token: 1.0}:
                return text
        except ConfigError:
            continue
    return f"#{token}"


def drawn(questions: list[Question], groups: Sequence[str], most: int, seed: int) -> list[Question]:
    """At most so many of the questions of some groups, or of all, drawn by the seed."""
    found = [question for question in questions if not groups or question.group in groups]
    if not found:
        there = ", ".join(sorted({question.group for question in questions}))
        raise DataError(f"there are no questions of the groups {', '.join(groups)}: there are {there}")
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed)).tolist()
    return [found[row] for row in order[: most or None]]


def measured(given: argparse.Namespace) -> dict[str, Any]:
    """Choose on validation, and evaluate on the test."""
    began = time.perf_counter()
    model = Model(given.model)
    questions = drawn(load_questions(given.validation), given.group, given.questions, given.seed)
    greedy = model.answers(questions, {})
    sampled = model.answers(questions, {}, temperature=1.0, repetitions=given.samples, seed=given.seed)
    candidates = structural([*greedy, *sampled], len(questions))
    recorded = model.record(greedy, candidates)
    chosen, validation = choose(model, questions, recorded)
    figures: dict[str, Any] = {
        "model": given.model,
        "groups": given.group,
        "validation": {
            "n": len(questions),
            "before": sum(recorded.right) / len(questions),
            "after": validation,
            "candidates": len(candidates),
        },
        "token": named(model.tokenizer, chosen.token) if chosen else None,
        "constant": chosen.constant if chosen else 0.0,
    }
    figures["test"] = tested(model, chosen, given)
    return figures | {"seconds": time.perf_counter() - began}


def tested(model: Model, chosen: Choice | None, given: argparse.Namespace) -> dict[str, Any]:
    """Exact match on the test by group: as it is, with the choice, and of the trained model."""
    questions = load_questions(given.test)
    bias = {chosen.token: chosen.constant} if chosen else {}
    rows = {"before": model.right(questions, {}), "biased": model.right(questions, bias)}
    if given.against:
        rows["trained"] = Model(given.against).right(questions, {})
    found: dict[str, Any] = {}
    for group in dict.fromkeys(question.group for question in questions):
        places = [row for row, question in enumerate(questions) if question.group == group]
        of = {name: [float(right[row]) for row in places] for name, right in rows.items()}
        found[group] = {name: mean_score(values)._asdict() for name, values in of.items()}
        found[group]["gain"] = _gain(of["before"], of["biased"], group)
        if given.against:
            gained = _gain(of["before"], of["trained"], group)
            share = found[group]["gain"]["value"] / gained["value"] if gained["value"] > 0 else None
            found[group] |= {"gain_of_training": gained, "share": share}
    return found


def _gain(before: Sequence[float], after: Sequence[float], group: str) -> dict[str, float]:
    values = [b - a for a, b in zip(before, after, strict=True)]
    low, high = interval(Scores.single(values), (-1.0, 1.0), DRAWS, generator(0, group))
    return {"value": sum(values) / len(values), "low": low, "high": high}


def shown(figures: Mapping[str, Any]) -> str:
    """The figures as text."""
    of = figures["validation"]
    chosen = f"{figures['constant']:+g} on {figures['token']!r}" if figures["token"] else "no constant"
    lines = [
        f"{chosen}: validation EM {100 * of['before']:.1f} -> {100 * of['after']:.1f} (n = {of['n']}), "
        f"{of['candidates']} tokens x {len(GRID)} constants, {figures['seconds']:.0f} s"
    ]
    names = [
        name for name in ("before", "biased", "trained") if name in next(iter(figures["test"].values()))
    ]
    rows = []
    for group, row in figures["test"].items():
        gain = row["gain"]
        cells = [group, row["before"]["n"], *(f"{100 * row[name]['value']:.1f}" for name in names)]
        cells.append(f"{100 * gain['value']:+.1f} [{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}]")
        if "share" in row:
            cells.append("-" if row["share"] is None else f"{100 * row['share']:.0f} %")
        rows.append(cells)
    heads = ["group", "n", *names, "gain of the bias"]
    heads += ["share of training's gain"] * ("trained" in names)
    return "\n".join([*lines, markdown(heads, rows)])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("model", help="model directory or hub id; `world` is the bundled model")
    add("--group", action="append", default=[], help="choose for this group; for all by default")
    add("--against", help="a trained model, whose gain is the measure")
    add("--validation", default="world:validation", help="where the choice is made")
    add("--test", default="world:test", help="where it is evaluated")
    add("--questions", type=int, default=400, help="validation questions; 0 takes all")
    add("--samples", type=int, default=4, help="samples per question, to find candidates")
    add("--seed", type=int, default=0, help="of the drawn questions and samples")
    add("--json", type=Path, help="write the figures there as well")
    given = parser.parse_args(arguments)
    try:
        figures = measured(given)
    except InnersearchError as error:
        print(f"logit_bias: {error}", file=sys.stderr)
        return 1
    print(shown(figures))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
