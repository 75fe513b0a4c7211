"""Models in a GGUF file: dequantised once, into a model directory that everything else reads.

The values are those that the file stands for, in float32. The directory lies below the cache folder
(INNERSEARCH_CACHE, else the user's own) under a name that follows from the content of the file, so that
a copy, or the same file under another name, is not converted again. It is made beside its place and
moved there once it is whole.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from importlib import import_module
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from innersearch.errors import InnersearchError, ModelError, RunError
from innersearch.locks import in_turn
from innersearch.records import clear_disk_errors, to_disk, write_json
from innersearch.stored import read_json
from innersearch.weights import is_pointer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_log = logging.getLogger(__name__)

CACHE_VARIABLE = "INNERSEARCH_CACHE"
_ELSEWHERE = f"free some space, or choose another folder ({CACHE_VARIABLE} for what is cached)"
FORMAT = 1
"""Changes with how directories are written."""
WHOLE = 256_000_000
"""Bytes of a file up to which all of it is read for its name in the cache."""
_HEAD = 64_000_000
"""Bytes of a larger file that are read in any case: the chat template stands before the weights."""
_BLOCK, _BLOCKS = 4096, 4096
_PIECE = 1 << 20
_MAGIC = b"GGUF"
_TOKENS = "tokenizer.ggml.tokens"
_BYTES_PER_NUMBER = 8
"""Memory while converting: every tensor once as it is read, and once in the model."""
_ROOM = 200_000_000


def is_gguf(name: str) -> bool:
    """Whether a model is named by a GGUF file; there need be none.

    >>> is_gguf("models/SmolLM2.Q4_1.gguf"), is_gguf("models/SmolLM2")
    (True, False)
    """
    return name.lower().endswith(".gguf") and not Path(name).is_dir()


def model_directory(name: str) -> str:
    """The directory of a model that may be a GGUF file, which is converted if it was not yet; any other
    name as it is.

    Raises:
        ModelError: As `convert`, or there is no such file.
    """
    if not is_gguf(name):
        return name
    file = Path(name).expanduser()
    _demand_file(file)
    folder = cache_folder() / "gguf" / content_name(file)
    target = folder / "model"
    if not target.is_dir():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with in_turn(folder):
                # Another process may have made it while this one waited.
                if not target.is_dir():
                    convert(file, target)
        except PermissionError as error:
            raise ModelError(
                f"{folder} for the dequantised {file} cannot be written to: give another folder with "
                f"{CACHE_VARIABLE}"
            ) from error
    return str(target)


def cache_folder() -> Path:
    """Where what was converted is kept."""
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "innersearch"


def content_name(file: Path) -> str:
    """What tells the content of a GGUF file apart from others, and how it is read."""
    size = file.stat().st_size
    # Another transformers may read the same file otherwise, as where a conversion was mended.
    sha = hashlib.sha256(f"{FORMAT} {version('transformers')} {size}\n".encode())
    with file.open("rb") as content:
        for piece in _pieces(content, size if size <= WHOLE else _HEAD):
            sha.update(piece)
        if size > WHOLE:
            for number in range(_BLOCKS):
                content.seek(size * number // _BLOCKS)
                sha.update(content.read(_BLOCK))
    return sha.hexdigest()[:32]


def _pieces(content: BinaryIO, length: int) -> Iterator[bytes]:
    while length > 0 and (piece := content.read(min(_PIECE, length))):
        length -= len(piece)
        yield piece


def convert(file: Path, target: Path) -> None:
    """Write the model directory `target` from a GGUF file, tokenizer and chat template included.

    Whoever calls sees to it that no other process writes the same target. What stands there is replaced.

    Raises:
        ModelError: The file is damaged, or holds no whole language model; its architecture or a
            quantisation is not known; there is not enough memory or space.
        ModuleNotFoundError: The package gguf is not installed.
    """
    _demand_file(file)
    reader = _examined(file)
    numbers = sum(int(tensor.n_elements) for tensor in reader.tensors)
    _demand_memory(file, numbers)
    for left in target.parent.glob(f"{target.name}.*.part"):
        shutil.rmtree(left, ignore_errors=True)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    try:
        _demand_space(file, part, numbers)
        _log.warning("note: dequantising %s, %.0f million parameters, once", file, numbers / 1e6)
        with _clear_errors(file, part), _read_once(file, reader):
            _write(file, part)
            _without_further_tokens(part, len(reader.get_field(_TOKENS).data))
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
        to_disk(target.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(file: Path, part: Path) -> None:
    from transformers import AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        where: dict[str, Any] = {"gguf_file": file.name, "trust_remote_code": False}
        # The tokenizer first: it is small, and as likely as the weights not to be known.
        AutoTokenizer.from_pretrained(file.absolute().parent, **where).save_pretrained(part)
        # The bar of the conversion knows no other way to be quiet.
        with redirect_stderr(StringIO()):
            model = _plain(file, where)
        model.save_pretrained(part)
    finally:
        transformers_logging.set_verbosity(before)
    for path in part.iterdir():
        to_disk(path)


def _plain(file: Path, where: dict[str, Any]) -> PreTrainedModel:
    """The model as if it had never been quantised: as loaded, transformers would refuse to save it."""
    import torch
    from transformers import AutoModelForCausalLM

    # Typed as the model alone, whatever is asked for.
    both: Any = AutoModelForCausalLM.from_pretrained(
        file.absolute().parent, dtype=torch.float32, output_loading_info=True, **where
    )
    loaded, info = both
    if missing := sorted(info["missing_keys"]):
        raise ModelError(
            f"{file} lacks {len(missing)} of the tensors of its model, {missing[0]} among them: it "
            "holds no whole language model"
        )
    config = loaded.config
    del config.quantization_config
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(loaded.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = loaded.generation_config
    return plain


def _without_further_tokens(part: Path, tokens: int) -> None:
    """Take out tokens that transformers adds and the model has no row for, such as an unknown token."""
    file, settings = part / "tokenizer.json", part / "tokenizer_config.json"
    tokenizer, config = read_json(file), read_json(settings)
    further = {token["content"] for token in tokenizer["added_tokens"] if token["id"] >= tokens}
    if further:
        kept = [token for token in tokenizer["added_tokens"] if token["id"] < tokens]
        write_json(file, {**tokenizer, "added_tokens": kept})
        write_json(settings, {key: value for key, value in config.items() if value not in list(further)})


def _demand_file(file: Path) -> None:
    if not file.is_file():
        raise ModelError(f"no GGUF file at {file}: give the path of one, or a model directory")
    if is_pointer(file):
        raise ModelError(
            f"{file} is a Git LFS pointer and not the file itself: run `git lfs pull` in {file.parent}"
        )
    with file.open("rb") as content:
        if content.read(len(_MAGIC)) != _MAGIC:
            raise ModelError(
                f"{file} is no GGUF file, or damaged: it does not begin with GGUF; copy it again"
            )


def _examined(file: Path) -> Any:
    """A file as gguf reads it, its header and where its tensors are, if it holds a whole model."""
    import gguf

    try:
        reader = gguf.GGUFReader(file)
        architecture = _text(reader, "general.architecture")
        parts = reader.get_field("split.count")
        count = int(parts.contents()) if parts is not None else 1
        listed = reader.get_field(_TOKENS)
    except Exception as error:
        # A count or a length that is wrong can be anything to whoever reads on.
        if "GGMLQuantizationType" in str(error):
            raise ModelError(
                f"{file} has a tensor of a quantisation that gguf {version('gguf')} does not know "
                f"({error}): pip install -U gguf, or take another quantisation, such as Q8_0"
            ) from error
        reason = str(error).split("\n", 1)[0][:100]
        raise ModelError(
            f"{file} is damaged or cut short, its {file.stat().st_size:,} bytes cannot be read as GGUF "
            f"({type(error).__name__}: {reason}): copy it again"
        ) from error
    if count > 1:
        raise ModelError(
            f"{file} is one of {count} parts: join them with `llama-gguf-split --merge` and give that"
        )
    if not architecture or not reader.tensors:
        raise ModelError(f"{file} holds no language model: it has no architecture, or no tensors")
    _demand_quantisations(file, {tensor.tensor_type for tensor in reader.tensors})
    if listed is None:
        raise ModelError(
            f"{file} has no tokenizer: give one that has, or the directory it was made from"
        )
    return reader


@contextmanager
def _read_once(file: Path, reader: Any) -> Iterator[None]:
    """Hand out what was read, during the block: transformers reads a header four times."""
    module: Any = import_module("gguf")
    before = module.GGUFReader

    def known(path: Any, *options: Any) -> Any:
        return reader if Path(path).samefile(file) else before(path, *options)

    module.GGUFReader = known
    try:
        yield
    finally:
        module.GGUFReader = before


def _text(reader: Any, key: str) -> str:
    field = reader.get_field(key)
    return str(field.contents()) if field is not None else ""


def _demand_quantisations(file: Path, kinds: set[Any]) -> None:
    import gguf
    import numpy as np

    for kind in sorted(kinds):
        size = gguf.GGML_QUANT_SIZES[kind][1]
        try:
            gguf.dequantize(np.zeros((1, size), np.uint8), kind)
        except NotImplementedError as error:
            raise ModelError(
                f"{file} has tensors in {kind.name}, which gguf {version('gguf')} cannot dequantise: "
                "take another quantisation, such as Q8_0"
            ) from error


def _demand_memory(file: Path, numbers: int) -> None:
    needed, there = numbers * _BYTES_PER_NUMBER + _ROOM, available_memory()
    if there is not None and there < needed:
        raise ModelError(
            f"dequantising {file} takes about {needed / 1e9:.1f} GB of memory, and {there / 1e9:.1f} GB "
            "are free: end other programs, or take a smaller model"
        )


def available_memory() -> int | None:
    """Bytes that this process can still take, of the machine or its control group; None if not said."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            found.append(int(limit) - int((group / "memory.current").read_text()))
    except (OSError, ValueError, IndexError):
        pass
    return min(found, default=None)


def _demand_space(file: Path, folder: Path, numbers: int) -> None:
    needed, free = 4 * numbers + _ROOM // 10, shutil.disk_usage(folder).free
    if free < needed:
        raise ModelError(
            f"the dequantised {file} takes {needed / 1e9:.1f} GB, and in {folder.parent} "
            f"{free / 1e9:.1f} GB are free: {_ELSEWHERE}"
        )


@contextmanager
def _clear_errors(file: Path, part: Path) -> Iterator[None]:
    """What libraries say when they cannot go on, as one error; memory that ran out is left as it is."""
    try:
        with clear_disk_errors(part):
            yield
    except RunError as error:
        raise ModelError(
            f"no space for the dequantised {file} in {part.parent}: {_ELSEWHERE}"
        ) from error
    except (InnersearchError, MemoryError, ModuleNotFoundError):
        raise
    except Exception as error:
        reason = str(error).strip().split("\n", 1)[0][:200]
        if re.search(r"architecture (\S+) (is )?not supported", reason):
            raise ModelError(
                f"{file} is of an architecture that transformers {version('transformers')} cannot read "
                f"from GGUF ({reason}): give the directory it was made from"
            ) from error
        raise ModelError(f"transformers cannot read the model in {file}: {reason}") from error
