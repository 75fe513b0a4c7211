"""Rewards: R = (1 − λ)·A + λ·F, A the exact match or F1 of the answer, and both published readings of F.

Rewards read the *transcript* of a trajectory: what the policy wrote, with every injected block
replaced by a placeholder, so that no document can score.

* `strict` (default): a state machine. think, then any number of (search, information, think), then
  answer; nothing but white space between; no block empty, a query on one line. 1 or 0, as the paper
  describes it.
* `graded`: as in the released code (reward_manager/naive.py 268-373), loopholes included: free
  text between tags, an unclosed middle think, a stray closing search tag and an early answer all
  still earn 1.0, and an innocent `<br>` or "x < 3 and y > 2" earns 0.

    >>> strict_format("<think>a</think><answer>b</answer>"), strict_format("<answer>b</answer>")
    (1.0, 0.0)
    >>> graded_format("<think>a</think><answer>b</answer>")
    0.5
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import cycle

from innersearch.config import RewardSettings
from innersearch.grammar import closing, last_answer, opening, scan
from innersearch.metrics import exact_match, token_f1, vote
from innersearch.types import Kind

_MAX_THOUGHTS = 8
_ANY_TAG = re.compile(r"<[^>]+>")
_BANNED = {
    Kind.THINK: "your thoughts",
    Kind.SEARCH: "your query",
    Kind.INFORMATION: "your information",
    Kind.ANSWER: "your answer",
}
_ALLOWED = {tag for kind in _BANNED for tag in (opening(kind), closing(kind))}


def strict_format(text: str) -> float:
    """1.0 if `text` is a well-formed trajectory from its first to its last character, else 0.0."""
    blocks = scan(text)
    if any(not b.closed or (b.kind is Kind.TEXT and b.content(text).strip()) for b in blocks):
        return 0.0
    tagged = [b for b in blocks if b.kind is not Kind.TEXT]
    kinds = [b.kind for b in tagged]
    if len(kinds) < 2 or kinds[-1] is not Kind.ANSWER or (len(kinds) - 2) % 3:
        return 0.0
    if kinds.count(Kind.THINK) > _MAX_THOUGHTS:
        return 0.0
    expected = cycle((Kind.THINK, Kind.SEARCH, Kind.INFORMATION))
    if any(kind is not next(expected) for kind in kinds[:-1]):
        return 0.0
    return float(all(_is_filled(b.kind, b.content(text)) for b in tagged))


def _is_filled(kind: Kind, content: str) -> bool:
    if not content.strip() or any(tag in content for tag in _ALLOWED):
        return False
    return kind is not Kind.SEARCH or len(content.strip().splitlines()) == 1


def graded_format(text: str) -> float:
    """The format reward of the released SSRL code, in [0, 1]; the module docstring names its faults."""
    text = text.strip()
    tags = _ANY_TAG.findall(text)
    if any(tag not in _ALLOWED for tag in tags) or len(tags) < 4:
        return 0.0
    if not text.startswith(opening(Kind.THINK)) or not text.endswith(closing(Kind.ANSWER)):
        return 0.0
    if not all(_is_acceptable(kind, body) for kind in _BANNED for body in _bodies(kind, text)):
        return 0.0
    if tags[:2] != _pair(Kind.THINK) or tags[-2:] != _pair(Kind.ANSWER):
        return 0.0
    searches, thoughts = tags.count(opening(Kind.SEARCH)), tags.count(opening(Kind.THINK))
    if not _searches_are_answered(tags[2:-2]) or thoughts > _MAX_THOUGHTS:
        return 0.0
    if searches != tags.count(opening(Kind.INFORMATION)):
        return 0.0
    ratio = min(thoughts, searches + 1) / max(thoughts, searches + 1)
    return min(thoughts / 2, 1.0) * ratio


def _pair(kind: Kind) -> list[str]:
    return [opening(kind), closing(kind)]


def _bodies(kind: Kind, text: str) -> list[str]:
    return re.findall(rf"{opening(kind)}(.*?){closing(kind)}", text, re.DOTALL)


def _is_acceptable(kind: Kind, body: str) -> bool:
    if not body.strip() or _BANNED[kind] in body.lower():
        return False
    return kind is not Kind.SEARCH or "\n" not in body


def _searches_are_answered(tags: list[str]) -> bool:
    index = 0
    while index < len(tags):
        if tags[index] == opening(Kind.SEARCH):
            if tags[index + 1 : index + 4] != [closing(Kind.SEARCH), *_pair(Kind.INFORMATION)]:
                return False
            index += 3
        index += 1
    return True


FORMATS: dict[str, Callable[[str], float]] = {"strict": strict_format, "graded": graded_format}


def outcome_reward(
    text: str,
    golden_answers: Iterable[str],
    settings: RewardSettings = RewardSettings(),  # noqa: B008
) -> tuple[float, dict[str, float]]:
    """The reward of a transcript by some settings, and its parts `em`, `f1` and `format`.

    The defaults are SSRL's, R = 0.9·EM + 0.1·F (naive.py 473). A weight of 0 switches the format reward
    off; `format` is reported all the same.

    ZeroSearch's is F1 alone (qa_em.py, `trainer.reward_function=f1`). It can teach a policy to answer
    nothing or to search nothing; a penalty of 0.1 for each keeps it from that (arXiv 2602.19526). As
    published, F1 is SQuAD's for every question, also where the evaluation of its benchmark has another.

    An answer of which nothing is left when it is normalised, such as "the" or "!", is none; see
    `innersearch.metrics`.

    Agreement with the majority is added once the group is complete; gold answers have no part in it
    then. A question without gold answers, which only that allows, has neither `em` nor `f1`.
    """
    answer, golds = last_answer(text), list(golden_answers)
    em, f1 = float(exact_match(answer, golds)), token_f1(answer, golds)
    well_formed = FORMATS[settings.format](text)
    by_answer = {"em": em, "f1": f1, "majority": 0.0}[settings.answer]
    value = (1 - settings.format_weight) * by_answer
    value += settings.format_weight * well_formed
    value -= settings.no_answer_penalty * (vote(answer) is None and not em)
    searched = any(b.kind is Kind.SEARCH and b.closed and b.content(text).strip() for b in scan(text))
    value -= settings.no_search_penalty * (not searched)
    return value, ({"em": em, "f1": f1} if golds else {}) | {"format": well_formed}
