"""Measures of how a policy writes, as five published systems have them.

All read what the policy wrote and nothing else: in the released code of R1-Searcher, DeepResearcher and
ASearcher, words and tags inside documents cost reward. A trajectory that a limit ended is judged by what
it wrote, and not for what it could not write any more.
"""

from __future__ import annotations

import re

from innersearch.grammar import closing, opening, scan
from innersearch.rewards.scored import Scored
from innersearch.rewards.terms import measure
from innersearch.types import Kind

_ACTIONS = (Kind.SEARCH, Kind.ANSWER)
_CHINESE = re.compile("[\u4e00-\u9fff]")
_LONGEST_ANSWER = 10
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
    text = "".join(scored.replies)
    blocks = scan(text)
    stray = any(
        closing(kind) in block.content(text)
        for block in blocks
        if block.kind in (Kind.TEXT, Kind.THINK)
        for kind in (Kind.THINK, *_ACTIONS)
    )
    return float(all(block.closed for block in blocks) and not stray)


@measure("one_action")
def one_action(scored: Scored) -> float:
    """Whether every reply is thoughts and then one action, with nothing between (ASearcher's gate)."""
    replies = scored.replies
    if replies and _was_cut(scored):
        replies = replies[:-1]
    return float(all(map(_is_one_action, replies)) and bool(scored.replies))


def _is_one_action(reply: str) -> bool:
    blocks = [b for b in scan(reply) if b.kind is not Kind.TEXT or b.content(reply).strip()]
    return (
        bool(blocks)
        and all(block.closed and block.content(reply).strip() for block in blocks)
        and all(block.kind is Kind.THINK for block in blocks[:-1])
        and blocks[-1].kind in _ACTIONS
    )


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
    markers = (f(kind) for kind in (Kind.SEARCH, Kind.INFORMATION) for f in (opening, closing))
    faults = "assistant" in scored.text.lower() or len(answer.split()) > _LONGEST_ANSWER
    return float(violates(scored) or faults or any(marker in answer for marker in markers))


def _is_malformed(scored: Scored) -> bool:
    text = scored.text
    last = text.rfind(opening(Kind.SEARCH))
    waits = (
        last >= 0
        and closing(Kind.INFORMATION) not in text[last:]
        and opening(Kind.ANSWER) not in text[last:]
    )
    if waits:
        # The search that a limit cut off has no documents, and nothing could be written after it.
        text = text[:last]
    counts = {f(kind): text.count(f(kind)) for kind in Kind for f in (opening, closing)}
    pairs = (
        (opening(Kind.SEARCH), closing(Kind.SEARCH)),
        (
            opening(Kind.INFORMATION),
            closing(Kind.INFORMATION),
        ),
    )
    marks = {counts[tag] for pair in pairs for tag in pair}
    if len(marks) > 1 or counts[opening(Kind.THINK)] > 1:
        return True
    if waits or _was_cut(scored):
        return any(counts[closing(k)] > 1 for k in (Kind.THINK, Kind.ANSWER))
    ends = (closing(Kind.THINK), opening(Kind.ANSWER), closing(Kind.ANSWER))
    return any(counts[tag] != 1 for tag in ends)
