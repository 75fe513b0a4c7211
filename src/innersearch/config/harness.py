"""What a search agent's memory keeps and shows of a set of documents that it gathers."""

from __future__ import annotations

from pydantic import Field, field_validator

from innersearch.config.base import Settings


class HarnessSettings(Settings):
    """The memory of the grammar `harness`; every value is in the record of a run, none in the code."""

    curated: int = Field(30, ge=1)
    """Documents that the curated set may have."""
    auto_seed: int = Field(8, ge=0)
    """How many of what the first successful search finds enter the curated set as fair; 0: none."""
    fan_out: int = Field(5, ge=1)
    """Queries, ids or documents that one call may have."""
    dedup: float = Field(0.85, ge=0, le=1)
    """Share of common five-word runs (Jaccard) from which on a document is a copy of one that is known,
    and does not enter the pool; 0: none is."""
    compress: int = Field(4, ge=0)
    """Sentences that are shown of a document that a search found, those that fit the query best; 0: all.
    What is read or reviewed is shown whole."""
    entities: int = Field(8, ge=0)
    """Names, years and dates that are listed with the documents that share them; 0: none."""
    hits: int = Field(5, ge=1)
    """Documents that a grep finds."""
    read_tokens: int = Field(4096, ge=1)
    """Longest document that is read, in tokens."""
    verify: str = "policy"
    """Who says whether documents support a claim: policy (it says so itself when it asks), or
    judge:URL#NAME, a chat model."""
    nudge: bool = True
    """Remind the policy to curate after a turn in which it did not."""

    @field_validator("verify")
    @classmethod
    def _is_somebody(cls, text: str) -> str:
        kind, _, place = text.partition(":")
        if text != "policy" and not (kind == "judge" and "#" in place):
            raise ValueError(f"nobody verifies by the name {text!r}: write policy or judge:URL#NAME")
        return text
