"""Loads Hugging Face model directories, with errors that say what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from innersearch.errors import ModelError
from innersearch.grammar import TAGGED, closing, opening
from innersearch.records import read_json
from innersearch.spelling import pieces

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def load_tokenizer(path: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a model directory or hub id.

    Raises:
        ModelError: There is none, or it lacks an end-of-sequence token, or it cannot spell the protocol
            tags.
    """
    _check_directory(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except Exception as error:
        taken = (
            "" if Path(path).is_dir() else " (there is no such directory, so it was taken for a hub id)"
        )
        raise ModelError(f"no tokenizer at {path}{taken}: {_first_line(error)}") from error
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"the tokenizer at {path} has no end-of-sequence token, so no rollout could end: set "
            "'eos_token' in its tokenizer_config.json"
        )
    if tokenizer.pad_token_id is None:
        # As Llama 3 comes. Masks say where a trajectory ends, so that any token can fill the rest.
        tokenizer.pad_token = tokenizer.eos_token
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ModelError(f"the tokenizer at {path} has no tokenizer.json: convert it to a fast one")
    _check_tags(tokenizer, path)
    return tokenizer


def load_model(path: str, *, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """The causal language model of a directory or hub id, on the GPU if there is one.

    Args:
        path: Model directory or hub id.
        dtype: Parameter type; float32 when None.

    Raises:
        ModelError: There is no causal language model.
    """
    # Where servers hold the model, there need be no torch.
    import torch
    from transformers import AutoModelForCausalLM

    _check_directory(path)
    transformers_logging.disable_progress_bar()
    try:
        AutoConfig.from_pretrained(path)
        model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype or torch.float32)
    except Exception as error:
        raise ModelError(f"no causal language model at {path}: {_first_line(error)}") from error
    if torch.cuda.is_available():
        torch.nn.Module.to(model, "cuda")
    return model


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Every token that ends a sequence, by the generation config and the tokenizer.

    Raises:
        ModelError: The generation config names something that is no token.
    """
    return _ends(model.generation_config, str(model.name_or_path), tokenizer)


def configured_ends(path: str, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The same for a model that is not loaded."""
    try:
        generation = GenerationConfig.from_pretrained(path)
    except OSError:
        generation = None
    return _ends(generation, path, tokenizer)


def _ends(
    generation: GenerationConfig | None, path: str, tokenizer: PreTrainedTokenizerBase
) -> frozenset[int]:
    configured: Any = getattr(generation, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured]
    ids = [i for i in [*ids, tokenizer.eos_token_id] if i is not None]
    if wrong := [i for i in ids if type(i) is not int]:
        raise ModelError(
            f"the generation_config.json of {path} has the eos_token_id {wrong[0]!r}: write the number "
            "of a token, or a list of them"
        )
    return frozenset(ids)


def configured_context(path: str) -> int:
    """Longest sequence of a model that is not loaded, in tokens.

    Raises:
        ModelError: Its configuration cannot be read, or does not say.
    """
    try:
        return int(AutoConfig.from_pretrained(path).get_text_config().max_position_embeddings)
    except Exception as error:
        reason = _first_line(error)
        raise ModelError(f"how long sequences of {path} may be is not known: {reason}") from error


def configured_vocabulary(path: str, tokenizer: PreTrainedTokenizerBase) -> int:
    """Number of tokens that a model may sample that is not loaded: often more than have a name."""
    try:
        return max(len(tokenizer), int(AutoConfig.from_pretrained(path).get_text_config().vocab_size))
    except (OSError, ValueError, AttributeError):
        return len(tokenizer)


def _check_directory(path: str) -> None:
    """A path that looks local must be a model directory; anything else is left to the hub."""
    local = Path(path)
    looks_local = local.is_absolute() or path.startswith((".", "~")) or path.count("/") != 1
    if local.is_dir():
        if not (local / "config.json").is_file():
            raise ModelError(
                f"{path} is no Hugging Face model directory: it has no config.json; give the "
                "directory that save_pretrained wrote"
            )
        for name in ("config.json", "generation_config.json"):
            _check_object(local / name)
    elif local.exists() or looks_local:
        raise ModelError(f"no model directory at {path}; give a directory with a config.json")


def _check_object(file: Path) -> None:
    """Transformers takes a generation config that it cannot read for none."""
    try:
        readable = not file.exists() or isinstance(read_json(file), dict)
    except (OSError, ValueError):
        readable = False
    if not readable:
        raise ModelError(f"{file} is damaged, it holds no JSON object: restore it")


def _check_tags(tokenizer: PreTrainedTokenizerFast, path: str) -> None:
    for tag in (make(kind) for kind in TAGGED for make in (opening, closing)):
        ids = tokenizer.encode(tag, add_special_tokens=False)
        spelled = "".join(pieces(tokenizer, ids))
        if spelled.strip() != tag:
            raise ModelError(
                f"the tokenizer at {path} turns {tag!r} into {spelled!r}: add the protocol tags to its "
                "vocabulary with tokenizer.add_tokens and resize the model's embeddings"
            )


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]
