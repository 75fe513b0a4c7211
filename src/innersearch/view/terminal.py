"""Trajectories in the terminal, coloured by what each part is for."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from innersearch.types import Finish, Kind, Source, Trajectory

_STYLES = {
    Kind.PROMPT: "dim",
    Kind.THINK: "blue",
    Kind.SEARCH: "yellow",
    Kind.INFORMATION: "green",
    Kind.ANSWER: "bold magenta",
    Kind.TEXT: "red",
}


def print_trajectory(trajectory: Trajectory, console: Console) -> None:
    """Print what was written, one block per line, and the answer."""
    console.print(_labelled("question", trajectory.question.question))
    for segment in trajectory.segments:
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
    for call in trajectory.calls:
        if call.error is not None:
            console.print(_labelled("failed", f"search {call.id + 1}: {call.error}"))
        if call.partial is not None:
            console.print(_labelled("partial", f"search {call.id + 1}: {call.partial}"))
    if any(call.engine for call in trajectory.calls):
        real = [f"{call.query} ({call.engine})" for call in trajectory.calls if call.engine]
        console.print(_labelled("searched", ", ".join(real)))
    cut = " (cut off by the token budget)" if trajectory.stop_reason is Finish.LENGTH else ""
    found = f"none{cut}" if trajectory.answer is None else trajectory.answer
    console.print(_labelled("answer", found))


def _labelled(label: str, text: str) -> Text:
    return Text.assemble((f"{label:8s}", "bold"), f"  {text}")
