"""Loads Hugging Face model directories, with errors that say what is wrong with them."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from innersearch.errors import ModelError
from innersearch.grammar.control import demand_tags
from innersearch.policy.directory import demand_directory
from innersearch.policy.saving import make_savable
from innersearch.prompts.templates import turn_end
from innersearch.weights import demand_filled, demand_rows

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_log = logging.getLogger(__name__)


def load_tokenizer(path: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a model directory or hub id.

    Raises:
        ModelError: There is none, or it lacks an end-of-sequence token, or it cannot spell the protocol
            tags.
    """
    demand_directory(path)
    try:
        # Code that lies beside a model is never run, and nobody is asked whether it should be.
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except Exception as error:
        taken = (
            "" if Path(path).is_dir() else " (there is no such directory, so it was taken for a hub id)"
        )
        raise ModelError(f"no tokenizer at {path}{taken}: {_first_line(error)}") from error
    longest: Any = tokenizer.model_max_length
    if not isinstance(longest, int | float) or longest != longest or longest < 1:
        raise ModelError(
            f"the tokenizer_config.json of {path} has the model_max_length {str(longest)[:40]!r}, which "
            "is to be a number of tokens"
        )
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
    demand_tags(tokenizer, path)
    return tokenizer


def load_model(path: str, *, dtype: torch.dtype | Literal["auto"] | None = None) -> PreTrainedModel:
    """The causal language model of a directory or hub id, on the GPU if there is one.

    Args:
        path: Model directory or hub id.
        dtype: Parameter type, `auto` for that of the weights; float32 when None.

    Raises:
        ModelError: There is no causal language model, or its weights are damaged, or do not fill it.
    """
    # Where servers hold the model, there need be no torch.
    import torch
    from transformers import AutoModelForCausalLM

    demand_directory(path)
    model = _filled(path, AutoModelForCausalLM, dtype=dtype or torch.float32)
    for notice in make_savable(model, path):
        _say(notice)
    if torch.cuda.is_available():
        torch.nn.Module.to(model, "cuda")
    return model


def demand_loadable(path: str, tokenizer: PreTrainedTokenizerFast) -> None:
    """Check a model directory as loading it would, without reading its weights; of a hub id, nothing.

    Raises:
        ModelError: As `load_model`, or the tokenizer has tokens for which the model has no embedding.
    """
    if not Path(path).is_dir():
        return
    from transformers import AutoModelForCausalLM

    demand_directory(path)
    model = _filled(path, AutoModelForCausalLM, device_map="meta")
    for notice in make_savable(model, path):
        _say(notice)
    demand_vocabulary(model, tokenizer, path)


def _filled(path: str, kind: Any, **options: Any) -> PreTrainedModel:
    """The model with all its weights, none of them at random."""
    transformers_logging.disable_progress_bar()
    before = transformers_logging.get_verbosity()
    # Its report of what does not fit is a table; here it is an error of one line.
    transformers_logging.set_verbosity_error()
    try:
        AutoConfig.from_pretrained(path, trust_remote_code=False)
        model, info = kind.from_pretrained(
            path,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            trust_remote_code=False,
            **options,
        )
    except Exception as error:
        raise ModelError(f"no causal language model at {path}: {_first_line(error)}") from error
    finally:
        transformers_logging.set_verbosity(before)
    if left := demand_filled(info, path):
        _say(
            f"{len(left)} of the tensors at {path} have no place in the model that its config.json "
            f"describes and are left out, {left[0]} among them"
        )
    return model


def demand_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: str) -> None:
    """Refuse a tokenizer with tokens that the model has no embedding for.

    Raises:
        ModelError: It has some; they are named.
    """
    embeddings: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]
    rows = [embedding.weight.shape[0] for embedding in embeddings if embedding is not None]
    demand_rows(tokenizer, min(rows), path)
    ends = end_ids(model, tokenizer)
    if never := sorted(id_ for id_ in ends if not 0 <= id_ < min(rows)):
        raise ModelError(
            f"the token {never[0]} is to end sequences by the generation_config.json of {path}, and its "
            f"model knows those from 0 to {min(rows) - 1} only: correct eos_token_id"
        )


@cache
def _say(notice: str) -> None:
    """Once, however often a model is looked at and loaded."""
    _log.warning("note: %s", notice)


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Every token that ends a sequence, by the generation config, the tokenizer and its chat template.

    Raises:
        ModelError: The generation config names something that is no token.
    """
    return _ends(model.generation_config, str(model.name_or_path), tokenizer)


def configured_ends(path: str, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The same for a model that is not loaded."""
    try:
        generation = GenerationConfig.from_pretrained(path)
    except (OSError, ValueError, TypeError):
        # None, or one that says nothing that can be used: then loading refuses it.
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
    turn = turn_end(tokenizer)
    if turn is not None and turn not in ids:
        _say(
            f"the chat template of {path} ends a reply with {tokenizer.decode([turn])}, which its "
            "configuration does not name as an end (eos_token_id): replies end there as well"
        )
        ids.append(turn)
    return frozenset(ids)


def configured_context(path: str) -> int:
    """Longest sequence of a model that is not loaded, in tokens.

    Raises:
        ModelError: Its configuration cannot be read, or does not say.
    """
    try:
        config = configuration(path)
    except ModelError as error:
        raise ModelError(f"how long sequences of {path} may be is not known: {error}") from error
    return context_of(config, path)


def configuration(path: str) -> PreTrainedConfig:
    """The configuration of a model directory or hub id.

    Raises:
        ModelError: It cannot be read.
    """
    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=False)
    except Exception as error:
        raise ModelError(_first_line(error)) from error


def context_of(config: Any, path: str) -> int:
    """Longest sequence of a model, in tokens, by its configuration.

    Raises:
        ModelError: It does not say, or says what no length can be.
    """
    length = getattr(config.get_text_config(), "max_position_embeddings", None)
    if isinstance(length, float) and length.is_integer():
        length = int(length)
    if isinstance(length, bool) or not isinstance(length, int) or length < 2:
        raise ModelError(
            f"how long sequences of {path} may be is not known: its config.json has the "
            f"max_position_embeddings {length!r}, which is to be a number of tokens"
        )
    return length


def configured_vocabulary(path: str, tokenizer: PreTrainedTokenizerBase) -> int:
    """Number of tokens that a model may sample that is not loaded: often more than have a name."""
    # Of some tokenizers the numbers have gaps.
    named = 1 + max(tokenizer.get_vocab().values(), default=-1)
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        return max(named, int(config.get_text_config().vocab_size))
    except (OSError, ValueError, AttributeError):
        return named


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]
