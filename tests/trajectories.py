"""Generated trajectories, and an oracle for their masks that shares no code with the library."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

FRAGMENTS = (
    *("<think>", "</think>", "<search>", "</search>", "<answer>", "</answer>"),
    *(
        "<information>",
        "</information>",
        "<information>",
        "</information>",
        "<information></information>",
    ),
    *(
        "<information>\n",
        "\n</information>\n\n",
        "</information><answer>",
        "<Information>",
        "< information>",
    ),
    *("</information", "information>", "<informat", "ion>", "<", ">", "/", "<br>", "x < 3 and y > 2"),
    *("Zorin works for Goltek.", "who founded Goltek", "Belira", "a", "Doc 1: a\nDoc 2: b"),
    *(" ", "\n", "\r\n", "\t", "é", "漢字", "🎉", "🏳️‍🌈", "naïve"),
)

texts = st.lists(st.sampled_from(FRAGMENTS), max_size=14)
"""Lists of fragments; joined they are trajectories with every kind of fault."""


def sample_ids(
    tokenizer: PreTrainedTokenizerFast, fragments: Sequence[str], *, whole: bool, noise: int
) -> list[int]:
    """Token ids as a model might sample them: canonical or not, with a stray token now and then."""
    parts = ["".join(fragments)] if whole else list(fragments)
    ids = [i for part in parts for i in tokenizer.encode(part, add_special_tokens=False)]
    if noise and ids:
        ids.insert(noise % len(ids), noise % len(tokenizer))
    return ids


def expected_mask(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> list[bool]:
    """Per token, whether it may carry loss, by decoding every prefix and walking the characters."""
    lengths = [len(_stable(tokenizer.decode(ids[:end]))) for end in range(len(ids) + 1)]
    text = _stable(tokenizer.decode(ids))
    hidden = _hidden_characters(text)
    loss = []
    for index in range(len(ids)):
        start, end = lengths[index], lengths[index + 1]
        later = index + 1
        while end == start and later < len(ids):
            later += 1
            end = lengths[later]
        loss.append(not any(hidden[start : max(end, start + 1)]))
    return loss


def _stable(text: str) -> str:
    """Without characters that later tokens may still complete."""
    return text.rstrip("\ufffd")


def _hidden_characters(text: str) -> list[bool]:
    """Character by character: the inside and the closing tag of information, nested tags counted.

    One more entry stands for what would come after the end.
    """
    opener, closer = "<information>", "</information>"
    hidden = [False] * (len(text) + 1)
    depth = position = 0
    while position < len(text):
        if text.startswith(opener, position):
            if depth:
                hidden[position : position + len(opener)] = [True] * len(opener)
            depth += 1
            position += len(opener)
        elif depth and text.startswith(closer, position):
            hidden[position : position + len(closer)] = [True] * len(closer)
            depth -= 1
            position += len(closer)
        else:
            hidden[position] = depth > 0
            position += 1
    hidden[len(text)] = depth > 0
    return hidden
