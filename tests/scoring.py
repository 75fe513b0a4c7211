"""Trajectories as text, and what they are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from innersearch.config import TermSettings
from innersearch.config.reward import read_reward
from innersearch.grammar import TAGS, Grammar
from innersearch.rewards import Rubric, Scored
from innersearch.types import (
    Finish,
    Kind,
    Question,
    Sampling,
    Segment,
    Source,
    Span,
    StopReason,
    Trajectory,
)

Piece = str | tuple[str, Source]
"""What the policy wrote, or what another wrote: an information block."""


def trajectory_of(
    *pieces: Piece, golds: Sequence[str] = (), grammar: Grammar = TAGS, **others: Any
) -> Trajectory:
    """A trajectory with a token for each piece; what is forced and no information begins a reply."""
    spans = [Span(0, 1, Kind.PROMPT, Source.TEMPLATE, "Question: <answer>Beijing</answer>")]
    for place, piece in enumerate(pieces, 1):
        text, source = (piece, Source.POLICY) if isinstance(piece, str) else piece
        begins = source is Source.FORCED and text in (grammar.begins, "")
        kind = Kind.TEXT if begins or source is Source.POLICY else Kind.INFORMATION
        spans.append(Span(place, place + 1, kind, source, text))
    n = len(spans)
    mask = [False, *(span.source is Source.POLICY for span in spans[1:])]
    logprobs = [-0.5 if sampled else None for sampled in mask]
    segment = Segment(list(range(n)), 1, mask, mask, logprobs, spans, Finish.EOS)
    question = Question("q", "Who?", tuple(golds))
    made = Trajectory("g/0", "g", 0, question, [segment], [], Sampling(), StopReason.EOS)
    return replace(made, answer=Scored(made, grammar).answer, **others)


def rubric(line: str, grammar: Grammar = TAGS) -> Rubric:
    """The rubric of a line as on the command line."""
    return Rubric.of([TermSettings.model_validate(term) for term in read_reward(line)], grammar)


def rewarded(text: str, golds: Sequence[str], line: str) -> tuple[float, dict[str, float]]:
    """What a text of the policy's own is worth."""
    return rubric(line).score(trajectory_of(text, golds=golds))
