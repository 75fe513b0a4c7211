"""Trajectories in the terminal, coloured by what each part is for."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from innersearch.types import Kind, Segment, Source, StopReason, Trajectory

_STYLES = {
    Kind.PROMPT: "dim",
    Kind.THINK: "blue",
    Kind.SEARCH: "yellow",
    Kind.OPEN: "yellow",
    Kind.CALL: "yellow",
    Kind.INFORMATION: "green",
    Kind.ANSWER: "bold magenta",
    Kind.TEXT: "red",
}

CUTS = {
    StopReason.TOKEN_BUDGET: "cut off by the token budget",
    StopReason.TURN_LIMIT: "cut off after the last turn",
    StopReason.CALL_LIMIT: "cut off after the last call",
    StopReason.CONTEXT_FULL: "cut off by the model's context",
    StopReason.LENGTH: "cut off by a limit",
    StopReason.MALFORMED: "ended by what could not be read",
    StopReason.TIMEOUT: "out of time",
}
"""What is said of trajectories that did not end by themselves."""


def print_trajectory(trajectory: Trajectory, console: Console) -> None:
    """Print what was written, one block per line, and the answer."""
    console.print(_labelled("question", trajectory.question.question))
    for number, segment in enumerate(trajectory.segments, 1):
        if number > 1:
            renewed = f"{number}: another prompt, of {segment.prompt_len} tokens"
            console.print(_labelled("segment", renewed))
        _print_segment(segment, console)
    for call in trajectory.calls:
        if call.error is not None:
            console.print(_labelled("failed", f"search {call.id + 1}: {call.error}"))
        if call.partial is not None:
            console.print(_labelled("partial", f"search {call.id + 1}: {call.partial}"))
    if any(call.engine for call in trajectory.calls):
        real = [f"{call.input} ({call.engine})" for call in trajectory.calls if call.engine]
        console.print(_labelled("searched", ", ".join(real)))
    cut = f" ({CUTS[trajectory.stop_reason]})" if trajectory.stop_reason in CUTS else ""
    found = f"none{cut}" if trajectory.answer is None else trajectory.answer
    console.print(_labelled("answer", found))


def _print_segment(segment: Segment, console: Console) -> None:
    """One block per line."""
    line, block = Text(), None
    for span in segment.spans:
        if span.kind is Kind.PROMPT:
            continue
        if block is not None and (span.kind, span.call_id) != block:
            console.print(line)
            line = Text()
        block = (span.kind, span.call_id)
        masked = span.source is not Source.POLICY
        line.append(span.text.strip("\n"), style=_STYLES[span.kind] + (" dim" * masked))
    if line.plain.strip():
        console.print(line)


def _labelled(label: str, text: str) -> Text:
    return Text.assemble((f"{label:8s}", "bold"), f"  {text}")
