"""What a policy writes and how it is read: blocks, masks, markup made harmless, transcripts."""

from innersearch.grammar.tags import (
    TAGGED,
    Block,
    Label,
    MaskRule,
    closing,
    intervals,
    is_markup,
    label,
    last_answer,
    neutralise,
    opening,
    render,
    scan,
)

__all__ = [
    "TAGGED",
    "Block",
    "Label",
    "MaskRule",
    "closing",
    "intervals",
    "is_markup",
    "label",
    "last_answer",
    "neutralise",
    "opening",
    "render",
    "scan",
]
