"""Constants on the logits of single tokens, as they are written: `TOKEN=CONSTANT`.

>>> read_bias({" answer": -0.8}), read_bias(" answer=-0.8")
((' answer=-0.8',), (' answer=-0.8',))
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator


def read_bias(given: object) -> object:
    """One `TOKEN=CONSTANT` per token from however they were given: a table, a text, or several texts.

    Raises:
        ValueError: One has no token, or no finite number.
    """
    if isinstance(given, Mapping):
        given = [f"{token}={constant}" for token, constant in given.items()]
    if isinstance(given, str):
        given = [given]
    if isinstance(given, list | tuple) and all(isinstance(one, str) for one in given):
        for one in given:
            parted(one)
        return tuple(given)
    return given


def parted(text: str) -> tuple[str, float]:
    """The token and the constant of `TOKEN=CONSTANT`; blanks before the token belong to it.

    Raises:
        ValueError: There is no token, or no finite number.
    """
    token, equals, constant = text.rpartition("=")
    try:
        number = float(constant)
    except ValueError:
        number = math.nan
    if not (equals and token and math.isfinite(number)):
        raise ValueError(
            f"{text!r} is no bias: write a token and a number, for example ' answer=-0.8', or #ID=-0.8 "
            "for the token of that number"
        )
    return token, number


LogitBias = Annotated[tuple[str, ...], BeforeValidator(read_bias)]
"""Each a `TOKEN=CONSTANT`."""
