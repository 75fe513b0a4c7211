"""What is wrong with a model directory, said before transformers says something else about it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from transformers import CONFIG_MAPPING

from innersearch.errors import ModelError
from innersearch.stored import read_json
from innersearch.weights import demand_whole_files


def demand_directory(path: str) -> None:
    """A path that looks local must be a model directory; anything else is left to the hub.

    Raises:
        ModelError: It is none, or a file in it is missing or damaged, or it needs code of its own.
    """
    local = Path(path)
    looks_local = local.is_absolute() or path.startswith((".", "~")) or path.count("/") != 1
    if local.is_dir():
        if (local / "adapter_config.json").is_file() and not (local / "config.json").is_file():
            _refuse_adapters(local)
        if not (local / "config.json").is_file():
            if files := sorted(local.glob("*.gguf")):
                raise ModelError(f"{path} holds GGUF files: give one of them, such as {files[0]}")
            raise ModelError(
                f"{path} is no Hugging Face model directory: it has no config.json; give the "
                "directory that save_pretrained wrote"
            )
        for name in ("config.json", "generation_config.json"):
            _check_object(local / name)
        demand_whole_files(local)
        _refuse_code(local)
        _demand_reader(local)
    elif local.exists() or looks_local:
        raise ModelError(f"no model directory at {path}; give a directory with a config.json")


def _refuse_adapters(folder: Path) -> None:
    beside = folder.parent / "model"
    whole = (
        f"the model that they were merged into is {beside}"
        if (beside / "config.json").is_file()
        else "merge them into their model and give its directory"
    )
    raise ModelError(f"{folder} holds adapters and no model: {whole}")


def _refuse_code(folder: Path) -> None:
    """Models whose code is not part of transformers bring it along; it is theirs, and is not run."""
    config = read_json(folder / "config.json")
    if config.get("auto_map") and config.get("model_type") not in CONFIG_MAPPING:
        raise ModelError(
            f"the model at {folder} needs code of its own (auto_map in its config.json), which is never "
            "run: take a model that transformers knows"
        )


def _demand_reader(folder: Path) -> None:
    """A vocabulary of SentencePiece alone needs its library; transformers would name another one."""
    alone = (folder / "tokenizer.model").is_file() and not (folder / "tokenizer.json").is_file()
    if alone and find_spec("sentencepiece") is None:
        raise ModelError(
            f"{folder} has a tokenizer.model and no tokenizer.json: reading it needs sentencepiece, pip "
            "install sentencepiece protobuf, or save the tokenizer as a fast one"
        )


def _check_object(file: Path) -> None:
    """Transformers takes a generation config that it cannot read for none."""
    try:
        readable = not file.exists() or isinstance(read_json(file), dict)
    except (OSError, ValueError):
        readable = False
    if not readable:
        raise ModelError(f"{file} is damaged, it holds no JSON object: restore it")
