"""How long a segment takes to build, apart from encoding: 32 turns against 128 of four times the tokens.

A trajectory is 32 or 128 times a thought with a query, what a search returned, and what the builder is
asked in between. Whatever is injected was encoded before, as each text is once; sampled tokens are
spelled by the builder. The time is that of the processor, the best of some rounds. To hand a policy its
prompt at every turn copies all tokens each time; that is shown apart.

    python benchmarks/builder.py
    python benchmarks/builder.py --turns 32 128 512 --sampled 200 --returned 1750
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

from bm25 import processor

from innersearch.assemble.models import model_path
from innersearch.grammar import MaskRule
from innersearch.policy.base import Completion
from innersearch.policy.loading import load_tokenizer
from innersearch.rollout.segment import SegmentBuilder
from innersearch.types import Call, Finish, Kind, Source
from innersearch.view.tables import markdown

PROMPT = [5] * 32


def cut(ids: list[int], length: int) -> list[int]:
    """As many tokens, over and over."""
    return (ids * (length // len(ids) + 1))[:length]


class Trajectory:
    """What happens to a builder in some turns."""

    def __init__(self, model: str, sampled: int, returned: int) -> None:
        self.tokenizer = load_tokenizer(model_path(model))
        encode = self.tokenizer.encode
        query = encode("</think><search> who founded Goltek</search>", add_special_tokens=False)
        opening = encode("<think>", add_special_tokens=False)
        words = encode(" Zorin works for Goltek and Belira.", add_special_tokens=False)
        ids = [*opening, *cut(words, sampled - len(query) - len(opening)), *query]
        self.completion = Completion(ids, [-0.5] * len(ids), [0.1] * len(ids), Finish.STOP)
        text = self.tokenizer.decode(cut(words, returned - 2))
        self.shown = SegmentBuilder(self.tokenizer, PROMPT, MaskRule()).observation(text)

    def build(self, turns: int, *, prompts: bool = False) -> tuple[int, int]:
        """Build it, with the prompt of each turn or without; its tokens, and how much was read."""
        builder = SegmentBuilder(self.tokenizer, PROMPT, MaskRule())
        for turn in range(turns):
            builder.replies = turn
            mark = builder.mark()
            if prompts:
                builder.token_ids  # noqa: B018
            builder.add_sampled(self.completion)
            [asked] = builder.reply(mark).asked
            written = builder.written(Kind.SEARCH)
            if written is None or written.text != asked.action.inputs[0]:
                raise AssertionError
            builder.record(Call(0, written.text, Source.WEB), block=asked.block)
            builder.add_observation(self.shown, Source.WEB)
        segment, calls = builder.build(Finish.LENGTH)
        if len(calls) != turns or sum(map(len, (s.text for s in segment.spans))) == 0:
            raise AssertionError
        return len(segment.token_ids), builder.work


def seconds(trajectory: Trajectory, turns: int, *, prompts: bool) -> float:
    started = time.process_time()
    trajectory.build(turns, prompts=prompts)
    return time.process_time() - started


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--model", default="world-1", help="whose tokenizer")
    parser.add_argument("--turns", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--sampled", type=int, default=200, help="tokens of a reply")
    parser.add_argument("--returned", type=int, default=1750, help="tokens of a result")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    trajectory = Trajectory(options.model, options.sampled, options.returned)
    trajectory.build(2)
    rows, first = [], 0.0
    for turns in options.turns:
        tokens, work = trajectory.build(turns)
        best, whole = (
            min(seconds(trajectory, turns, prompts=prompts) for _ in range(options.rounds))
            for prompts in (False, True)
        )
        first = first or best
        cells = f"{tokens:,}", f"{work:,}", f"{1000 * best:.1f}", f"{best / first:.2f}"
        rows.append([str(turns), *cells, f"{1000 * (whole - best):.1f}"])
    heads = ["ms", "times the first", "ms for prompts"]
    print(f"benchmarks/builder.py, {processor()}, best of {options.rounds} rounds\n")
    print(markdown(["turns", "tokens", "characters read and labels", *heads], rows))


if __name__ == "__main__":
    main()
