"""Which runs there are: worlds × rows × training seeds, and the commands that make them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from innersearch.errors import ConfigError

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


class Part(BaseModel):
    """A part of a file that people write: no unknown keys, and nothing changes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class World(Part):
    """A world that everything is trained and measured in."""

    name: str
    seed: int
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
    """Arguments of `innersearch`, or of Python where the first is `python`."""
    needs: tuple[str, ...] = ()
    """Preparations that come before."""


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
    """Each below those that it needs."""
    row: tuple[Row, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_known_and_single(self) -> Self:
        for parts in (self.world, self.evaluation, self.preparation, self.row):
            names = [part.name for part in parts]
            if len(set(names)) < len(names):
                raise ValueError(f"a name stands twice among {', '.join(names)}")
        of_rows = [(row.name, "evaluation", row.evaluations, self.evaluation) for row in self.row]
        needed = [(part.name, "preparation", part.needs, self.preparation) for part in self.row]
        needed += [(part.name, "preparation", part.needs, self.preparation) for part in self.preparation]
        for name, kind, used, known in (*of_rows, *needed):
            if unknown := set(used) - {part.name for part in known}:
                raise ValueError(f"{name}: no {kind} {', '.join(sorted(unknown))}")
        return self

    def prepared_for(self, row: Row) -> list[Preparation]:
        """Everything that a row needs, what comes first first."""
        wanted = set(row.needs)
        for preparation in reversed(self.preparation):
            wanted |= set(preparation.needs) if preparation.name in wanted else set()
        return [preparation for preparation in self.preparation if preparation.name in wanted]

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
