"""Tokenizers of three families, trained here on local text, and small helpers."""

from __future__ import annotations

import asyncio
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from innersearch.world.corpus import CorpusPlan, corpus
from innersearch.world.encyclopedia import Encyclopedia
from tests.virtual_time import VirtualLoop

FAMILIES = ("byte_bpe", "unigram", "wordpiece")

_EXTRA = (
    "<think>Über 漢字 🎉 naïve</think>\n\n<search>x < 3\r\n</search> <information>\nDoc 1: a\n"
    "</information>\n<answer>é</answer> > < / ><"
)


def _text() -> list[str]:
    plan = CorpusPlan(common_mentions=1, trajectories=200, direct_answers=20)
    texts = [document.text for document in corpus(Encyclopedia.generate(1), plan, 0)]
    return [*texts, *[_EXTRA] * 30]


def _byte_bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        _text(),
        trainers.BpeTrainer(
            vocab_size=700,
            special_tokens=["<eos>", "<pad>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return tokenizer


def _unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(
        _text(),
        trainers.UnigramTrainer(
            vocab_size=600,
            special_tokens=["<eos>", "<pad>", "<unk>"],
            unk_token="<unk>",
            show_progress=False,
        ),
    )
    return tokenizer


def _wordpiece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>", max_input_chars_per_word=10_000))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    tokenizer.train_from_iterator(
        _text(),
        trainers.WordPieceTrainer(
            vocab_size=600, special_tokens=["<eos>", "<pad>", "<unk>"], show_progress=False
        ),
    )
    return tokenizer


@pytest.fixture(scope="session", params=FAMILIES)
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    """A tokenizer of each family; protocol tags are several tokens, and tokens straddle them."""
    made = {"byte_bpe": _byte_bpe, "unigram": _unigram, "wordpiece": _wordpiece}[request.param]()
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token="<eos>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
    )


@pytest.fixture
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands write below the working directory."""
    monkeypatch.chdir(tmp_path)


def local_text(characters: int) -> Iterator[str]:
    """Text that lies on any machine with this test suite: the sources of the installed packages."""
    left = characters
    for path in sorted(Path(sysconfig.get_paths()["purelib"]).rglob("*.py")):
        if left <= 0:
            return
        text = path.read_text(encoding="utf-8", errors="ignore")
        left -= len(text)
        yield text


@pytest.fixture(scope="session")
def byte_level_bpe() -> str:
    """A byte-level BPE of 16,000 entries without any added token, as JSON."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        local_text(4_000_000),
        trainers.BpeTrainer(
            vocab_size=16_000,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return backend.to_str()


@pytest.fixture
def virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Event loops that begin in this test run on a clock of their own, see `tests.virtual_time`."""
    monkeypatch.setattr(asyncio.events, "new_event_loop", VirtualLoop)
