"""Texts to vectors: a local model through transformers; `embeddings` asks an endpoint instead.

Models differ in what they want before a text and in how token vectors become one. Where the model's
directory says so (`config_sentence_transformers.json`, `1_Pooling/config.json`), that is followed; for
the families that are usually circulated without those files, the table `CONVENTIONS` is; both can be
overridden.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from innersearch.errors import ConfigError, ModelError, SearchError, did_you_mean
from innersearch.rows.files import directory
from innersearch.stored import read_json
from innersearch.weights import demand_filled, demand_rows, demand_whole_files

if TYPE_CHECKING:
    import torch

    from innersearch.net.patience import CallSettings

TextKind = Literal["query", "passage"]
Vectors = NDArray[np.float32]

LATER = ("max_chars",)
"""Fields of identities that came later; indexes made before lack them and have no text that was cut."""


class Encoder(Protocol):
    """Something that turns texts into vectors of one space."""

    identity: Mapping[str, str | int | float | bool | None]
    """What decides the vectors: those of two encoders of one identity may be compared."""

    def encode(self, texts: Sequence[str], kind: TextKind) -> Vectors:
        """Vectors of shape (texts, width), each of length 1.

        Raises:
            SearchError: They cannot be had.
        """


Report = Callable[[int, str], None]
"""Told of a text by its place, and of what was done to it."""


@runtime_checkable
class ReportingEncoder(Encoder, Protocol):
    """An encoder that goes on behind a text that it cannot encode as it is."""

    def encode_reporting(self, texts: Sequence[str], kind: TextKind, report: Report) -> Vectors:
        """As `encode`; `report` is told of each text that has no vector of its whole."""


@dataclass(frozen=True, slots=True)
class Convention:
    """How a model wants its texts."""

    query_prefix: str = ""
    passage_prefix: str = ""
    pooling: str = "mean"
    """`mean` over the tokens, the first token (`cls`) or the `last`."""


_BGE = Convention("Represent this sentence for searching relevant passages: ", "", "cls")
CONVENTIONS: dict[str, Convention] = {
    r"\be5-(small|base|large)(?!.*instruct)": Convention("query: ", "passage: "),
    r"\bbge-(small|base|large)-en": _BGE,
    r"\bbge-(small|base|large)-zh": replace(_BGE, query_prefix="为这个句子生成表示以用于检索相关文章："),
    r"\bbge-m3": Convention(pooling="cls"),
}
"""By name; facts: the model cards of intfloat/e5-base-v2 and BAAI/bge-*-v1.5."""

_POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"} | {
    "pooling_mode_lasttoken": "last"
}


def convention_of(name: str) -> Convention:
    """What models of this name want; mean pooling without prefixes if the name says nothing.

    >>> convention_of("intfloat/e5-base-v2").query_prefix
    'query: '
    """
    return next((c for key, c in CONVENTIONS.items() if re.search(key, name.lower())), Convention())


class LocalEncoder:
    """A model directory, run by transformers on a GPU if there is one (then in half precision)."""

    def __init__(
        self,
        directory: Path,
        *,
        query_prefix: str | None = None,
        passage_prefix: str | None = None,
        pooling: str | None = None,
        max_tokens: int = 256,
        batch: int = 64,
    ) -> None:
        """Texts are cut at `max_tokens` (256: facts, Search-R1), or earlier if the model says so.

        Raises:
            ModelError: The directory holds no model that can be loaded.
            ConfigError: The pooling is unknown.
        """
        given = {"query_prefix": query_prefix, "passage_prefix": passage_prefix, "pooling": pooling}
        told = {key: value for key, value in given.items() if value is not None}
        self._convention = replace(_read_convention(directory), **told)
        if self._convention.pooling not in _POOLINGS.values():
            hint = did_you_mean(self._convention.pooling, _POOLINGS.values())
            raise ConfigError(f"no pooling {self._convention.pooling!r}: {hint}")
        limit = _optional_json(directory / "sentence_bert_config.json").get("max_seq_length")
        self._max_tokens = min(max_tokens, limit or max_tokens)
        self._batch = batch
        self._load(directory)
        self._lock = threading.Lock()
        self.identity: Mapping[str, str | int | float | bool | None] = {
            "encoder": "local",
            "model_sha256": _weights_sha256(directory),
            "max_tokens": self._max_tokens,
            **asdict(self._convention),
        }

    def _load(self, directory: Path) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        demand_whole_files(directory)
        logging.disable_progress_bar()
        before = logging.get_verbosity()
        # Its table of what does not fit is an error of one line here, or of no account.
        logging.set_verbosity_error()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.float16 if device == "cuda" else torch.float32
        try:
            # Code that lies beside a model is never run.
            chosen: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
            self._tokenizer = AutoTokenizer.from_pretrained(directory, **chosen)
            reported = {"output_loading_info": True, "ignore_mismatched_sizes": True, "dtype": dtype}
            model, info = AutoModel.from_pretrained(directory, **chosen, **reported)
        except Exception as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"{directory} holds no encoder that can be loaded: {reason}") from error
        finally:
            logging.set_verbosity(before)
        # What pools for classification is often left out, and is not used.
        demand_filled(info, directory, unused=("pooler.",))
        demand_rows(self._tokenizer, model.get_input_embeddings().weight.shape[0], directory)
        self._model = model.to(device).eval()
        self._max_tokens = min(self._max_tokens, self._tokenizer.model_max_length)

    def encode(self, texts: Sequence[str], kind: TextKind) -> Vectors:
        """Vectors of shape (texts, width), each of length 1."""
        prefix = self._convention.query_prefix if kind == "query" else self._convention.passage_prefix
        # Texts of like length share a batch, so that little is spent on padding.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        parts = []
        # A fast tokenizer that truncates must not be used by two threads at once.
        with self._lock:
            for start in range(0, len(order), self._batch):
                chosen = [prefix + texts[i] for i in order[start : start + self._batch]]
                parts.append(self._encode_batch(chosen))
        if not parts:
            return np.zeros((0, self._model.config.hidden_size), dtype=np.float32)
        vectors = np.concatenate(parts)
        restored = np.empty_like(vectors)
        restored[order] = vectors
        return of_length_one(restored)

    def _encode_batch(self, texts: list[str]) -> Vectors:
        import torch

        tokens = self._tokenizer(
            texts, padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt"
        ).to(self._model.device)
        with torch.inference_mode():
            states = self._model(**tokens).last_hidden_state
            return (
                _pool(states, tokens["attention_mask"], self._convention.pooling).float().cpu().numpy()
            )


def _pool(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """One vector per text (batch, width) from token vectors (batch, tokens, width)."""
    if pooling == "cls":
        # Where padding is on the left, the first token is not at 0.
        return states[range(len(states)), mask.argmax(dim=1)]
    if pooling == "last":
        return states[range(len(states)), mask.shape[1] - 1 - mask.flip(1).argmax(dim=1)]
    kept = mask.unsqueeze(-1).to(states.dtype)
    return (states * kept).sum(dim=1) / kept.sum(dim=1)


def _read_convention(directory: Path) -> Convention:
    if not (directory / "config.json").is_file():
        raise ModelError(f"{directory} holds no encoder: give a directory with config.json and weights")
    config = _optional_json(directory / "config.json")
    known = convention_of(f"{config.get('_name_or_path', '')} {directory.name}")
    prompts = _optional_json(directory / "config_sentence_transformers.json").get("prompts") or {}
    pooling = _optional_json(directory / "1_Pooling" / "config.json")
    mode = pooling.get("pooling_mode") or next((v for k, v in _POOLINGS.items() if pooling.get(k)), None)
    return Convention(
        query_prefix=prompts.get("query") or known.query_prefix,
        passage_prefix=prompts.get("passage") or prompts.get("document") or known.passage_prefix,
        pooling=mode or ("mean" if pooling else known.pooling),
    )


def _optional_json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    value = read_json(file)
    return value if isinstance(value, dict) else {}


def _weights_sha256(directory: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(directory.iterdir()):
        if file.suffix in (".safetensors", ".bin") or file.name in ("tokenizer.json", "vocab.txt"):
            with file.open("rb") as handle:
                digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()


def of_length_one(vectors: Vectors) -> Vectors:
    """The vectors, each of length 1.

    Raises:
        SearchError: One holds NaN or infinite numbers.
    """
    if not np.isfinite(vectors).all():
        raise SearchError("the encoder gave vectors with NaN or infinite numbers")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)


def open_encoder(name: str, *, offline: bool = False, calls: CallSettings | None = None) -> Encoder:
    """The encoder of a model directory, or of an endpoint and its model, written URL#NAME.

    `offline` spares a client where nothing will be encoded; `calls` says how patiently it is called.

    Raises:
        ConfigError: An address lacks its model.
        SearchError: An address cannot be used.
        ModelError: The directory holds no model that can be loaded.
    """
    if not name.startswith(("http://", "https://")):
        return LocalEncoder(directory(name))
    url, _, model = name.partition("#")
    if not model:
        raise ConfigError("the address of the encoder lacks its model: write URL#NAME")
    from innersearch.search.index.embeddings import CALLS, RemoteEncoder

    return RemoteEncoder(url, model, offline=offline, calls=calls or CALLS)
