r"""What a model says, without what it thinks: the one place that knows the marks of thoughts.

A thought stands between marks: tags such as `<think>`, `<thinking>` or `<seed:think>`, control tokens
such as `[THINK]`, `◁think▷`, `<|begin_of_thought|>` or `<|START_THINKING|>`, or in a channel of its own
(`<|channel|>analysis<|message|>`). A closing mark without an opening one ends a thought that the chat
template began; a further opening mark inside a thought is part of it. A reply that ends inside a thought
says nothing.

    >>> spoken("<think>Lima? No.</think> Paris").last
    'Paris'
    >>> spoken("Lima? No.</think> Paris").last, spoken("<think>Lima?").last, spoken(" Paris\n").last
    ('Paris', None, 'Paris')
"""

from __future__ import annotations

import re
from typing import NamedTuple

_WORD = "think|thinking|thought|thoughts|reasoning|reflection|scratch_?pad|monologue|analysis"
_PART = "[a-z0-9]{1,24}"
_NAME = rf"(?:(?:{_PART}[:_.-]){{0,3}}|ant)(?:{_WORD})(?:[:_.-]{_PART})?"
_MARK = re.compile(
    "|".join(
        (
            rf"(?:<|&lt;)\|?(?P<slash>/?)\s{{0,4}}(?P<name>{_NAME}|inner_(?:prefix|suffix))"
            r"(?:\s{1,4}[\w-]{1,24}=[^<>\n]{0,200})?\s{0,4}(?P<empty>/?)\|?(?:>|&gt;)",
            r"\[(?P<square>/?)(?-i:THINK|THINKING|THOUGHT|REASONING)\]",
            r"◁(?P<triangle>/?)think(?:ing)?▷",
            # s1 thinks and answers in turns of its own.
            r"<\|im_start\|>\s{0,4}(?P<turn>think|answer)\b",
            # gpt-oss: a header says which channel follows.
            r"<\|channel\|>\s{0,4}(?P<channel>\w{1,24})(?:[^<]{0,200}(?:<\|constrain\|>[^<]{0,99})?<\|message\|>)?",
            r"(?P<opens><\|channel>\s{0,4}(?:thought|think|analysis)\b|<unused94>(?:thought\b)?)",
            r"(?P<closes><channel\|>|<unused95>|<\|content\|>)",
        )
    ),
    re.IGNORECASE,
)
_CLOSING = frozenset(("end", "stop", "suffix"))
_CONTROL = re.compile(
    r"<\|(?:start|begin|turn)\|>(?:assistant)?|<\|(?:end|return|call|im_end|eot_id|end_of_text)\|>"
)
"""What stands between channels and at the end; it says nothing."""
_ENDS = re.compile(
    r"(?:\s*(?:<\|[a-z][a-z0-9_ ]{0,40}\|>|<｜[^<>｜\n]{1,40}｜>|</s>|<eos>|<end_of_turn>|\[e~\[))+"
    r"\s*\Z",
    re.IGNORECASE,
)
"""Control tokens that a server leaves at the end of a reply."""
_TAIL = 400
"""Characters in which they stand."""
_BETWEEN = ("<|message|>", "<|constrain|>", "<|start|>", "<|begin|>", "<|end|>", "<|content|>")
_SPELLED = (
    # gpt-oss behind a server that leaves control tokens out.
    (re.compile(r"\A\s*analysis(?=[A-Z])"), re.compile("assistantfinal")),
    # Granite 3.2, in plain words.
    (
        re.compile(r"\A\s*\**Here(?:'s| is) my thought process:", re.IGNORECASE),
        re.compile(r"Here(?:'s| is) my response:\**", re.IGNORECASE),
    ),
)
"""How a thought without marks begins, and what ends it."""
_WRAPPER = "answer|final_answer|response|output|solution|conclusion|result"
_WRAPPED = re.compile(
    rf"\A\s*<(?P<name>{_WRAPPER})>(?P<tagged>.*?)(?:</(?P=name)>\s*)?\Z"
    r"|\A\s*<\|(?:begin|start)_(?:of_)?(?P<control>solution|response|text|answer|box)\|>(?P<inner>.*?)"
    r"(?:<\|end_(?:of_)?(?P=control)\|>\s*)?\Z",
    re.DOTALL | re.IGNORECASE,
)


class Spoken(NamedTuple):
    """What a reply says."""

    parts: tuple[str, ...]
    """What stands before, between and after its thoughts; nothing if it ends inside one."""
    thought: bool
    """Whether there was a thought."""

    @property
    def whole(self) -> str | None:
        """All that it says; None if it ends inside a thought."""
        return _without_ends("\n".join(self.parts)) if self.parts else None

    @property
    def last(self) -> str | None:
        """What it says after its last thought, without tags around it; None if it ends inside one."""
        return _unwrapped(self.parts[-1]) if self.parts else None


def spoken(text: str, *, inside: bool = False) -> Spoken:
    """Read a reply; a text without thoughts is one part, and stays as it is.

    Takes time in proportion to the text. `inside` says that it begins inside a thought.
    """
    parts: list[str] = [] if inside else [""]
    thinking = thought = inside
    done = 0
    for mark in _MARK.finditer(text):
        if not thinking:
            parts[-1] += text[done : mark.start()]
        done = mark.end()
        if _opens(mark):
            thinking = thought = True
        elif thinking or mark["channel"] or mark["turn"]:
            parts.append("")
            thinking = False
        else:
            # What came before is the end of a thought that has no beginning.
            parts, thought = [""], True
    if thinking:
        return Spoken((), thought=True)
    parts[-1] += text[done:]
    if not thought:
        parts, thought = _without_spelled(parts[-1])
    if thought or done:
        parts = [_CONTROL.sub("", part) for part in parts]
    said = [part for part in parts[:-1] if part.strip()] + parts[-1:]
    return Spoken(tuple(said), thought)


def begins_inside(prompt: str) -> bool:
    """Whether a prompt ends with the mark that opens a thought, so that the reply begins in one."""
    end = prompt[-400:].rstrip()
    return any(mark.end() == len(end) and _opens(mark) for mark in _MARK.finditer(end))


def is_mark(token: str) -> bool:
    """Whether a token of its own is a mark of thoughts, or begins one."""
    return bool(_MARK.fullmatch(token)) or token.strip() in ("<|channel|>", "<|channel>")


def belongs_to_mark(token: str) -> bool:
    """Whether a token may be what a mark is made of, or what stands between channels."""
    return is_mark(token) or token.strip() in _BETWEEN


def _opens(mark: re.Match[str]) -> bool:
    if mark["name"] is not None:
        ends = _CLOSING.intersection(re.split("[:_.-]", mark["name"].lower()))
        return not (mark["slash"] or mark["empty"] or ends)
    if mark["turn"] is not None:
        return mark["turn"].lower() == "think"
    if mark["channel"] is not None:
        return mark["channel"].lower() != "final"
    if mark["opens"] or mark["closes"]:
        return bool(mark["opens"])
    return not (mark["square"] or mark["triangle"])


def _without_spelled(text: str) -> tuple[list[str], bool]:
    for begins, ends in _SPELLED:
        if begins.match(text):
            found = list(ends.finditer(text))
            return ([text[found[-1].end() :]] if found else []), True
    return [text], False


def _without_ends(text: str) -> str:
    ends = _ENDS.search(text, max(0, len(text) - _TAIL))
    return text[: ends.start()] if ends else text


def _unwrapped(text: str) -> str:
    text = _without_ends(text.rstrip())
    found = _WRAPPED.match(text)
    if found is None:
        return text.strip()
    return (found["tagged"] if found["name"] else found["inner"]).strip()
