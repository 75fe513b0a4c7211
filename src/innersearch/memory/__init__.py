"""What a search agent has found and decided, as values that only functions change."""

from innersearch.memory.changes import curate, discover, verdict
from innersearch.memory.replay import replay
from innersearch.memory.state import Answer, Importance, LogLine, Memory, Verdict
from innersearch.memory.texts import DETAILS, entities, write

__all__ = [
    "DETAILS",
    "Answer",
    "Importance",
    "LogLine",
    "Memory",
    "Verdict",
    "curate",
    "discover",
    "entities",
    "replay",
    "verdict",
    "write",
]
