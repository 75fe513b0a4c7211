"""Random token sequences through the segment builder and the stop strings, against an oracle of bytes.

    python -m benchmarks.token_sequences [SEQUENCES] [SEED]

Half of the tokens are bytes where a tokenizer has such, most of which form no character; tags are
written as the tokenizer would, byte by byte, and cut in the middle; some numbers stand for no token.
"""

from __future__ import annotations

import sys
import time

from tests.families import ALL, tokenizer_of
from tests.token_checks import check_sequences


def main(count: int, seed: int) -> None:
    names = ("tokenizer", "entries", "sequences", "tokens", "exceptions", "tokens changed")
    columns = [*names, "masks", "texts", "stops"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for family in ALL:
        tokenizer = tokenizer_of(family)
        found = check_sequences(tokenizer, count, seed)
        cells = [f"{len(tokenizer):,}", f"{count:,}", f"{found.tokens:,}", *found.faults.values()]
        print(f"| {family} | {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    start = time.perf_counter()
    numbers = [int(argument) for argument in sys.argv[1:]]
    main(*(numbers + [20_000, 0][len(numbers) :]))
    print(f"\n{time.perf_counter() - start:.0f} s")
