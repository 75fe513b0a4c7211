"""Pairs of a query and a page of documents: what simulators learn from, and are measured by.

Collected from rollouts against a real engine. Besides the page that the policy read, the pages below it
in the ranking are kept: on them stands, for the very same query, what does not help. A pair is labelled
`useful` or `noisy` afterwards, by the rule of `innersearch.search.evidence` or by a judge.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from innersearch.errors import ConfigError, DataError, SearchError
from innersearch.grammar import neutralise
from innersearch.records import LineWriter, to_json
from innersearch.rows import read_rows
from innersearch.search.evidence import is_evidence, is_gold
from innersearch.simulator.writers import Prompt, Writer
from innersearch.stored import read_lines
from innersearch.thoughts import spoken
from innersearch.types import Document, Question

HELD_OUT = "held-out.jsonl"
"""The pairs in a simulator's directory that it was not trained on."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One query of a trajectory and one page of what a real engine has for it."""

    question: Question
    query: str
    documents: tuple[Document, ...]
    page: int = 0
    """0 for the page that the policy read, 1 for the documents ranked below it, and so on."""
    label: str = ""
    """`useful`, `noisy`, or empty before labelling."""


_PAIR = TypeAdapter(Pair)
_LABELS = ("useful", "noisy", "")


def read_pairs(path: Path) -> Iterator[Pair]:
    """The pairs in a file.

    Raises:
        ConfigError: There is no such file.
        DataError: A row is no pair, or the file holds none that can be read.
    """
    if not path.exists():
        raise ConfigError(f"no pairs at {path}; make them with `innersearch simulator collect`")
    for place, _, values in read_rows(path, "file of pairs"):
        if isinstance(values, DataError):
            raise values
        yield _pair(values, place)


def written_pairs(path: Path) -> Iterator[Pair]:
    """The pairs that a command wrote before it was killed; a line that it left unfinished is none.

    Raises:
        DataError: A line is no pair.
    """
    for number, record in enumerate(read_lines(path), 1):
        yield _pair(record, f"{path}, row {number}")


def _pair(values: Mapping[str, Any], place: str) -> Pair:
    try:
        pair = _PAIR.validate_python(values)
    except ValidationError as error:
        detail = error.errors()[0]
        field = ".".join(map(str, detail["loc"]))
        raise DataError(f"{place} is no pair: {field}: {detail['msg']}") from error
    if pair.label not in _LABELS:
        raise DataError(
            f"{place} is no pair: label: useful, noisy or nothing, given {pair.label[:40]!r}"
        )
    return pair


def write_pairs(path: Path, pairs: Iterable[Pair]) -> None:
    """Append pairs to a file."""
    writer = LineWriter(path)
    writer.write(*(to_json(_PAIR, pair) for pair in pairs))
    writer.close()


def label(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """Label by rule: useful with a gold document, noisy without any evidence.

    Only queries whose first page is useful count as being on target. The pages of others, and those that
    hold an answer by chance, are neither and stay without a label. All pages of a query stand together.
    """
    for _, pages in groupby(pairs, lambda pair: (pair.question.id, pair.query)):
        members = list(pages)
        on_target = any(pair.page == 0 and _useful(pair) for pair in members)
        for pair in members:
            yield replace(pair, label=_label(pair) if on_target else "")


def _useful(pair: Pair) -> bool:
    return any(is_gold(document, pair.question) for document in pair.documents)


def _label(pair: Pair) -> str:
    if _useful(pair):
        return "useful"
    return "" if any(is_evidence(d, pair.question) for d in pair.documents) else "noisy"


async def judge(pair: Pair, writer: Writer) -> Pair:
    """Label by a language model: does the page hold what answers the query? As ZeroSearch's section 3.3.

    A verdict that is neither yes nor no leaves the pair without a label.

    Raises:
        SearchError: The model gave no verdict at all.
    """
    documents = "\n".join(f"{d.title} {d.text}".strip() for d in pair.documents)
    message = (
        "Do these documents hold what is needed to answer the query? Reply with yes or no only.\n"
        f"Query: {pair.query}\nIt was asked to answer: {pair.question.question}\n"
        f"Documents:\n{documents}"
    )
    message = neutralise(message)
    output = await writer.write(Prompt(message), ("judge", pair.question.id, pair.query, pair.page))
    if output.error is not None:
        raise SearchError(
            f"the judge gave no verdict: {output.error}; what is written stays, and --resume goes on "
            "from it"
        )
    verdict = (spoken(output.text).last or "").lower().strip("*\"'. ")
    labels = {"yes": "useful", "no": "noisy"}
    found = next((labels[word] for word in labels if verdict.startswith(word)), "")
    return replace(pair, label=found)


def split(pairs: Iterable[Pair], share: float) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on, and those of a share of the questions, always the same, to measure with."""
    kept: tuple[list[Pair], list[Pair]] = ([], [])
    for pair in pairs:
        kept[zlib.crc32(pair.question.id.encode()) / 2**32 < share].append(pair)
    return kept


def useful_pages(pairs: Iterable[Pair], limit: int = 0) -> list[Pair]:
    """The first useful page of each query, up to `limit` queries; 0 takes all.

    Raises:
        DataError: There is none.
    """
    first: dict[tuple[str, str], Pair] = {}
    for pair in pairs:
        if pair.label == "useful":
            first.setdefault((pair.question.id, pair.query), pair)
    if not first:
        raise DataError("no useful pairs: label them with `innersearch simulator label`")
    return list(first.values())[: limit or None]


def balanced(pairs: Sequence[Pair], seed: int) -> list[Pair]:
    """As many useful as noisy pairs, shuffled; unlabelled ones are left out."""
    rng = random.Random(f"pairs-{seed}")
    of_label = [[pair for pair in pairs if pair.label == name] for name in ("useful", "noisy")]
    size = min(map(len, of_label))
    chosen = [pair for members in of_label for pair in rng.sample(members, size)]
    rng.shuffle(chosen)
    return chosen


def as_text(documents: Sequence[Document], *, numbered: bool) -> str:
    """A page as a simulator is to write it."""
    if not numbered:
        return "\n".join(document.text for document in documents)
    return "\n".join(
        f"Doc {number}{f'(Title: {d.title})' if d.title else ''}: {d.text}"
        for number, d in enumerate(documents, 1)
    )
