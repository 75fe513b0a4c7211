"""The commands that make what a plan asks for, as a user would type them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.evidence.plan import Evaluation, Plan, Preparation, Run, World

from innersearch.stored import read_json


@dataclass(frozen=True)
class Commands:
    """The arguments of `innersearch` for everything in a plan."""

    plan: Plan

    def folder(self, run: Run) -> Path:
        """Where a run is made."""
        return self.plan.folder / run.name

    def prepared(self, world: World, name: str) -> Path:
        """Where a preparation of a world is made."""
        return self.plan.folder / world.name / "prepared" / name

    def build(self, world: World) -> list[str]:
        """Those that make a world."""
        return self._filled(world.build, world)

    def prepare(self, world: World, preparation: Preparation) -> list[list[str]]:
        """Those of a preparation, in their order."""
        made = {"output": str(self.prepared(world, preparation.name))}
        return [self._filled(command, world, made) for command in preparation.commands]

    def train(self, run: Run) -> list[str]:
        """Those that train a run."""
        world = run.world
        given = [
            "--model",
            world.model,
            "--data",
            f"{world.data}:{run.row.questions}",
            "--seed",
            str(run.seed),
        ]
        output = ["--output", str(self.folder(run) / "train")]
        return ["train", run.row.recipe, *given, *self._filled(run.row.train, world), *output]

    def evaluate(self, run: Run, evaluation: Evaluation) -> list[str]:
        """Those that measure it."""
        arguments = [*evaluation.arguments, *run.row.evaluate]
        if run.row.bias:
            chosen = read_json(Path(self._filled([run.row.bias], run.world)[0]))
            constant = chosen["token"] and f"{chosen['token']}={chosen['constant']}"
            arguments += ["--logit-bias", constant] if constant else []
        output = ["--output", str(self.folder(run) / "eval" / evaluation.name)]
        return ["eval", self.model(run), *self._filled(arguments, run.world), *output]

    def probe(self, run: Run) -> list[str]:
        """Those that ask its weights for facts."""
        return ["world", "probe", self.model(run), *run.world.probe]

    def model(self, run: Run) -> str:
        """The model that is measured."""
        return run.world.model if run.seed is None else str(self.folder(run) / "train" / "model")

    def _filled(
        self, arguments: Sequence[str], world: World, more: Mapping[str, str] | None = None
    ) -> list[str]:
        values = {
            "model": world.model,
            "data": world.data,
            "engine": world.engine,
            "seed": str(world.seed),
            "prepared": str(self.plan.folder / world.name / "prepared"),
            **(more or {}),
        }
        return [argument.format_map(values) for argument in arguments]
