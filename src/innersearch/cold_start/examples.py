"""Examples in plain lines, behind which any language model goes on, and trajectories of what it wrote.

    Question: What is the capital of Malta?
    Thought: I need the capital of Malta.
    Search: capital of Malta
    Result: The capital of Malta is Valletta.
    Thought: I can answer now.
    Answer: Valletta

A file of them has a JSON object per line:

    {"question": …, "steps": [{"thought": …, "search": …, "information": …}], "thought": …, "answer": …}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from innersearch.errors import ConfigError, DataError
from innersearch.grammar import Grammar
from innersearch.rows import read_rows
from innersearch.types import Kind

LABELS = {
    Kind.PROMPT: "Question:",
    Kind.THINK: "Thought:",
    Kind.SEARCH: "Search:",
    Kind.INFORMATION: "Result:",
    Kind.ANSWER: "Answer:",
}
"""How a line of each kind begins."""
STEP = (Kind.THINK, Kind.SEARCH, Kind.INFORMATION)
"""The lines of a search, in their order."""
LAST = (Kind.THINK, Kind.ANSWER)
"""The lines behind all searches."""
_Line = Annotated[str, StringConstraints(pattern=r"^[^\n]*\S[^\n]*$", strip_whitespace=True)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Step(_Row):
    """One search: why, what for, and what came of it."""

    thought: _Line
    search: _Line
    information: _Line


class Example(_Row):
    """A question that somebody answered, with or without searches."""

    question: _Line
    steps: tuple[Step, ...] = Field(default=())
    thought: _Line
    answer: _Line

    def lines(self) -> str:
        """The example as text, a line break behind it."""
        searched = [text for s in self.steps for text in (s.thought, s.search, s.information)]
        texts = [self.question, *searched, self.thought, self.answer]
        kinds = [Kind.PROMPT, *slots(len(self.steps))]
        return "".join(f"{LABELS[kind]} {text}\n" for kind, text in zip(kinds, texts, strict=True))


def slots(searches: int) -> tuple[Kind, ...]:
    """The kinds of the lines behind a question, with so many searches.

    >>> [str(kind) for kind in slots(1)]
    ['think', 'search', 'information', 'think', 'answer']
    """
    return STEP * searches + LAST


@dataclass(frozen=True)
class Examples:
    """Examples by their number of searches; every number from 0 on has the same questions or others."""

    by_searches: tuple[tuple[Example, ...], ...]

    @property
    def most(self) -> int:
        """The largest number of searches of which there are examples."""
        return len(self.by_searches) - 1

    def text(self, searches: int) -> str:
        """All examples with that many searches, up to where a question follows.

        Raises:
            ConfigError: There are none.
        """
        if searches > self.most:
            raise ConfigError(
                f"there are no examples with {searches} searches, {self.most} at most: ask for fewer, "
                "or write some"
            )
        return "".join(f"{example.lines()}\n" for example in self.by_searches[searches])

    def results(self) -> str:
        """All searches with their results, each pair once, up to where another search follows."""
        steps = (step for some in self.by_searches for example in some for step in example.steps)
        pairs = dict.fromkeys((step.search, step.information) for step in steps)
        return "".join(
            f"{LABELS[Kind.SEARCH]} {search}\n{LABELS[Kind.INFORMATION]} {information}\n\n"
            for search, information in pairs
        )


def read_examples(path: str = "") -> Examples:
    """The examples of a file; by default our own, about countries below a million inhabitants.

    Raises:
        DataError: There is no such file, a row is no example, or a number of searches from 0 to the
            largest has none.
    """
    if path:
        return _grouped(_rows(Path(path).expanduser()), path)
    with as_file(files(__package__) / "examples.jsonl") as own:
        return _grouped(_rows(own), str(own))


def _rows(path: Path) -> Iterator[Example]:
    for place, _, row in read_rows(path, "file of examples"):
        if isinstance(row, DataError):
            raise DataError(f"{place} {row}") from row
        try:
            yield Example.model_validate(dict(row))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise DataError(
                f"{place} is no example: {where}: {first['msg']}; write question, steps (each with "
                "thought, search and information), thought and answer, each one line of text"
            ) from error


def _grouped(found: Iterable[Example], path: str) -> Examples:
    groups: dict[int, list[Example]] = {}
    for example in found:
        groups.setdefault(len(example.steps), []).append(example)
    missing = [n for n in range(max(groups, default=0) + 1) if n not in groups]
    if missing:
        raise DataError(f"{path} has no example with {missing[0]} searches: write some")
    return Examples(tuple(tuple(groups[n]) for n in range(len(groups))))


def response(grammar: Grammar, texts: Sequence[str]) -> str:
    """What was written behind the labels of `slots`, in the tags of a grammar.

    >>> from innersearch.grammar import TAGS
    >>> response(TAGS, ["I know this.", "Valletta"])
    '<think> I know this. </think> <answer> Valletta </answer>'

    Raises:
        ConfigError: The grammar has no such tags, or calls in turns of a chat.
    """
    demand_writable(grammar)
    kinds = slots((len(texts) - len(LAST)) // len(STEP))
    blocks = list(zip(kinds, texts, strict=True))
    if not grammar.nested:
        return " ".join(grammar.render(kind, f" {text} ") for kind, text in blocks)
    # Everything but the answer stands in one thought.
    inner = [
        text if kind is Kind.THINK else grammar.render(kind, f" {text} ") for kind, text in blocks[:-1]
    ]
    thought = grammar.render(Kind.THINK, f" {' '.join(inner)} ")
    return f"{thought} {grammar.render(Kind.ANSWER, f' {texts[-1]} ')}"


def demand_writable(grammar: Grammar) -> None:
    """Refuse a grammar in whose tags no such trajectory can be written.

    Raises:
        ConfigError: It is one.
    """
    lacking = [kind for kind in (*STEP, *LAST) if kind not in grammar.tags]
    if grammar.turns or lacking:
        raise ConfigError(
            f"the grammar {grammar.name} has no tags around thoughts, searches, results and answers in "
            "one reply: take tags, rag-r1, r1-searcher or asearcher"
        )
