"""Measures of how a policy writes, as five published systems have them, and of how long it thinks.

All read what the policy wrote and nothing else: in the released code of R1-Searcher, DeepResearcher and
ASearcher, words and tags inside documents cost reward. A trajectory that a limit ended is judged by what
it wrote, and not for what it could not write any more.
"""

from __future__ import annotations

import re

from innersearch.grammar import Grammar, scan
from innersearch.rewards.scored import Scored
from innersearch.rewards.terms import measure
from innersearch.types import Kind

_CHINESE = re.compile("[\u4e00-\u9fff]")
_LONGEST_ANSWER = 10
_LONG_THOUGHT = 50
"""Words."""
_REFUSALS = re.compile(
    r"(?:the|this|your) (?:question|premise)(?: itself)? (?:is|seems|appears)(?: to be)? "
    r"(?:not (?:a )?(?:valid|answerable|appropriate|well[- ]defined)|invalid|unanswerable|inappropriate|"
    r"ill[- ]defined|ambiguous)"
    r"|(?:it|this|the question) (?:is (?:not possible|impossible) to|can ?not be|can['’]t be) "
    r"(?:answer|determine)"
    r"|(?:i|we) (?:can ?not|can['’]t|am unable to|are unable to|could not|couldn['’]t) "
    r"(?:answer|determine|find|provide)"
    r"|(?:i|we) (?:do not|don['’]t) know"
    r"|(?:an? )?(?:invalid|unanswerable|inappropriate) question",
    re.IGNORECASE,
)
"""Sentences that turn a question away; they must be all of an answer's beginning."""


def _was_cut(scored: Scored) -> bool:
    """Whether something else than the policy ended it."""
    reason = scored.trajectory.stop_reason
    return reason.cut or reason.failed


@measure("balanced")
def balanced(scored: Scored) -> float:
    """Whether each tag that was opened was closed, and no other one (DeepResearcher)."""
    grammar = scored.grammar
    own = [kind for kind in grammar.tags if kind is not Kind.INFORMATION]
    loose = {Kind.TEXT, Kind.THINK} - grammar.opaque
    stray = any(
        grammar.closing(kind) in block.content(scored.text)
        for block in scored.blocks
        if block.kind in loose
        for kind in own
    )
    return float(not stray and all(b.closed for b in scored.blocks if b.kind in own))


@measure("one_action")
def one_action(scored: Scored) -> float:
    """Whether every reply is thoughts and then one action, with nothing between (ASearcher's gate);
    between the parts of a page thoughts alone.
    """
    replies = list(zip(scored.replies, scored.readings, strict=True))
    whole = all(
        _is_one_action(reply, scored.grammar, reads=reads)
        for reply, reads in (replies[:-1] if _was_cut(scored) else replies)
    )
    return float(whole and bool(scored.replies))


def _is_one_action(reply: str, grammar: Grammar, *, reads: bool) -> bool:
    blocks = [b for b in scan(reply, grammar) if b.kind is not Kind.TEXT or b.content(reply).strip()]
    return (
        bool(blocks)
        and all(block.closed and block.content(reply).strip() for block in blocks)
        and all(block.kind is Kind.THINK for block in blocks[:-1])
        and (blocks[-1].kind in grammar.reads or (reads and blocks[-1].kind is Kind.THINK))
    )


@measure("long_thoughts")
def long_thoughts(scored: Scored) -> float:
    """Words per thought, on average, as a share of 50; 1 for 50 and more, 0 where nothing is thought."""
    words = [len(b.content(scored.text).split()) for b in scored.blocks if b.kind is Kind.THINK]
    return min(1.0, sum(words) / len(words) / _LONG_THOUGHT) if words else 0.0


@measure("not_refused")
def not_refused(scored: Scored) -> float:
    """0 where an answer was demanded and the answer turns the question away, else 1 (ASearcher).

    Answers are demanded unless the metadata of the question say `must_answer = false`.
    """
    demanded = scored.trajectory.question.metadata.get("must_answer", True)
    return float(not (demanded and _REFUSALS.match((scored.answer or "").strip())))


@measure("violates:r1-searcher")
def violates(scored: Scored) -> float:
    """1 for tags or search markers that do not pair, or for Chinese (R1-Searcher, Llama)."""
    return float(_is_malformed(scored) or bool(_CHINESE.search(scored.text)))


@measure("violates:r1-searcher-strict")
def violates_strictly(scored: Scored) -> float:
    """The same, and 1 for the word assistant, an answer of more than 10 words or with search markers in
    it (R1-Searcher, Qwen).
    """
    answer = scored.answer or ""
    markers = [*scored.grammar.tags[Kind.INFORMATION], *scored.grammar.tags.get(Kind.SEARCH, ())]
    faults = "assistant" in scored.text.lower() or len(answer.split()) > _LONGEST_ANSWER
    return float(violates(scored) or faults or any(marker in answer for marker in markers))


def _is_malformed(scored: Scored) -> bool:
    """As the released counts of tags and markers have it, but for trajectories that a limit ended."""
    grammar, text, cut = scored.grammar, scored.text, _was_cut(scored)
    last = scored.blocks[-1] if scored.blocks else None
    if last and last.kind is Kind.SEARCH and (last.closed or cut):
        # Nobody answered this query, and nothing could be written after it.
        text, cut = text[: last.start], True
    marks = [*grammar.tags[Kind.INFORMATION], *grammar.tags.get(Kind.SEARCH, ())]
    thought, *ends = (*grammar.tags[Kind.THINK], *grammar.tags[Kind.ANSWER])
    if len({text.count(mark) for mark in marks}) > 1 or text.count(thought) > 1:
        return True
    counts = [text.count(end) for end in ends]
    return any(count > 1 for count in counts) if cut else counts != [1, 1, 1]
