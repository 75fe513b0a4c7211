"""The weight files of a model directory: whether they are whole, and by what they are told apart.

Up to `FULL` bytes the fingerprint is the SHA-256 of everything. Larger ones are sampled, so that seven
billion parameters take no longer than a second: the length of every file, the headers, which name each
tensor with its type, shape and place, and `_BLOCK` bytes at the beginning and in the middle of each
tensor; of files without such a header, blocks at even distances. Training changes every tensor that it
trains, so it is seen; one number that is changed by hand may not be. Times play no part, for a copy
changes them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from innersearch.errors import DataError, ModelError
from innersearch.stored import read_json

FULL = 256_000_000
"""Bytes of weights up to which all are read for their fingerprint."""
_BLOCK = 4096
_BLOCKS = 512
"""Blocks of a file without a header."""
_PIECE = 1 << 20
_LONGEST_HEADER = 100_000_000
"""As safetensors has it."""
_POINTER = b"version https://git-lfs.github.com/spec/"
_SHOWN = 3
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


def weight_files(folder: Path) -> list[Path]:
    """The files that weights are read from, by name: safetensors where there are some, adapters too."""
    for pattern in ("*.safetensors", "*.bin", "*.gguf"):
        if found := sorted(file for file in folder.glob(pattern) if file.name != "training_args.bin"):
            return found
    return []


def demand_whole_files(folder: Path) -> None:
    """Refuse files of a model directory that are missing, cut or no weights, without reading them.

    Raises:
        ModelError: One is; it is named.
    """
    for file in sorted(folder.iterdir()):
        if file.is_file() and is_pointer(file):
            raise ModelError(
                f"{file} is a Git LFS pointer and not the file itself: run `git lfs pull` in {folder}"
            )
    for index in _INDEXES:
        _demand_parts(folder / index)
    for file in folder.glob("*.safetensors"):
        _demand_length(file)


def is_pointer(file: Path) -> bool:
    """Whether Git left a pointer in the place of a large file."""
    if file.stat().st_size > 1024:
        return False
    with file.open("rb") as content:
        return content.read(len(_POINTER)) == _POINTER


def _demand_parts(index: Path) -> None:
    if not index.is_file():
        return
    try:
        named = set(read_json(index)["weight_map"].values())
        missing = sorted(name for name in named if not (index.parent / name).is_file())
    except (DataError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index} is damaged: it names no files of weights; copy it again") from error
    if missing:
        raise ModelError(
            f"{index.parent} lacks {_some(missing)}, of which {index.name} says that weights are there: "
            "copy the directory again"
        )


def _demand_length(file: Path) -> None:
    start, tensors = header(file)
    ends = [entry["data_offsets"][1] for entry in tensors.values()]
    whole, there = start + max(ends, default=0), file.stat().st_size
    if there != whole:
        raise ModelError(
            f"{file} is damaged: it has {there:,} bytes, and by its header {whole:,}: copy it again"
        )


def header(file: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """Of a safetensors file: where the data begin, and type, shape and place of every tensor by name.

    Raises:
        ModelError: It is none.
    """
    try:
        with file.open("rb") as content:
            length = int.from_bytes(content.read(8), "little")
            if not 0 < length <= _LONGEST_HEADER:
                raise ValueError(f"a header of {length} bytes")
            tensors = json.loads(content.read(length))
        tensors.pop("__metadata__", None)
        for entry in tensors.values():
            begin, end = entry["data_offsets"]
            if not 0 <= int(begin) <= int(end):
                raise ValueError("impossible offsets")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(f"{file} is damaged: it has no header of safetensors; copy it again") from error
    return 8 + length, tensors


def fingerprint(folder: Path) -> str:
    """What tells the weights in a directory apart from others, as the module says; empty without any.

    Raises:
        ModelError: A safetensors file is damaged.
    """
    files = weight_files(folder)
    size = sum(file.stat().st_size for file in files)
    if not files:
        return ""
    sha = hashlib.sha256()
    for file in files:
        sha.update(f"{file.name} {file.stat().st_size}\n".encode())
        with file.open("rb") as content:
            for piece in _everything(content) if size <= FULL else _sampled(file, content):
                sha.update(piece)
    return f"{'sha256' if size <= FULL else 'sampled'}:{sha.hexdigest()} ({size:,} bytes)"


def _everything(content: BinaryIO) -> Iterator[bytes]:
    while piece := content.read(_PIECE):
        yield piece


def _sampled(file: Path, content: BinaryIO) -> Iterator[bytes]:
    size = file.stat().st_size
    if file.suffix == ".safetensors":
        start, tensors = header(file)
        yield content.read(start)
        spans = [entry["data_offsets"] for entry in tensors.values()]
        places = [start + place for begin, end in spans for place in (begin, (begin + end) // 2)]
    else:
        places = [size * number // _BLOCKS for number in range(_BLOCKS)]
        places.append(max(0, size - _BLOCK))
    for place in sorted(places):
        content.seek(place)
        yield content.read(_BLOCK)


def demand_filled(info: Mapping[str, Any], path: str | Path, unused: Collection[str] = ()) -> list[str]:
    """Refuse weights that leave a part of the model at random; the names of those that have no place.

    Args:
        info: What transformers says with `output_loading_info`; tied weights are not missing.
        path: Directory or hub id of the model.
        unused: Beginnings of names of parts that are not used.

    Raises:
        ModelError: Some are missing, or have another shape than the configuration says.
    """
    missing = [name for name in info["missing_keys"] if not name.startswith(tuple(unused))]
    if missing:
        raise ModelError(
            f"the weights of {path} lack {_some(missing)}, which its config.json asks for and which "
            "would be random: give the whole checkpoint, or correct the configuration"
        )
    if info["mismatched_keys"]:
        name, found, wanted = sorted(info["mismatched_keys"])[0]
        raise ModelError(
            f"the weights of {path} do not fit its config.json: {name} has the shape {tuple(found)}, "
            f"and by the configuration {tuple(wanted)}: the two belong to different models"
        )
    return sorted(info["unexpected_keys"])


def demand_rows(tokenizer: Any, rows: int, path: str | Path) -> None:
    """Refuse a tokenizer with tokens that its model has no embedding for.

    Raises:
        ModelError: It has some; they are named.
    """
    beyond = {number: text for text, number in tokenizer.get_vocab().items() if number >= rows}
    if beyond:
        shown = _some([f"{beyond[number]!r} ({number})" for number in sorted(beyond)])
        raise ModelError(
            f"the tokenizer at {path} has {len(beyond)} tokens beyond the {rows} that the model has "
            f"embeddings for: {shown}; resize them with model.resize_token_embeddings(len(tokenizer)), "
            "or take those tokens out of the tokenizer"
        )


def _some(names: Collection[str]) -> str:
    """The first few of some names.

    >>> _some(["d", "b", "a", "c"])
    'a, b, c and 1 more'
    """
    shown = ", ".join(islice(sorted(names), _SHOWN))
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
