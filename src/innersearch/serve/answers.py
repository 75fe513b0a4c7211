"""Answers of the agent as OpenAI's API has them: parts of a stream, citations, and what they took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from innersearch.metrics import cover_match
from innersearch.search.addresses import address_of
from innersearch.serve.listening import Part
from innersearch.types import Kind, Source, Trajectory


def delta_of(part: Part) -> dict[str, Any]:
    """A part of a trajectory as it is streamed; its kind is for who shows it in colour."""
    name = "content" if part.kind is Kind.ANSWER else "reasoning_content"
    return {name: part.text, "innersearch": {"kind": part.kind.value, "own": part.own}}


@dataclass(frozen=True, slots=True)
class Done:
    """An answer."""

    trajectory: Trajectory
    content: str
    reasoning: str

    @property
    def reason(self) -> str:
        """Why it ended, as OpenAI has it."""
        return "length" if self.trajectory.stop_reason.cut else "stop"

    @property
    def annotations(self) -> list[dict[str, Any]]:
        """The documents that contain the answer."""
        return citations(self.trajectory, self.content)

    @property
    def told(self) -> dict[str, Any]:
        """What the API has no place for."""
        return {
            "stop_reason": self.trajectory.stop_reason.value,
            "searches": [
                {"query": call.input, "engine": call.engine or "self", "error": call.error}
                for call in self.trajectory.calls
            ],
        }

    @property
    def message(self) -> dict[str, Any]:
        """The message of a whole answer."""
        return {
            "content": self.content,
            "reasoning_content": self.reasoning,
            "annotations": self.annotations,
            "innersearch": self.told,
        }


def citations(trajectory: Trajectory, answer: str) -> list[dict[str, Any]]:
    """Documents from outside of the model that contain the answer, each once, as OpenAI cites."""
    found: dict[str, dict[str, Any]] = {}
    for call in trajectory.calls:
        if call.source is Source.SELF_SEARCH:
            continue
        for document in call.documents:
            url = address_of(document, call.source)
            if url not in found and answer and cover_match(document.text, [answer]):
                cited = {"url": url, "title": document.title, "start_index": 0, "end_index": len(answer)}
                found[url] = {"type": "url_citation", "url_citation": cited}
    return list(found.values())


def usage_of(trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    """What answers took, in tokens and searches."""
    read = sum(segment.prompt_len for t in trajectories for segment in t.segments[:1])
    written = sum(sum(segment.sampled_mask) for t in trajectories for segment in t.segments)
    answers = sum(
        span.end - span.start
        for t in trajectories
        for segment in t.segments
        for span in segment.spans
        if span.kind is Kind.ANSWER
    )
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "completion_tokens_details": {"reasoning_tokens": max(0, written - answers)},
        "searches": sum(len(t.calls) for t in trajectories),
        "engine_searches": sum(bool(call.engine) for t in trajectories for call in t.calls),
    }
