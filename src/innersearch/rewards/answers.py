"""Measures of answers against the gold ones, and of whether there is an answer."""

from __future__ import annotations

from innersearch.metrics import cover_match, cover_words, exact_match, set_f1, token_f1, vote
from innersearch.rewards.scored import Scored
from innersearch.rewards.terms import measure

AUGMENTED = "augmented_answers"
"""Where the metadata of a question name further answers."""


@measure("em", needs_gold=True)
def em(scored: Scored) -> float:
    """Whether the answer is a gold one, but for case, punctuation, articles and white space."""
    return float(exact_match(scored.answer, scored.golds))


@measure("cover_em", needs_gold=True)
def cover_em(scored: Scored) -> float:
    """Whether the answer contains a gold one."""
    return float(cover_match(scored.answer, scored.golds))


@measure("cover_sign", needs_gold=True)
def cover_sign(scored: Scored) -> float:
    """1 if all words of a gold answer stand in the answer, in any order, else −1 (R1-Searcher)."""
    return 1.0 if cover_words(scored.answer, scored.golds) else -1.0


@measure("f1", needs_gold=True)
def f1(scored: Scored) -> float:
    """SQuAD's F1 for every question, also where the evaluation of its benchmark has another."""
    return token_f1(scored.answer, scored.golds)


@measure("f1_set", needs_gold=True)
def f1_set(scored: Scored) -> float:
    """F1 over sets of words (DeepResearcher, ASearcher)."""
    return set_f1(scored.answer, scored.golds)


@measure("f1_set_augmented")
def f1_set_augmented(scored: Scored) -> float:
    """The same against the answers that the question's metadata name as `augmented_answers`."""
    found = scored.trajectory.question.metadata.get(AUGMENTED) or ()
    return set_f1(scored.answer, found if isinstance(found, list | tuple) else [found])


@measure("answered")
def answered(scored: Scored) -> float:
    """Whether there is an answer of which something is left when it is normalised, or that is right."""
    return float(vote(scored.answer) is not None or exact_match(scored.answer, scored.golds))
