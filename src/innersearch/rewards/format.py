"""Format rewards F: whether a trajectory is well-formed.

They read the *transcript* of a trajectory: what the policy wrote, with every injected block replaced by
a placeholder, so that no document can score.

* `strict`: a state machine. think, then any number of (search, information, think), then
  answer; nothing but white space between; no block empty, a query on one line. 1 or 0, as the paper
  describes it.
* `graded`: as in the released code (reward_manager/naive.py 268-373), loopholes included: free
  text between tags, an unclosed middle think, a stray closing search tag and an early answer all
  still earn 1.0, and an innocent `<br>` or "x < 3 and y > 2" earns 0.
* `one-thought` (R1-Searcher): one thought, in which searches stand, and then one answer.

    >>> strict_format("<think>a</think><answer>b</answer>"), strict_format("<answer>b</answer>")
    (1.0, 0.0)
    >>> graded_format("<think>a</think><answer>b</answer>")
    0.5
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import cycle

from innersearch.grammar import TAGS, Block, Grammar, scan
from innersearch.rewards.scored import Scored
from innersearch.rewards.terms import measure
from innersearch.types import Kind

_MAX_THOUGHTS = 8
_ANY_TAG = re.compile(r"<[^>]+>")
_BANNED = {
    Kind.THINK: "your thoughts",
    Kind.SEARCH: "your query",
    Kind.INFORMATION: "your information",
    Kind.ANSWER: "your answer",
}
_ALLOWED = frozenset(TAGS.markup)


def strict_format(text: str, grammar: Grammar = TAGS) -> float:
    """1.0 if `text` is a well-formed trajectory from its first to its last character, else 0.0."""
    return _is_strict(text, grammar, scan(text, grammar))


def _is_strict(text: str, grammar: Grammar, blocks: Sequence[Block]) -> float:
    if any(not b.closed or (b.kind is Kind.TEXT and b.content(text).strip()) for b in blocks):
        return 0.0
    tagged = [b for b in blocks if b.kind is not Kind.TEXT]
    kinds = [b.kind for b in tagged]
    if len(kinds) < 2 or kinds[-1] is not Kind.ANSWER or (len(kinds) - 2) % 3:
        return 0.0
    if kinds.count(Kind.THINK) > _MAX_THOUGHTS:
        return 0.0
    asks = set(grammar.reads) - {Kind.ANSWER}
    expected = cycle(({Kind.THINK}, asks, {Kind.INFORMATION}))
    if any(kind not in next(expected) for kind in kinds[:-1]):
        return 0.0
    return float(all(_is_filled(b.kind, b.content(text), grammar) for b in tagged))


def _is_filled(kind: Kind, content: str, grammar: Grammar) -> bool:
    if not content.strip() or any(tag in content for tag in grammar.markup):
        return False
    return kind is not Kind.SEARCH or len(content.strip().splitlines()) == 1


def graded_format(text: str) -> float:
    """The format reward of the released SSRL code, in [0, 1]; the module docstring names its faults."""
    text = text.strip()
    tags = _ANY_TAG.findall(text)
    if any(tag not in _ALLOWED for tag in tags) or len(tags) < 4:
        return 0.0
    if not text.startswith(TAGS.opening(Kind.THINK)) or not text.endswith(TAGS.closing(Kind.ANSWER)):
        return 0.0
    if not all(_is_acceptable(kind, body) for kind in _BANNED for body in _bodies(kind, text)):
        return 0.0
    if tags[:2] != _pair(Kind.THINK) or tags[-2:] != _pair(Kind.ANSWER):
        return 0.0
    searches, thoughts = tags.count(TAGS.opening(Kind.SEARCH)), tags.count(TAGS.opening(Kind.THINK))
    if not _searches_are_answered(tags[2:-2]) or thoughts > _MAX_THOUGHTS:
        return 0.0
    if searches != tags.count(TAGS.opening(Kind.INFORMATION)):
        return 0.0
    ratio = min(thoughts, searches + 1) / max(thoughts, searches + 1)
    return min(thoughts / 2, 1.0) * ratio


def _pair(kind: Kind) -> list[str]:
    return [TAGS.opening(kind), TAGS.closing(kind)]


def _bodies(kind: Kind, text: str) -> list[str]:
    return re.findall(rf"{TAGS.opening(kind)}(.*?){TAGS.closing(kind)}", text, re.DOTALL)


def _is_acceptable(kind: Kind, body: str) -> bool:
    if not body.strip() or _BANNED[kind] in body.lower():
        return False
    return kind is not Kind.SEARCH or "\n" not in body


def _searches_are_answered(tags: list[str]) -> bool:
    index = 0
    while index < len(tags):
        if tags[index] == TAGS.opening(Kind.SEARCH):
            if tags[index + 1 : index + 4] != [TAGS.closing(Kind.SEARCH), *_pair(Kind.INFORMATION)]:
                return False
            index += 3
        index += 1
    return True


@measure("format:strict")
def _strict(scored: Scored) -> float:
    """1 for a well-formed trajectory, else 0 (SSRL)."""
    return _is_strict(scored.text, scored.grammar, scored.blocks)


@measure("format:graded")
def _graded(scored: Scored) -> float:
    """How well-formed it is, 0 to 1, step by step (SSRL's graded format)."""
    return graded_format(scored.text)


@measure("format:one-thought")
def _one_thought(scored: Scored) -> float:
    """1 if one thought ends before one answer, else 0 (R1-Searcher)."""
    return one_thought(scored.text, scored.grammar)


def one_thought(text: str, grammar: Grammar = TAGS) -> float:
    """1.0 if one thought ends before one answer, else 0.0; what the prompt began need not begin here.

    As released (reward_server_llama_stage1.py), searches are not looked at: `retrieved` rewards those.
    """
    thought, closes = grammar.tags[Kind.THINK]
    first, last = grammar.tags[Kind.ANSWER]
    if text.count(thought) > 1 or any(text.count(tag) != 1 for tag in (closes, first, last)):
        return 0.0
    return float(text.find(closes) < text.find(first) < text.find(last))
