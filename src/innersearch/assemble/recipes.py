"""Recipes by name: a file, or one that ships with innersearch.

    base = "../ssrl-world.toml"

at the top of a recipe takes all values of another one; what the recipe has itself replaces them. Tables
are merged, lists such as [[reward]] and [[stage]] are replaced as a whole.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from innersearch.assemble.given import reason
from innersearch.config import Recipe
from innersearch.config.earlier import demand_todays_keys
from innersearch.config.stages import merged
from innersearch.errors import ConfigError, DataError, RunError, did_you_mean
from innersearch.rows.files import text_of
from innersearch.runs import dotted
from innersearch.stored import read_json

BASE = "base"
"""The key of a recipe with the file of another one, whose values are taken where it has none."""


def recipe_path(name: str) -> Path | None:
    """The file of a recipe given as path or by the name of a bundled one; None if there is none."""
    given = Path(name)
    if given.suffix != ".toml":
        return None
    below = given.relative_to("recipes") if given.parts[0] == "recipes" else given
    bundled = Path(str(files("innersearch"))) / "recipes"
    in_source = Path(__file__).parents[3] / "recipes"
    own = [] if given.is_absolute() or ".." in given.parts else [bundled / below, in_source / below]
    return next((candidate for candidate in (given, *own) if candidate.is_file()), None)


def read_recipe(name: str) -> tuple[Path, dict[str, Any]]:
    """The file of a recipe, as for `recipe_path`, and its values, laid over those of its base.

    Raises:
        ConfigError: There is no such file, it is no TOML, a key has a name of earlier versions, or its
            base is none.
    """
    path = recipe_path(name)
    if path is None and Path(name).is_dir():
        raise ConfigError(f"{name} is a directory: give a .toml file")
    if path is None:
        hint = did_you_mean(name, [known for known, _ in bundled_recipes()])
        near = f"; {hint}" if hint.startswith("did") else ""
        raise ConfigError(f"no recipe at {name}; recipes are .toml files, see recipes/{near}")
    return path, _with_base(path, [])


def _with_base(path: Path, above: Sequence[Path]) -> dict[str, Any]:
    """The values of a file over those of its base; `above` are the files whose bases led here."""
    values = toml_of(path)
    try:
        demand_todays_keys(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    if BASE not in values:
        return values
    found = _base_of(path, values.pop(BASE))
    way = [*above, path]
    if found.resolve() in [known.resolve() for known in way]:
        names = " -> ".join(str(known) for known in (*way, found))
        raise ConfigError(f"{path}: base goes round in a circle, {names}: take one of them out")
    return merged(_with_base(found, way), values)


def _base_of(path: Path, name: object) -> Path:
    """The file that a recipe names as its base: beside it, or a bundled one by its name."""
    if not isinstance(name, str):
        raise ConfigError(
            f'{path}: base names one other recipe, as in base = "../ssrl-world.toml"; given {name!r}'
        )
    beside = path.parent / name
    found = beside if beside.suffix == ".toml" and beside.is_file() else recipe_path(name)
    if found is None:
        raise ConfigError(
            f"{path}: there is no base {name!r}: name a .toml file by its path from this recipe, or a "
            "bundled one such as ssrl-world.toml"
        )
    return found


def toml_of(path: Path) -> dict[str, Any]:
    """The values of a TOML file, in any encoding that files of questions may have.

    Raises:
        ConfigError: It is no TOML.
    """
    try:
        text = text_of(path, "recipe")
        values = tomllib.loads(text)
    except DataError as error:
        raise ConfigError(str(error)) from error
    except RecursionError as error:
        raise ConfigError(f"{path} is no recipe: its brackets are nested too deeply") from error
    except ValueError as error:
        if text.lstrip().startswith("{"):
            raise ConfigError(f"{path} is JSON: a recipe is TOML, `name = value`") from error
        reason = "a number has more than 4,300 digits" if "4300 digits" in str(error) else error
        raise ConfigError(f"{path} is no TOML: {reason}") from error
    if _holds_nul(values):
        raise ConfigError(f"{path} is no recipe: a text in it holds a NUL character: remove it")
    return values


def _holds_nul(value: object) -> bool:
    """No file and no address can have a name with that character."""
    if isinstance(value, dict):
        return any(map(_holds_nul, value.values()))
    if isinstance(value, list):
        return any(map(_holds_nul, value))
    return isinstance(value, str) and "\0" in value


def open_recipe(name: str) -> Recipe:
    """The recipe in a .toml file, or a bundled one by its name.

    Raises:
        ConfigError: There is none, it is no TOML, or a setting is unknown or impossible.
    """
    return _validated(*read_recipe(name))


def recipe_with(recipe: Recipe | str | Path, overrides: Mapping[str, Any]) -> Recipe:
    """A recipe, or that of a name or file, with some values replaced; tables are merged.

    Raises:
        ConfigError: There is none, or a value is unknown or impossible.
    """
    if isinstance(recipe, Recipe):
        path, values = Path(recipe.name), recipe.model_dump(mode="json", exclude_unset=True)
    else:
        path, values = read_recipe(named(str(recipe)))
    return _validated(path, merged(values, overrides))


def named(text: str) -> str:
    """The file name of a recipe that may be given without its ending."""
    return text if text.endswith(".toml") else f"{text}.toml"


def run_recipe(run: Path) -> Recipe:
    """The recipe of a finished run, from its directory.

    Raises:
        RunError: It holds none.
        ConfigError: A setting is unknown or impossible.
    """
    path = run / "recipe.json"
    if not path.is_file():
        raise RunError(f"no recipe.json in {run}: give the directory of a run, or its recipe as well")
    return _validated(path, read_json(path), recorded=True)


def _validated(path: Path, values: Any, *, recorded: bool = False) -> Recipe:
    try:
        return Recipe.recorded(values) if recorded else Recipe.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {reason(error, Recipe)}") from error


def bundled_recipes() -> list[tuple[str, Path]]:
    """The recipes that come along, by name: of a wheel those inside it, else those of the source."""
    folders = (Path(str(files("innersearch"))) / "recipes", Path(__file__).parents[3] / "recipes")
    folder = next((folder for folder in folders if folder.is_dir()), None)
    paths = sorted(folder.rglob("*.toml")) if folder else []
    return [(f"recipes/{path.relative_to(folder)}", path) for path in paths if folder]


def origins(name: str) -> dict[str, str]:
    """Which file every value of a recipe comes from, by dotted name: its own or one of its bases.

    Raises:
        ConfigError: As `read_recipe`.
    """
    read_recipe(name)
    path = recipe_path(name)
    found: dict[str, str] = {}
    while path is not None:
        values = toml_of(path)
        base = values.pop(BASE, None)
        # What is nearer has replaced what lies further down.
        found = {key: os.path.normpath(path) for key in dotted(values)} | found
        path = None if base is None else _base_of(path, base)
    return found
