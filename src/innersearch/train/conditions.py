"""Conditions on what a trajectory was rewarded for, such as `em == 1` or `recall >= 0.1 and f1 > 0`."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from innersearch.errors import ConfigError, DataError, did_you_mean

Condition = Callable[[Mapping[str, float]], bool]
"""Whether named numbers fulfil it.

Raises:
    DataError: It names a number that there is not.
"""

_SHOWN = 200
_NAME = re.compile(r"[A-Za-z_]\w*(?::[\w-]+)+")
_COMPARISONS: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def condition(text: str) -> Condition:
    """Comparisons of names and numbers, joined by `and`, `or` and `not`; empty text is always true.

    >>> condition("0.2 <= f1 < 1 and not format:strict == 0")({"f1": 0.5, "format:strict": 1.0})
    True

    Raises:
        ConfigError: It is none.
    """
    if not text.strip():
        return lambda numbers: True
    names: list[str] = []

    def plain(match: re.Match[str]) -> str:
        names.append(match[0])
        return f"_{len(names) - 1}_"

    try:
        tree = ast.parse(_NAME.sub(plain, text.strip()), mode="eval").body
        _demand_condition(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(
            f"{text[:_SHOWN]!r} is no condition: write comparisons such as em == 1 or 0.1 <= recall, "
            "joined by and, or, not"
        ) from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and (short := re.fullmatch(r"_(\d+)_", node.id)):
            node.id = names[int(short[1])]
    return lambda numbers: bool(_value(tree, numbers))


def _demand_condition(node: ast.AST) -> None:
    if isinstance(node, ast.BoolOp):
        parts: list[ast.expr] = node.values
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        parts = [node.operand]
    elif isinstance(node, ast.Compare) and all(type(op) in _COMPARISONS for op in node.ops):
        sides = [node.left, *node.comparators]
        if all(isinstance(side, ast.Name) or _is_number(side) for side in sides):
            return
        raise ValueError(ast.dump(node))
    else:
        raise ValueError(ast.dump(node))
    for part in parts:
        _demand_condition(part)


def _is_number(node: ast.AST) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def _value(node: Any, numbers: Mapping[str, float]) -> Any:
    match node:
        case ast.BoolOp(op=ast.And()):
            return all(_value(part, numbers) for part in node.values)
        case ast.BoolOp():
            return any(_value(part, numbers) for part in node.values)
        case ast.UnaryOp(op=ast.Not()):
            return not _value(node.operand, numbers)
        case ast.Compare():
            values = [_value(side, numbers) for side in (node.left, *node.comparators)]
            pairs = zip(node.ops, values, values[1:], strict=False)
            return all(_COMPARISONS[type(op)](left, right) for op, left, right in pairs)
        case ast.Name():
            if node.id not in numbers:
                raise DataError(f"no trajectory has {node.id!r}; {did_you_mean(node.id, numbers)}")
            return numbers[node.id]
        case _:
            return ast.literal_eval(node)
