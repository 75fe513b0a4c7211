"""Checks token sequences of a tokenizer against the oracle of bytes."""

from __future__ import annotations

import re
from typing import NamedTuple

from transformers import PreTrainedTokenizerFast

from innersearch.grammar import MaskRule
from innersearch.policy.base import Completion
from innersearch.policy.stops import StopStrings
from innersearch.rollout.segment import SegmentBuilder
from innersearch.types import Finish
from tests.byte_oracle import (
    STOPS,
    Vocabulary,
    expected_loss,
    expected_stop,
    readable,
    sequences,
)

PROMPT = [0, 1]


class Outcome(NamedTuple):
    """What went wrong in a number of sequences; the first of each kind is kept."""

    sequences: int
    tokens: int
    exceptions: list[str]
    tokens_changed: list[str]
    masks: list[str]
    texts: list[str]
    stops: list[str]

    @property
    def faults(self) -> dict[str, int]:
        return {name: len(value) for name, value in self._asdict().items() if isinstance(value, list)}


def check_sequences(tokenizer: PreTrainedTokenizerFast, count: int, seed: int) -> Outcome:
    """Build a segment of each sequence, and look for stop strings in it."""
    vocabulary, stops = Vocabulary(tokenizer), StopStrings(tokenizer, STOPS)
    candidates = set(stops.candidates)
    found = Outcome(0, 0, [], [], [], [], [])
    total = 0
    for ids in sequences(tokenizer, count, seed):
        total += len(ids)
        try:
            builder = SegmentBuilder(tokenizer, PROMPT, MaskRule())
            builder.add_sampled(Completion(list(ids), [-0.5] * len(ids), [], Finish.LENGTH))
            segment, _ = builder.build(Finish.LENGTH)
            first = stops.first(ids)
            at_end = stops.found(ids[:first]) and not stops.found(ids[: first - 1]) if first else None
            missed = stops.found(ids) if not first else not at_end
        except Exception as error:
            found.exceptions.append(f"{type(error).__name__}: {error} at {ids}")
            continue
        spelled = vocabulary.spell(ids)
        kept = segment.token_ids == PROMPT + ids and segment.sampled_mask == [False] * 2 + [True] * len(
            ids
        )
        text = "".join(span.text for span in segment.spans)
        if not kept:
            found.tokens_changed.append(str(ids))
        if segment.loss_mask[2:] != expected_loss(spelled, len(ids)):
            found.masks.append(str(ids))
        if re.sub("\ufffd+", "\ufffd", text) != readable(spelled.data):
            found.texts.append(str(ids))
        if first != expected_stop(spelled) or missed or (first and ids[first - 1] not in candidates):
            found.stops.append(str(ids))
    return found._replace(sequences=count, tokens=total)
