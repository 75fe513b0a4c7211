"""How good a simulator is: fidelity to the real engine, and whether its dial turns anything.

Measured on labelled pairs that it was not trained on. For each query both labels are asked for, so that
useful and noisy output differ in the label alone.
"""

from __future__ import annotations

import asyncio
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from innersearch.intervals import proportion
from innersearch.metrics import auroc, cover_match, token_f1
from innersearch.search.base import SearchRequest, SearchResult
from innersearch.search.curriculum import Label
from innersearch.simulator.classify import cross_validated
from innersearch.simulator.engine import SimulatedEngine
from innersearch.simulator.pairs import Pair
from innersearch.types import Document

LABELS: tuple[Label, Label] = ("useful", "noisy")


@dataclass(frozen=True, slots=True)
class Imitation:
    """What a real engine has for a query, and what a simulator wrote for it."""

    pair: Pair
    """A useful page of the real engine."""
    useful: SearchResult
    noisy: SearchResult


async def imitate(
    engine: SimulatedEngine, pairs: Sequence[Pair], progress: Callable[[int], None] = lambda n: None
) -> list[Imitation]:
    """Let a simulator write a useful and a noisy page for each of some useful real ones."""
    done = 0

    async def write(pair: Pair) -> Imitation:
        nonlocal done
        k = len(pair.documents)
        asked = SearchRequest(pair.query, pair.question)
        useful, noisy = [await engine.write(asked, label, k) for label in LABELS]
        done += 1
        progress(done)
        return Imitation(pair, useful, noisy)

    return list(await asyncio.gather(*map(write, pairs)))


def fidelity(imitations: Sequence[Imitation]) -> dict[str, Any]:
    """The figures; shares come with exact 95 % intervals.

    * `useful_holds_gold`, `noisy_lacks_gold`: over the queries whose real useful page holds a gold
      answer;
    * `separability`: AUROC of telling useful from noisy output by its overlap with the real useful page;
    * `real_or_simulated`: AUROC of a naive Bayes classifier that tells real pages from useful simulated
      ones by their words, cross-validated by query; 0.5 is indistinguishable;
    * `overlap`: mean token F1 of a useful page and the real one;
    * `words_real`, `words_simulated`: mean length of a page in words;
    * `failed`, `mended`: shares of outputs without a document, and of those that had to be mended.
    """
    holding = [i for i in imitations if _holds(i.pair.documents, i.pair)]
    useful = [_text(i.useful) for i in imitations]
    noisy = [_text(i.noisy) for i in imitations]
    real = [" ".join(d.text for d in i.pair.documents) for i in imitations]
    n, overlap = len(imitations), _overlap(useful, real)
    outputs = [result for i in imitations for result in (i.useful, i.noisy)]
    faults = Counter(fault for result in outputs for fault in result.faults)
    return {
        "queries": n,
        "useful_holds_gold": _share([_holds(i.useful.documents, i.pair) for i in holding]),
        "noisy_lacks_gold": _share([not _holds(i.noisy.documents, i.pair) for i in holding]),
        "separability": auroc(overlap + _overlap(noisy, real), [True] * n + [False] * n),
        "real_or_simulated": auroc(cross_validated(real, useful), [True] * n + [False] * n),
        "overlap": statistics.fmean(overlap),
        "words_real": statistics.fmean(len(text.split()) for text in real),
        "words_simulated": statistics.fmean(len(text.split()) for text in useful),
        "failed": _share([result.error is not None for result in outputs]),
        "mended": _share([bool(result.faults) for result in outputs]),
        "faults": dict(faults),
    }


def _holds(documents: Sequence[Document], pair: Pair) -> bool:
    text = " ".join(f"{document.title} {document.text}" for document in documents)
    return cover_match(text, pair.question.golden_answers)


def _overlap(written: Sequence[str], real: Sequence[str]) -> list[float]:
    return [token_f1(one, other) for one, other in zip(written, real, strict=True)]


def _text(result: SearchResult) -> str:
    return " ".join(document.text for document in result.documents)


def _share(flags: Sequence[bool]) -> dict[str, float]:
    return proportion(sum(flags), len(flags))._asdict()
