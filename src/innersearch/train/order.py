"""In which order questions are trained on: a function of seed and epoch, of nothing that ran before.

The questions are gone through epoch after epoch, each time in an order of its own. Steps are cut from
the epochs laid end to end: where the questions of an epoch do not fill its last step, the next epoch
fills it up. So nothing is left out, and after any number of steps no question was used more than once
more often than another. A step never holds a question twice: what it has of the old epoch already, the
new one gives to a later step.

A resumed run takes up the same list of steps where it left off, whoever trains.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

import numpy as np

from innersearch.policy.base import stream_key


def order(seed: int, epoch: int, count: int) -> list[int]:
    """The row numbers 0 … count − 1 in the order of an epoch, counted from 0.

    Raw bits of a Philox generator are sorted, which gives the same on any machine and with any NumPy.

    >>> order(0, 0, 6), order(0, 1, 6)
    ([3, 5, 1, 0, 4, 2], [3, 0, 2, 4, 5, 1])
    """
    bits = np.random.Philox(key=stream_key(seed, ("order", epoch))).random_raw(count)
    return np.argsort(bits, kind="stable").tolist()


def steps(seed: int, count: int, size: int) -> Iterator[list[int]]:
    """The rows of every step, without end: `size` different ones of `count`, which must be as many.

    >>> list(islice(steps(0, 5, 2), 5))
    [[3, 1], [0, 4], [2, 3], [0, 2], [4, 1]]
    """
    begun: list[int] = []
    epoch = 0
    while True:
        rows = order(seed, epoch, count)
        if begun:
            taken = set(begun)
            others = [row for row in rows if row not in taken][: size - len(begun)]
            yield begun + others
            taken = set(others)
            rows = [row for row in rows if row not in taken]
        whole = len(rows) - len(rows) % size
        for start in range(0, whole, size):
            yield rows[start : start + size]
        begun = rows[whole:]
        epoch += 1


def rows_of(seed: int, count: int, size: int, number: int) -> list[int]:
    """The rows of the first `number` steps, one step after another."""
    return list(chain.from_iterable(islice(steps(seed, count, size), number)))


def rows_from(seed: int, count: int, start: int, number: int) -> list[int]:
    """`number` rows of the epochs laid end to end, from the one at `start` on.

    >>> rows_from(0, 4, 0, 6), rows_from(0, 4, 3, 2)
    ([0, 3, 1, 2, 0, 1], [2, 0])
    """
    first, last = start // count, -(-(start + number) // count)
    rows = chain.from_iterable(order(seed, epoch, count) for epoch in range(first, last))
    return list(islice(rows, start - first * count, start - first * count + number))


def rows_of_epochs(seed: int, count: int, epochs: int) -> list[int]:
    """The rows of whole epochs, one after another."""
    return list(chain.from_iterable(order(seed, epoch, count) for epoch in range(epochs)))
