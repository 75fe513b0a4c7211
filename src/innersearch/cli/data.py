"""`innersearch data`: benchmarks by name, checks of question files, and what a corpus covers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.types import NonNegativeInt

from innersearch.assemble.engines import open_engine
from innersearch.assemble.sources import load_questions, question_file
from innersearch.cli.console import stdout
from innersearch.cli.filtering import filter_command
from innersearch.cli.options import announce_cost
from innersearch.cli.progress import Display
from innersearch.cli.results import AsJson, show
from innersearch.cli.synthesizing import synthesize_command
from innersearch.config import SearchSettings
from innersearch.data import catalogue
from innersearch.data.check import Findings, Overlap, check, overlap
from innersearch.data.fetch import fetch, is_unchanged, known_manifest
from innersearch.errors import DataError
from innersearch.view.tables import coverage_table, markdown

app = App(name="data", help_format="plaintext", help="Benchmarks by name, and checks of question files.")

app.command(filter_command, name="filter")
app.command(synthesize_command, name="synthesize")

_SHOWN_IDS = 3


@app.command
def ls(folder: Path | None = None, *, as_json: AsJson = False) -> None:
    """List the benchmarks that are known by name, and which of them are here.

    Licences are stated as far as known; check them before you pass data on. Examples:

        innersearch data ls
        innersearch data ls ~/benchmarks

    Args:
        folder: Directory where benchmarks are kept; `data`, or what INNERSEARCH_DATA says, by default.
        as_json: Print the result as JSON, in place of text and tables.
    """
    folder = folder or catalogue.data_folder()
    rows = []
    for benchmark in catalogue.benchmarks():
        for split in sorted(benchmark.files, key=lambda part: part != benchmark.split):
            found = catalogue.Split(benchmark, split)
            cells = [split, f"{found.n:,}", benchmark.licence, benchmark.source]
            rows.append([found.name, *cells, _presence(found, folder)])
    heads = ["name", "split", "n", "licence (as known)", "from", f"in {folder}"]
    listed = [
        dict(zip(("name", "split", "n", "licence", "from", "here"), row, strict=True)) for row in rows
    ]
    notes = ["fetch   innersearch data get NAME [--from DIR]"]
    show(listed, markdown(heads, rows), as_json=as_json, notes=notes)


def _presence(found: catalogue.Split, folder: Path) -> str:
    if not found.path(folder).is_file():
        return "–"
    manifest = known_manifest(found, folder)
    if manifest is None:
        return "yes, of unknown origin"
    return f"{manifest['n']:,}" + ("" if is_unchanged(found, folder) else ", changed since")


@app.command
def get(
    name: str,
    *,
    source: Annotated[str, Parameter(name="--from")] = "",
    output: Path | None = None,
) -> None:
    """Fetch a benchmark; then `--data NAME` takes it.

    Questions are written as JSON lines, with a manifest of where they came from and checksums.
    BrowseComp stays sealed, as published: it is opened in memory only. Examples:

        innersearch data get nq
        innersearch data get hotpotqa:train --from ~/FlashRAG_datasets
        innersearch data get bamboogle --from ~/Downloads/test.jsonl --output ~/benchmarks
        innersearch data get nq_hotpotqa_train --from ~/nq_hotpotqa_train
        innersearch data get browsecomp --from browse_comp_test_set.csv

    Args:
        name: Name of the benchmark, as `innersearch data ls` shows it.
        source: Where it is taken from: a directory laid out as on the hub, a file, an id OWNER/NAME
            on the hub, or an http(s) address; where the benchmark was published by default.
        output: Directory where benchmarks are kept; `data`, or what INNERSEARCH_DATA says, by default.
    """
    wanted = catalogue.find(name)
    folder = output or catalogue.data_folder()
    manifest = fetch(wanted, source, folder)
    stdout.print(f"{wanted.path(folder)}  {manifest['n']:,} questions, from {manifest['source']}")
    if manifest["n"] != wanted.n:
        stdout.print(f"note  {wanted.name} was published with {wanted.n:,} questions")
    stdout.print(f"next  innersearch data check {wanted.path(folder)}")


@app.command(name="check")
def check_command(file: str, *, against: tuple[str, ...] = (), as_json: AsJson = False) -> None:
    """Say what a file of questions holds, what is odd about it, and what other files hold too.

    Questions are named by id, never printed. Exit status 1 if a row cannot be read. Examples:

        innersearch data check nq
        innersearch data check my-questions.jsonl
        innersearch data check nq_hotpotqa_train --against nq --against hotpotqa

    Args:
        file: File of questions, or a fetched benchmark by name.
        against: Another file: which questions stand there too, the same or with eight words in a row.
        as_json: Print the result as JSON, in place of text and tables.
    """
    path = question_file(file)
    questions, found = check(path)
    if not questions and not found.unreadable:
        raise DataError(f"{path} holds no questions")
    lines = list(_findings(path, found, _expected(path)))
    shared = {}
    for other in against:
        rows = load_questions(other, allow_sealed=True)
        shared[other] = overlap(questions, rows)
        lines += _overlap(other, len(rows), shared[other])
    show({"findings": found, "against": shared}, "\n".join(lines), as_json=as_json)
    if found.unreadable:
        raise DataError(f"{len(found.unreadable)} rows of {path} are no questions: mend or remove them")


def _expected(path: Path) -> int | None:
    for benchmark in catalogue.benchmarks():
        for part in benchmark.files:
            split = catalogue.Split(benchmark, part)
            if split.path(path.parent) == path:
                return split.n
    return None


def _findings(path: Path, found: Findings, expected: int | None) -> Iterator[str]:
    yield f"{path}  {found.n:,} questions"
    if expected is not None:
        same = "as published" if expected == found.n else f"published with {expected:,}"
        yield f"expected  {same}"
    for group, count in found.groups.items():
        yield f"group  {group}  {count:,}"
    for row in found.unreadable[:_SHOWN_IDS]:
        yield f"unreadable  {row}"
    if len(found.unreadable) > _SHOWN_IDS:
        yield f"unreadable  and {len(found.unreadable) - _SHOWN_IDS:,} more rows"
    yield f"ids that occur more than once  {_named(found.same_id)}"
    yield f"questions that stand there before  {_named(found.same_question)}"
    for what, ids in found.odd.items():
        yield f"odd  {what}  {_named(ids)}"


def _overlap(other: str, size: int, found: Overlap) -> Iterator[str]:
    yield f"against {other} ({size:,} questions):"
    yield f"  the same question  {_named(found.same)}"
    yield f"  eight words in a row the same  {_named(found.alike)}"


def _named(ids: list[str]) -> str:
    """How many, and the first of them."""
    if not ids:
        return "0"
    more = ", …" if len(ids) > _SHOWN_IDS else ""
    return f"{len(ids):,}  ({', '.join(ids[:_SHOWN_IDS])}{more})"


@app.command
def coverage(
    questions: str,
    *,
    engine: str,
    k: Annotated[str, Parameter(alias="-k")] = "3,10,100",
    groups: tuple[str, ...] = (),
    max_calls: NonNegativeInt = 0,
    output: Path | None = None,
    resume: bool = False,
    as_json: AsJson = False,
) -> None:
    """Search a corpus for every question's own text: is a gold answer among the first k documents?

    What a corpus does not hold no agent finds in it. Prints shares with 95 % intervals per group and k,
    and keeps the rank of the first gold document of every question. Examples:

        innersearch data coverage world:test --engine world -k 1,3
        innersearch data coverage nq --engine bm25:runs/wiki -k 3,10,100
        innersearch data coverage nq --engine remote:http://127.0.0.1:8000 --resume

    Args:
        questions: Questions: a file or directory, a fetched benchmark, or world:test.
        engine: Engine that is searched, as for eval.
        k: Numbers of documents that are looked at, separated by commas.
        groups: Groups of questions that are asked; all by default.
        max_calls: Number of calls to search APIs at most; 0 for no limit.
        output: Directory of the records; runs/coverage-<questions>-<engine> by default.
        resume: Go on with what is in the directory of the records.
        as_json: Print the result as JSON, in place of text and tables.
    """
    from innersearch.cli.evaluate import default_folder
    from innersearch.evaluate.coverage import coverage as audit

    ks = _numbers(k)
    rows = load_questions(questions, groups, allow_sealed=True)
    folder = output or default_folder("coverage", Path(questions).stem, engine.replace("/", "-"))
    settings = SearchSettings(engine=engine, k=max(ks), max_searches=1, max_calls=max_calls)
    announce_cost(settings, len(rows))
    with Display() as display:
        opening = partial(open_engine, settings, folder / "budget.json" if max_calls else None)
        summary = audit(rows, opening, ks, folder, resume=resume, progress=display.update)
    show(summary, coverage_table(summary), as_json=as_json, notes=[f"records  {folder}"])


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"0*[1-9][0-9]{0,5}", part) for part in parts):
        raise DataError(
            f"-k takes numbers from 1 to 999,999, separated by commas, for example 3,10; given {text!r}"
        )
    return sorted(set(map(int, parts)))
