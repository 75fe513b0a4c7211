"""Fetching a benchmark: from a directory, a file, the Hugging Face hub, or an address.

What is written is our question JSONL, with a manifest that says where it came from and its checksums;
sealed benchmarks are copied as published. Of a row's metadata only plain values are kept: contexts of
multi-hop questions would be copied into every record.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from innersearch.data.catalogue import Split
from innersearch.errors import DataError, InnersearchError, SearchError
from innersearch.locks import locked
from innersearch.readers import read_questions
from innersearch.records import write_json
from innersearch.rows.files import directory
from innersearch.sealed import is_sealed
from innersearch.stored import read_object
from innersearch.types import Question


class Manifest(TypedDict):
    """What a manifest needs."""

    n: int
    source: str
    source_sha256: str
    sha256: str


def fetch(wanted: Split, source: str, folder: Path) -> dict[str, Any]:
    """Write a split of a benchmark below `folder` and return its manifest.

    Args:
        wanted: Which one.
        source: A directory laid out as on the hub, a file, a dataset id on the hub, or an http(s)
            address; empty for where it was published.
        folder: Where benchmarks are kept.

    Raises:
        DataError: It cannot be had from there, its rows are no questions, or other data stands there.
    """
    target = wanted.path(folder)
    with _obtained(wanted, source or wanted.benchmark.source) as (file, origin):
        manifest: dict[str, Any] = {
            "name": wanted.name,
            "split": wanted.split,
            "source": origin,
            "source_sha256": sha256(file),
            "licence": wanted.benchmark.licence,
            "expected_n": wanted.n,
        }
        if known := _is_there(wanted, folder, manifest["source_sha256"]):
            return known
        questions = read_questions(file)
        if wanted.benchmark.sealed:
            _refuse_plain(wanted, file, questions)
        partial = target.with_name(target.name + ".part")
        with locked(target.with_name(f".{target.name}.lock"), f"the file {target}", error=DataError):
            if wanted.benchmark.sealed:
                shutil.copyfile(file, partial)
            else:
                _write(questions, partial, wanted.benchmark.name)
            manifest |= {"n": len(questions), "sha256": sha256(partial)}
            # In this order: without its manifest a file would be taken for somebody else's.
            write_json(wanted.manifest(folder), manifest)
            partial.replace(target)
    return manifest


def sha256(path: Path) -> str:
    """Checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_manifest(wanted: Split, folder: Path) -> dict[str, Any] | None:
    """What stands beside a fetched file; None where nothing does, or no manifest."""
    try:
        return read_object(wanted.manifest(folder), Manifest)
    except InnersearchError:
        return None


def is_unchanged(wanted: Split, folder: Path) -> bool:
    """Whether a fetched file is still the one that was written."""
    manifest = known_manifest(wanted, folder)
    return manifest is not None and manifest["sha256"] == sha256(wanted.path(folder))


def _is_there(wanted: Split, folder: Path, source_sha256: str) -> dict[str, Any] | None:
    """The manifest of what was fetched from the same source before."""
    target = wanted.path(folder)
    if not target.exists():
        return None
    known = known_manifest(wanted, folder)
    if known and known["source_sha256"] == source_sha256 and is_unchanged(wanted, folder):
        return known
    raise DataError(f"{target} holds other data: delete it, or give another directory with --output")


def _refuse_plain(wanted: Split, file: Path, questions: list[Question]) -> None:
    """What is sealed is copied as it is, so that plain words would be copied too."""
    as_published = file.suffix == Path(wanted.file).suffix
    if not as_published or not all(map(is_sealed, questions)):
        raise DataError(
            f"{file} is not sealed as {wanted.name} was published, and its texts must not be written in "
            f"plain words: give the published {Path(wanted.file).name}"
        )


def _write(questions: list[Question], path: Path, name: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        for question in questions:
            file.write(json.dumps(_row(question, name), ensure_ascii=False) + "\n")


def _row(question: Question, name: str) -> dict[str, Any]:
    """Ids are made unique over all benchmarks, so that runs on one compare with runs on several."""
    given = str(question.metadata.get("data_source", name))
    source = given if given in _MERGED else name
    plain = {k: v for k, v in question.metadata.items() if isinstance(v, str | int | float | bool)}
    return {
        "id": f"{source}:{question.id.removeprefix(given + ':')}",
        "question": question.question,
        "golden_answers": list(question.golden_answers),
        "data_source": source,
        "metadata": {k: v for k, v in plain.items() if k not in ("data_source", "split", "group")},
    }


_MERGED = ("nq", "hotpotqa")
"""What Search-R1's training file is made of."""


@contextmanager
def _obtained(wanted: Split, source: str) -> Iterator[tuple[Path, str]]:
    """The file of a split on this machine, and how to name where it came from."""
    if (place := directory(source)).exists():
        file = _local(wanted, place)
        yield file, str(file)
    elif source.startswith(("http://", "https://")):
        address, shown = _address(wanted, source)
        with tempfile.TemporaryDirectory() as temporary:
            file = Path(temporary) / Path(wanted.file).name
            _download(address, file)
            yield file, shown
    elif re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        yield _from_hub(source, wanted.file), f"{source}/{wanted.file}"
    else:
        raise DataError(
            f"no directory, file, dataset id (OWNER/NAME) or address: {source!r}, to fetch "
            f"{wanted.name} from"
        )


def _address(wanted: Split, source: str) -> tuple[str, str]:
    """Where to fetch from, and how to name it: a query can hold what a password would."""
    from innersearch.net.addresses import check_url

    try:
        url = check_url(source, wanted.name, query=True)
    except SearchError as error:
        raise DataError(str(error)) from None
    if not url.path.endswith(Path(wanted.file).suffix):
        url = url.copy_with(path=f"{url.path.rstrip('/')}/{wanted.file}")
    return str(url), str(url.copy_with(query=None))


def _local(wanted: Split, place: Path) -> Path:
    """Directories are laid out as on the hub: nq/test.jsonl, or test.jsonl in a directory of its own."""
    tried = [place]
    if place.is_dir():
        tried = [place / wanted.file]
        if place.name == wanted.benchmark.name and "/" in wanted.file:
            tried.append(place / Path(wanted.file).name)
    for file in tried:
        if file.is_file():
            return file
    raise DataError(
        f"no {' or '.join(map(str, tried))} to fetch {wanted.name} from; it is published at "
        f"{wanted.benchmark.source}"
    )


def _from_hub(repository: str, file: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise DataError(
            "fetching from the hub needs huggingface_hub: pip install huggingface_hub, or give a local "
            "copy with --from DIR"
        ) from error
    try:
        return Path(hf_hub_download(repository, file, repo_type="dataset"))
    except Exception as error:
        # Whatever the hub's client and its network library raise, it is this that failed. Their texts
        # may hold addresses that are signed, or a token.
        status = getattr(getattr(error, "response", None), "status_code", None)
        reason = type(error).__name__ + (f", HTTP {status}" if status else "")
        raise DataError(
            f"cannot fetch {file} of {repository} from the hub ({reason}): check its name and HF_TOKEN, "
            "or download it elsewhere and give it with --from DIR"
        ) from None


def _download(address: str, file: Path) -> None:
    from innersearch.net.downloads import download
    from innersearch.net.threads import LoopThread

    thread = LoopThread()
    try:
        thread.run(download(address, file, file.name))
    except SearchError as error:
        raise DataError(
            f"cannot fetch {error}; download it elsewhere and give it with --from FILE"
        ) from None
    finally:
        thread.close()
