"""Tokenizers of all families, and text to train one on."""

from __future__ import annotations

import asyncio
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.families import ALL, tokenizer_of
from tests.virtual_time import VirtualLoop


@pytest.fixture(scope="session", params=ALL)
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    """A tokenizer of each family; protocol tags are several tokens, and tokens straddle them."""
    return tokenizer_of(request.param)


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
