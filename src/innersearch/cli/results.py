"""What a verb has found out, for people as text or for programs as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from innersearch.cli.console import stderr, stdout
from innersearch.view.tables import listed

AsJson = Annotated[bool, Parameter(name="--json", negative=())]
"""The option of every verb that prints a table."""


def show(result: Any, text: str, *, as_json: bool, notes: Sequence[str] = ()) -> None:
    """Print a result.

    Args:
        result: What JSON can hold, dataclasses and paths included; NaN and the infinite become null.
        text: The same for people.
        as_json: Which of the two.
        notes: Lines behind it, such as where records lie; with JSON they go to stderr.
    """
    # Text: JSON may hold square brackets, and what steers a terminal is escaped in it.
    stdout.print(Text(to_json(result)) if as_json else text)
    for note in notes:
        (stderr if as_json else stdout).print(note)


def show_rows(heads: Sequence[str], rows: Sequence[Sequence[Any]], *, as_json: bool) -> None:
    """Print rows as a list of objects, or as a table."""
    found = [dict(zip(heads, row, strict=True)) for row in rows]
    show(found, listed(heads, rows), as_json=as_json)


def to_json(result: Any) -> str:
    r"""Indented JSON that every reader takes.

    >>> to_json({"a": float("nan")})
    '{\n  "a": null\n}'
    """
    from innersearch.stored import finite

    plain = json.loads(json.dumps(result, default=_plain))
    return json.dumps(finite(plain), indent=2, ensure_ascii=True, allow_nan=False)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        # asdict breaks counters.
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is nothing that JSON can hold")
