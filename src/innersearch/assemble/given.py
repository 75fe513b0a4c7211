"""What people hand in from code: checked before anything begins, and refused in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from inspect import iscoroutinefunction
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from innersearch.errors import ConfigError, DataError, InnersearchError, did_you_mean
from innersearch.search.base import Engine
from innersearch.types import Question, Source

S = TypeVar("S", bound=BaseModel)


def settings(kind: type[S], **values: Any) -> S:
    """Settings of a kind.

    Raises:
        ConfigError: A value is unknown or impossible.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        raise ConfigError(reason(error, kind)) from error


def reason(error: ValidationError, kind: type[BaseModel]) -> str:
    """What is wrong with the first wrong setting of a kind."""
    first = error.errors()[0]
    name, given = ".".join(map(str, first["loc"])) or "recipe", first["input"]
    if first["type"] == "extra_forbidden":
        known = _settings_at(kind, first["loc"][:-1])
        hint = did_you_mean(str(first["loc"][-1]), known) if known else "take it out"
        return f"unknown setting {name}; {hint}"
    if isinstance(ours := first.get("ctx", {}).get("error"), InnersearchError):
        return f"{name}: {ours}"
    said = first["msg"].removeprefix("Value error, ")
    return f"{name}: {said}" + ("" if isinstance(given, dict) else f", given {given!r}")


def _settings_at(kind: Any, place: Iterable[str | int]) -> list[str]:
    """The names of the settings of a table, or of one in a list of tables."""
    for part in place:
        inside = kind.model_fields[part].annotation if isinstance(part, str) else kind
        tables = [part for part in get_args(inside) if hasattr(part, "model_fields")]
        kind = tables[0] if tables else inside
    return list(getattr(kind, "model_fields", ()))


def demand_questions(given: Iterable[Question], *, told_apart: bool = True) -> list[Question]:
    """Questions, each with an id of its own where records and random numbers follow from it.

    Raises:
        DataError: There are none, something is no question, or two have one id.
    """
    questions = list(given)
    if not questions:
        raise DataError("there are no questions: give at least one")
    for question in questions:
        if not isinstance(question, Question):
            raise DataError(f"{question!r:.80} is no Question: give Question(id, text, gold answers)")
    identity, often = Counter(question.id for question in questions).most_common(1)[0]
    if told_apart and often > 1:
        raise DataError(f"{often} questions have the id {identity!r}: give each an id of its own")
    return questions


def demand_engine(engine: object) -> Engine:
    """An engine, or something with all that makes one.

    Raises:
        ConfigError: A part is missing.
    """
    missing = [part for part in ("name", "source", "identity") if not hasattr(engine, part)]
    missing += [f"async {part}" for part in ("search", "close") if not _is_async(engine, part)]
    if missing or not isinstance(getattr(engine, "source", None), Source):
        raise ConfigError(
            f"an engine of type {type(engine).__name__} lacks {', '.join(missing) or 'a Source'}: see "
            "innersearch.Engine, and innersearch.testing.check_engine tells more"
        )
    return engine  # type: ignore[return-value]


def _is_async(engine: object, name: str) -> bool:
    method = getattr(engine, name, None)
    return iscoroutinefunction(method) or iscoroutinefunction(getattr(method, "__call__", None))  # noqa: B004
