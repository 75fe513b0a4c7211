"""Which rooms a question passes from `innersearch eval` to its record, and where the path climbs.

    python benchmarks/walk.py [--source DIR]          a table of rooms, and `N rooms, M climbs`

Evaluates one question of the embedded world with `--search always` and traces the calls of functions
that are given the question: its text, task, query, documents or trajectory, or what holds one of them.
The rooms are listed in the order in which the question first gets there; a climb is a step to a room
above the one before it in the order of `tests/test_shape.py`. `types`, which holds what is passed, is no
room to pass. `--source` traces another checkout.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import threading
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

EVAL = [
    *("eval", "world-1", "--data", "world-1:test", "--search", "always"),
    *("--groups", "one_hop_common", "--subset", "1"),
]
QUESTION = "Who employs Gemey?"
"""The one that this asks."""
_DEPTH = 3
"""How deep an argument is looked into."""


def order(root: Path) -> list[str]:
    """The rooms, lowest first."""
    text = (root / "tests" / "test_shape.py").read_text()
    return re.findall(r"\w+", text.partition("ORDER = ")[2].partition("Imports go down")[0])


class Walk:
    """Calls between rooms, of functions that are given a question."""

    def __init__(self, root: Path, question: str) -> None:
        self.source = str(root / "src" / "innersearch") + "/"
        self.question = question
        self.first: dict[tuple[str, str], str] = {}
        """Pairs of rooms in the order in which a call is first made, and that call."""
        self.every: dict[tuple[str, str], str] = {}
        """The same for calls that are given no question as well."""

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """What `sys.setprofile` calls."""
        if event != "call" or (room := self.room(frame)) is None:
            return
        caller = frame.f_back
        while caller is not None and self.room(caller) is None:
            caller = caller.f_back
        before = self.room(caller) if caller else None
        if before is None or before == room:
            return
        edge = (before, room)
        call = f"{caller.f_code.co_qualname} → {frame.f_code.co_qualname}"
        self.every.setdefault(edge, call)
        if edge in self.first or room == "types" or not self.is_given(frame):
            return
        self.first[edge] = call

    def room(self, frame: FrameType) -> str | None:
        """The room of a function; None outside of the package."""
        file = frame.f_code.co_filename
        if not file.startswith(self.source):
            return None
        return file.removeprefix(self.source).split("/")[0].removesuffix(".py")

    def is_given(self, frame: FrameType) -> bool:
        """Whether a call has the question among its arguments."""
        code = frame.f_code
        count = code.co_argcount + code.co_kwonlyargcount
        names = code.co_varnames[: count + bool(code.co_flags & 4) + bool(code.co_flags & 8)]
        return any(self.holds(frame.f_locals.get(name), _DEPTH) for name in names)

    def holds(self, value: Any, depth: int) -> bool:
        """Whether a value is or holds the question."""
        if isinstance(value, str):
            return self.question in value
        if depth == 0 or isinstance(value, int | float | bytes | type | None):
            return False
        if isinstance(value, list | tuple):
            return any(self.holds(part, depth - 1) for part in value[:8])
        if isinstance(value, dict):
            return any(self.holds(part, depth - 1) for part in list(value.values())[:16])
        fields = getattr(type(value), "__dataclass_fields__", None)
        if fields is None or not type(value).__module__.startswith("innersearch"):
            return False
        return any(self.holds(getattr(value, name, None), depth - 1) for name in list(fields)[:16])


def main() -> None:
    """Trace one evaluation and print its rooms."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--source", type=Path, default=Path(__file__).parents[1])
    root = parser.parse_args().source.resolve()
    sys.path.insert(0, str(root / "src"))
    from innersearch.cli import main as run

    walk = Walk(root, QUESTION)
    threading.setprofile(walk)
    sys.setprofile(walk)
    try:
        with tempfile.TemporaryDirectory() as folder:
            status = run([*EVAL, "--output", f"{folder}/out"])
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    report(walk, order(root))
    sys.exit(status)


def report(walk: Walk, rooms: list[str]) -> None:
    """Print the calls by which the question gets from room to room, and the rooms in that order."""
    place = {room: number for number, room in reversed([*enumerate(rooms)])}
    for number, ((before, after), call) in enumerate(walk.first.items(), 1):
        print(f"{number:2d} {before:>12} → {after:<12} {call}")
    passed = list(dict.fromkeys(room for pair in walk.first for room in pair))
    climbs = sum(place.get(b, 0) > place.get(a, 0) for a, b in pairwise(passed))
    every = {room for pair in walk.every for room in pair}
    upward = [pair for pair in walk.every if place.get(pair[1], 0) > place.get(pair[0], 0)]
    for before, after in upward:
        print(f"upward call: {before} → {after}: {walk.every[before, after]}")
    print(f"of all calls: {len(every)} rooms, {len(upward)} pairs of rooms with calls upwards")
    print(f"{len(passed)} rooms, {climbs} climbs: {' '.join(passed)}")


if __name__ == "__main__":
    main()
