"""What the names on the command line stand for: models, data sets, recipes."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from innersearch.data.catalogue import fetched, is_name
from innersearch.errors import ConfigError, DataError, did_you_mean
from innersearch.readers import read_questions, with_unique_ids
from innersearch.rows import name_of
from innersearch.rows.files import directory, text_of
from innersearch.sealed import any_sealed
from innersearch.types import Question
from innersearch.world.bundled import BUNDLED, BUNDLED_SEED
from innersearch.world.encyclopedia import Encyclopedia, Split
from innersearch.world.questions import questions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WORLD = "world"


def model_path(name: str) -> str:
    """A model directory or hub id; `world` is the bundled model."""
    if not name:
        raise ConfigError("no model given: add --model DIR, a Hugging Face model directory")
    return str(BUNDLED) if name == WORLD else name


def load_questions(
    source: str, groups: Collection[str] = (), *, allow_sealed: bool = False, labelled: bool = True
) -> list[Question]:
    """Questions of a file, of a fetched benchmark, or of `world:train`, `world:validation`,
    `world:test`; of several, separated by commas.

    Args:
        source: Names them.
        groups: Only questions of these groups.
        allow_sealed: Whether the caller writes no texts of sealed questions in plain words.
        labelled: Whether those of files must have gold answers.

    Raises:
        DataError: There are none.
    """
    if not source:
        raise ConfigError(
            "no data given: add --data FILE, a file of questions (.jsonl, .csv, .parquet and more)"
        )
    found = _load(source, labelled=labelled)
    if any_sealed(found) and not allow_sealed:
        raise DataError(
            f"{source} is sealed, its texts must not be written in plain words: it is for eval, "
            "sim2real, data check and data coverage only"
        )
    if not groups:
        return found
    _demand_groups(source, groups, found)
    return [question for question in found if question.group in groups]


def _demand_groups(source: str, groups: Collection[str], found: Collection[Question]) -> None:
    there = sorted({question.group for question in found})
    missing = [group for group in groups if group not in there]
    if missing:
        raise DataError(
            f"{source} has no question of the groups {', '.join(missing)} (--empty-groups takes all); "
            f"{did_you_mean(missing[0], there)}"
        )


def _load(source: str, *, labelled: bool = True, name: str = "") -> list[Question]:
    prefix, _, split = source.partition(":")
    if "," in source and not Path(source).exists():
        parts = [part.strip() for part in source.split(",") if part.strip()]
        if not parts:
            raise DataError(f"{source!r} names no file of questions")
        named = zip(parts, _told_apart(parts), strict=True)
        return with_unique_ids(
            [q for part, own in named for q in _load(part, labelled=labelled, name=own)]
        )
    if prefix != WORLD:
        return read_questions(question_file(source), labelled=labelled, name=name)
    if split in list(Split):
        return questions(Encyclopedia.generate(BUNDLED_SEED), Split(split))
    raise DataError(f"unknown split {split!r} of the world; {did_you_mean(split, Split)}")


def _told_apart(sources: list[str]) -> list[str]:
    """Names of files without their endings, with as many directories as it takes to tell them apart.

    >>> _told_apart(["nq/test.jsonl", "popqa/test.jsonl"]), _told_apart(["a/x.csv", "a/y.csv"])
    (['nq/test', 'popqa/test'], ['x', 'y'])
    """
    paths = [path.with_name(name_of(path)) if path.name else path for path in map(Path, sources)]
    for depth in range(1, 1 + max((len(path.parts) for path in paths), default=0)):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return sources


def question_file(source: str) -> Path:
    """A file of questions, or that of a fetched benchmark by name.

    Raises:
        DataError: There is no such benchmark, or it was not fetched.
    """
    path = directory(source)
    return fetched(source) if is_name(source) and not path.exists() else path


def recipe_path(name: str) -> Path | None:
    """The file of a recipe given as path or by the name of a bundled one; None if there is none."""
    given = Path(name)
    if given.parent not in (Path(), Path("recipes")):
        return given if given.suffix == ".toml" and given.is_file() else None
    bundled = Path(str(files("innersearch"))) / "recipes"
    in_source = Path(__file__).parents[3] / "recipes"
    for candidate in (Path(name), bundled / Path(name).name, in_source / Path(name).name):
        if candidate.suffix == ".toml" and candidate.is_file():
            return candidate
    return None


def read_recipe(name: str) -> tuple[Path, dict[str, Any]]:
    """The file of a recipe, as for `recipe_path`, and its values.

    Raises:
        ConfigError: There is no such file, or it is no TOML.
    """
    path = recipe_path(name)
    if path is None and Path(name).is_dir():
        raise ConfigError(f"{name} is a directory: give a .toml file")
    if path is None:
        raise ConfigError(f"no recipe at {name}; recipes are .toml files, see recipes/")
    return path, toml_of(path)


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


def default_prompt(
    tokenizer: PreTrainedTokenizerBase | None, *, direct: bool = False, real: bool = False
) -> str:
    """The prompt that a model expects: bare questions for the world's, instructions for others, and
    among those other ones where an engine answers all its queries.
    """
    from innersearch.world.tokenizer import is_world

    if tokenizer is not None and is_world(tokenizer):
        return "world-direct" if direct else "world"
    if direct:
        return "direct"
    return "search-r1" if real else "ssrl"
