"""The benchmarks of the field: sizes, licences, and where they come from.

Sizes and hub ids are those of the FlashRAG and Search-R1 cards. Licences are stated as far as known:
check them before you pass data on.

    >>> find("hotpotqa").file, find("nq:train").n
    ('hotpotqa/dev.jsonl', 79168)
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from innersearch.errors import DataError, did_you_mean
from innersearch.extensions import Offers

FOLDER_VARIABLE = "INNERSEARCH_DATA"
_FLASHRAG = "RUC-NLPIR/FlashRAG_datasets"
_SIMPLE_EVALS = "https://openaipublic.blob.core.windows.net/simple-evals"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A published set of questions."""

    name: str
    source: str
    """Dataset id on the Hugging Face hub, or the address that `files` are below."""
    files: dict[str, str]
    """File of each split, below the source."""
    sizes: dict[str, int]
    """Questions of each split."""
    split: str
    """The split that is evaluated, or trained on."""
    licence: str
    sealed: bool = False
    """Kept as published and opened in memory only; see `innersearch.sealed`."""


class Split(NamedTuple):
    """One split of a benchmark."""

    benchmark: Benchmark
    split: str

    @property
    def name(self) -> str:
        """As a user writes it: the split that is evaluated needs no mention."""
        plain = self.split == self.benchmark.split
        return self.benchmark.name if plain else f"{self.benchmark.name}:{self.split}"

    @property
    def n(self) -> int:
        """Questions that it should have."""
        return self.benchmark.sizes[self.split]

    @property
    def file(self) -> str:
        """Where it is below the source."""
        return self.benchmark.files[self.split]

    def path(self, folder: Path) -> Path:
        """Where it is kept once it was fetched."""
        suffix = Path(self.file).suffix if self.benchmark.sealed else ".jsonl"
        return folder / f"{self.name.replace(':', '-')}{suffix}"

    def manifest(self, folder: Path) -> Path:
        """Where it stands what was fetched."""
        return self.path(folder).with_suffix(".manifest.json")


def _flashrag(name: str, split: str, licence: str, **sizes: int) -> Benchmark:
    files = {part: f"{name}/{part}.jsonl" for part in sizes}
    return Benchmark(name, _FLASHRAG, files, sizes, split, licence)


def _one(name: str, source: str, file: str, split: str, n: int, licence: str, **more: bool) -> Benchmark:
    return Benchmark(name, source, {split: file}, {split: n}, split, licence, **more)


BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        _flashrag("nq", "test", "CC BY-SA 3.0", train=79168, dev=8757, test=3610),
        _flashrag("triviaqa", "test", "Apache-2.0", train=78785, dev=8837, test=11313),
        _flashrag("popqa", "test", "MIT", test=14267),
        _flashrag("hotpotqa", "dev", "CC BY-SA 4.0", train=90447, dev=7405),
        _flashrag("2wikimultihopqa", "dev", "Apache-2.0", train=15000, dev=12576),
        _flashrag("musique", "dev", "CC BY 4.0", train=19938, dev=2417),
        _flashrag("bamboogle", "test", "MIT", test=125),
        _one(
            *("nq_hotpotqa_train", "PeterJinGo/nq_hotpotqa_train", "train.parquet"),
            *("train", 169615, "CC BY-SA 3.0 and 4.0"),
        ),
        _one("simpleqa", _SIMPLE_EVALS, "simple_qa_test_set.csv", "test", 4326, "MIT"),
        _one("frames", "google/frames-benchmark", "test.tsv", "test", 824, "Apache-2.0"),
        _one(
            *("browsecomp", _SIMPLE_EVALS, "browse_comp_test_set.csv", "test", 1266, "MIT"),
            sealed=True,
        ),
    )
}


_NAMED = Offers("innersearch.benchmarks", Benchmark, "benchmark", BENCHMARKS)


def benchmarks() -> list[Benchmark]:
    """All that are known: ours, and those that packages add under `innersearch.benchmarks`."""
    return [found for name in _NAMED.names() if (found := _NAMED.find(name))]


def find(name: str) -> Split:
    """A benchmark by name, `nq` or `nq:train`.

    Raises:
        DataError: There is no such benchmark or split.
    """
    first, _, split = name.partition(":")
    benchmark = _NAMED.find(first)
    if benchmark is None:
        raise DataError(f"unknown benchmark {first!r}; {did_you_mean(first, _NAMED.names())}")
    if split and split not in benchmark.files:
        raise DataError(f"{first} has no split {split!r}; {did_you_mean(split, benchmark.files)}")
    return Split(benchmark, split or benchmark.split)


def is_name(text: str) -> bool:
    """Whether that is written as names of benchmarks are, and not as paths are."""
    return "/" not in text and "\\" not in text and not Path(text).suffix


def data_folder() -> Path:
    """Where fetched benchmarks are kept: `data`, or what INNERSEARCH_DATA says."""
    return Path(os.environ.get(FOLDER_VARIABLE) or "data")


def fetched(name: str, folder: Path | None = None) -> Path:
    """The file of a fetched benchmark.

    Raises:
        DataError: There is no such benchmark, or it was not fetched.
    """
    found, folder = find(name), folder or data_folder()
    path = found.path(folder)
    if not path.is_file():
        raise DataError(
            f"{found.name} is not in {folder}: fetch it with `innersearch data get {found.name}`, from "
            f"a copy of your own with --from DIR, or name another directory in {FOLDER_VARIABLE}"
        )
    return path
