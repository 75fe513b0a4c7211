"""Which runs there are: worlds × rows × training seeds, and the commands that make them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from innersearch.errors import ConfigError
from innersearch.stored import read_json

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


class Part(BaseModel):
    """A part of a file that people write: no unknown keys, and nothing changes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class World(Part):
    """A world that everything is trained and measured in."""

    name: str
    model: str
    """Directory of its model before any training, or a name."""
    data: str
    """Where its questions are, such as world:2; `:train` and `:test` are put behind it."""
    engine: str
    version: int = 2
    build: tuple[str, ...] = ()
    """Arguments of `innersearch` that make it; none where it ships."""
    probe: tuple[str, ...] = ()
    """Further arguments of `innersearch world probe`."""
    fingerprint: str = ""
    """Of its questions and the weights of its model; whatever is found, where none is given."""


class Preparation(Part):
    """What some rows need beside a world, made once for each world."""

    name: str
    commands: tuple[tuple[str, ...], ...]


class Evaluation(Part):
    """How a model is measured."""

    name: str
    arguments: tuple[str, ...]


class Row(Part):
    """One line of a table: a recipe, or the model before any training."""

    name: str
    title: str
    recipe: str = ""
    seeds: tuple[int, ...] = ()
    main: bool = False
    """Whether it stands in the main table."""
    train: tuple[str, ...] = ()
    """Further arguments of `innersearch train`."""
    evaluate: tuple[str, ...] = ()
    """Further arguments of `innersearch eval`."""
    evaluations: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    """Preparations."""
    questions: str = "train"
    """What of the world's data it is trained with."""
    bias: str = ""
    """A file that names a token and the constant on its logit, with which it is measured."""
    random: bool = True
    """Whether another seed would give another model."""

    @model_validator(mode="after")
    def _has_seeds_or_no_recipe(self) -> Self:
        if bool(self.recipe) != bool(self.seeds):
            raise ValueError(f"row {self.name}: a recipe needs seeds, and seeds need a recipe")
        return self


class Plan(Part):
    """All of it."""

    folder: Path
    """Where runs are made; not in the repository."""
    results: Path
    """Where what came of them is kept."""
    claims: Path
    world: tuple[World, ...] = Field(min_length=1)
    evaluation: tuple[Evaluation, ...] = Field(min_length=1)
    preparation: tuple[Preparation, ...] = ()
    row: tuple[Row, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_known_and_single(self) -> Self:
        for parts in (self.world, self.evaluation, self.preparation, self.row):
            names = [part.name for part in parts]
            if len(set(names)) < len(names):
                raise ValueError(f"a name stands twice among {', '.join(names)}")
        for row in self.row:
            for kind, used, known in (
                ("evaluation", row.evaluations, self.evaluation),
                ("preparation", row.needs, self.preparation),
            ):
                if unknown := set(used) - {part.name for part in known}:
                    raise ValueError(f"row {row.name}: no {kind} {', '.join(sorted(unknown))}")
        return self

    def runs(self) -> list[Run]:
        """Every run, main rows of all worlds first."""
        return [
            Run(world, row, seed)
            for main in (True, False)
            for row in self.row
            if row.main is main
            for world in self.world
            for seed in (row.seeds or (None,))
        ]


@dataclass(frozen=True)
class Run:
    """One training, or none, and its evaluations."""

    world: World
    row: Row
    seed: int | None
    """None where nothing is trained."""

    @property
    def name(self) -> str:
        """Such as 2/ssrl-0; also the path of its files."""
        return f"{self.world.name}/{self.row.name}" + ("" if self.seed is None else f"-{self.seed}")


def read_plan(path: Path) -> Plan:
    """The plan in a file.

    Raises:
        ConfigError: It is none; what is wrong stands in one line.
    """
    plan = read_toml(path, Plan)
    places = {name: ROOT / getattr(plan, name) for name in ("folder", "results", "claims")}
    return plan.model_copy(update=places)


def shown(path: Path) -> str:
    """A path as it is named in the repository."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


P = TypeVar("P", bound=Part)


def read_toml(path: Path, kind: type[P]) -> P:
    """What a file holds, checked.

    Raises:
        ConfigError: There is no such file, or it is no TOML, or it has values of another kind.
    """
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is no TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        said = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{path}{', ' if place else ''}{place}: {said}") from error


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
            "prepared": str(self.plan.folder / world.name / "prepared"),
            **(more or {}),
        }
        return [argument.format_map(values) for argument in arguments]
