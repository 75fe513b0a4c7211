"""What a tokenizer makes of prompts, as far as a user should know before training."""

from __future__ import annotations

from transformers import PreTrainedTokenizerFast

from innersearch.grammar import TAGS
from innersearch.prompts import prefilled
from innersearch.types import Kind


def notices(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """One sentence for everything that is out of the ordinary."""
    found = []
    if not tokenizer.chat_template:
        found.append(
            "the tokenizer has no chat template, as base models do: questions are put as plain text "
            "with a line break behind them"
        )
    elif written := prefilled(tokenizer):
        found.append(
            f"the chat template begins the reply with {written!r}, which is taken off: the policy "
            "writes its thoughts itself, and they are scored"
        )
    own = tokenizer.get_added_vocab()
    if TAGS.opening(Kind.THINK) in own and TAGS.opening(Kind.SEARCH) not in own:
        found.append(
            "the think tags are tokens of the model itself; the protocol reads them like any other tag"
        )
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        found.append(
            "the tokenizer has no padding token: that of the end of sequence pads, which changes "
            "nothing, since masks say where a trajectory ends"
        )
    return found
