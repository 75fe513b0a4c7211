r"""How a model sets out several documents: the marks at which one ends and the next begins.

Asked for is `Doc 1: …`. Chat models write headings, lists, JSON or tags all the same, and each is
understood; where nothing marks the documents, every line is one.

    >>> for output in ("## Document 1\nLima.\n## Document 2\nPeru.", "1. Lima.\n2. Peru.",
    ...     '```json\n[{"title": "A city", "text": "Lima."}, "Peru."]\n```'):
    ...     print([passage.lines[0].strip() for passage in split(output).passages])
    ['Lima.', 'Peru.']
    ['Lima.', 'Peru.']
    ['Lima.', 'Peru.']
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from innersearch.simulator.phrases import is_closing, is_greeting, is_refusal, without_closing


class Passage(NamedTuple):
    """One document as it was written."""

    title: str
    lines: list[str]


class Layout(NamedTuple):
    """All documents of an output."""

    passages: list[Passage]
    closed: bool = False
    """Whether words after the last one were left out."""


_BOLD = r"(?:\*\*|__)?"
_NAMES = (
    "passage|result|snippet|source|text|文档|文件|文檔|文書|ドキュメント|문서|документ|dokument|documento|"
    "belge|dokumen|văn bản|tài liệu|المستند|مستند|وثيقة|दस्तावेज़|เอกสาร|έγγραφο|מסמך"
)
_WORDS = "(?:one|two|three|four|five|six|seven|eight|nine|ten)"
_OF = r"(?: ?/ ?\d{1,3}| of \d{1,3})?"
_ORDINALS = "(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth)"
_NUMBERED = re.compile(
    rf"^ *(?P<heading>#{{1,6}} ?|[-*•>] ?)?{_BOLD}(?:"
    rf"[\[(<【]?doc(?:ument)?\.? ?[#№]?\d+\b{_OF}[\])>】]?"
    rf"|[\[(<【]?(?:(?:doc(?:ument)?|{_NAMES}) ?[#№\[(]{{0,2}}(?:\d+|{_WORDS}|[a-j])\b{_OF}"
    rf"|(?:the )?{_ORDINALS} (?:doc(?:ument)?|{_NAMES})"
    rf"|第 ?[一二三四五六七八九十\d]{{1,2}} ?(?:篇|个|個|份|つの|の)? ?(?:{_NAMES}))"
    rf"[\])>】]?(?= ?{_BOLD} ?(?:[:.：)\]–—-]|$))"
    rf") ?{_BOLD}",
    re.IGNORECASE | re.MULTILINE,
)
_INLINE = re.compile(
    r"(?<=[.!?…。！？\"”)\]]) (?=\[?doc(?:ument)? ?\d{1,2}\b\]? ?[:：(])", re.IGNORECASE
)
"""Where a document begins in the line of another."""
_TITLE = re.compile(r"\A[ :]*\(title: ?(?P<title>(?:[^()\n]|\([^()\n]*\))*)\)", re.IGNORECASE)
_TITLE_LINE = re.compile(
    rf"\A[ :.\n]*[-*•]? ?{_BOLD}title{_BOLD} ?[:：] ?{_BOLD} ?(?P<title>[^\n]+?) ?{_BOLD} ?\n",
    re.IGNORECASE,
)
_TITLED = re.compile(rf"^ *[-*•]? ?{_BOLD}title{_BOLD} ?[:：]", re.IGNORECASE | re.MULTILINE)
_TABLE_RULE = re.compile(r"[|: -]*-{2}[|: -]*")
_BOLD_TITLE = re.compile(r"\A[ :.\n]*(?:\*\*)?(?P<title>[^*\n]{1,200})\*\*(?: ?[:：–—-] | ?\n)\s*(?=\S)")
"""Bold type, which may have begun before the number."""
_LABEL = re.compile(
    rf"\A\s*[-*•]? ?{_BOLD}(?:text|contents?|snippet|passage|body|summary|description){_BOLD}"
    rf" ?[:：]{_BOLD}",
    re.IGNORECASE,
)
_LINK = re.compile(rf"\A\s*[-*•]? ?{_BOLD}(?:url|link){_BOLD} ?[:：][^\n]*\n", re.IGNORECASE)
_HEADING = re.compile(r"^ *#{1,6} +(?:\d{1,3}[.):] *)?(?P<title>[^\n]*)$", re.MULTILINE)
_COUNTED = re.compile(
    rf"^ *{_BOLD}(?:[\[(【](?P<a>\d{{1,3}})[\])】][.:：]?"
    rf"|#?(?P<b>\d{{1,3}})(?:[.):：、．）](?!\d)| [–—-] )|#(?P<c>\d{{1,3}}) |(?P<d>\d)\ufe0f?\u20e3"
    rf"|(?P<letter>[A-Ja-j])\) ){_BOLD}"
    r"|^ *(?P<circled>[①-⑳])",
    re.MULTILINE,
)
_BULLET = re.compile(r"^ *[-*•▪◦‣·–—] +")
_RULE = re.compile(r"^ *(?:-{3,}|\*{3,}|={3,}|_{3,}) *$", re.MULTILINE)
_UNDERLINE = re.compile(r"\A[ :*_]*\n *(?:={3,}|-{3,}) *\n")
"""Below a mark that is a heading."""
_FENCE = re.compile(r"^ *(?:```|~~~)[^\n`]*$", re.MULTILINE)
_TAG = re.compile(
    r"<(?:doc|document|passage|result|item|entry|li)(?:[ _-]?\d{1,3})?(?P<attributes>\s[^<>]{0,300})?>",
    re.IGNORECASE,
)
_TAG_END = re.compile(
    r"</(?:doc|document|passage|result|item|entry|li)(?:[ _-]?\d{1,3})?\s*>", re.IGNORECASE
)
_TAG_TITLE = re.compile(r"<title>(?P<title>[^<]{0,1000})</title>", re.IGNORECASE)
_TAG_SOURCE = re.compile(r"<(source|url)>[^<]{0,1000}</\1>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"title\s?=\s?[\"'](?P<title>[^\"'<>]*)[\"']", re.IGNORECASE)
_INNER_TAG = re.compile(
    r"</?(?:title|text|contents?|snippet|body|summary|description|document_contents?|source|url|docs|"
    r"documents|passages|results|search_results|output)\b[^<>]{0,99}>",
    re.IGNORECASE,
)
_TEXTS = (
    *("text", "contents", "content", "passage", "snippet", "body", "document", "doc", "description"),
    *("summary", "abstract", "information"),
)
_TITLES = ("title", "name", "heading", "headline")
_LISTS = (
    *("documents", "docs", "results", "passages", "snippets", "search_results", "items", "data"),
    *("output", "outputs"),
)
_NUMBERED_KEY = re.compile(r"(?:doc(?:ument)?|passage|result|snippet)?[ _-]?\d{1,3}")
_JSON = re.compile(r"^ *(?=[\[{] ?[\[{\"'])|^ *(?=[{\[]\n)", re.MULTILINE)
"""Where a list of objects or texts, or an object, begins."""
_DECODER = json.JSONDecoder(strict=False)
_NO_JSON = (ValueError, RecursionError)


def split(output: str) -> Layout:
    """The documents of an output, the words around them left out; its lines are squeezed."""
    if (found := _json(output)) is not None:
        return Layout(found)
    output, parted = _without_farewell(_FENCE.sub("", output))
    layout = _laid_out(output)
    return Layout(layout.passages, layout.closed or parted)


def _without_farewell(output: str) -> tuple[str, bool]:
    """Closing words may stand below a rule."""
    rules = list(_RULE.finditer(output))
    parted = bool(rules) and is_closing(output[rules[-1].end() :].lstrip())
    return (output[: rules[-1].start()] if parted else output), parted


def _laid_out(output: str) -> Layout:
    for layout in (_tagged, _numbered):
        if passages := layout(output):
            return _closed(passages)
    lines = [line for line in output.split("\n") if line]
    if lines and is_refusal(lines[0]):
        return Layout([Passage("", lines)])
    for layout in (_headed, _counted, _titled, _tabled, _ruled, _bulleted):
        if passages := layout(output):
            return _closed(passages)
    return _by_line(lines)


def _closed(passages: list[Passage]) -> Layout:
    *others, last = passages
    lines, closed = without_closing(last.lines)
    return Layout([*others, Passage(last.title, lines)], closed)


def _by_line(lines: list[str]) -> Layout:
    ends = len(lines)
    while ends > 1 and is_closing(lines[ends - 1]):
        ends -= 1
    starts = next((i for i, line in enumerate(lines[: ends - 1]) if not is_greeting(line)), ends - 1)
    kept = lines[max(0, starts) : ends]
    last, closed = without_closing(kept[-1:])
    passages = [Passage("", [line]) for line in [*kept[:-1], *last]]
    return Layout(passages, closed or ends < len(lines))


def _between(marks: list[re.Match[str]], output: str) -> Iterator[tuple[re.Match[str], str]]:
    ends = [*(mark.start() for mark in marks[1:]), len(output)]
    for mark, end in zip(marks, ends, strict=False):
        yield mark, output[mark.end() : end]


def _tagged(output: str) -> list[Passage]:
    found = []
    marks = list(_TAG.finditer(output))
    if len(marks) == 1 and not _TAG_END.search(output):
        return []
    for mark, body in _between(marks, output):
        end = _TAG_END.search(body)
        inner = body[: end.start()] if end else body
        title = _ATTRIBUTE.search(mark["attributes"] or "") or _TAG_TITLE.search(inner)
        text = _INNER_TAG.sub(" ", _TAG_SOURCE.sub(" ", _TAG_TITLE.sub(" ", inner))).strip()
        numbered = _NUMBERED.match(text)
        passage = _passage(text[numbered.end() :] if numbered else text)
        found.append(Passage(title["title"].strip(), passage.lines) if title else passage)
    return found


def _numbered(output: str) -> list[Passage]:
    if sum(1 for _ in _NUMBERED.finditer(output)) == 1:
        output = _INLINE.sub("\n", output)
    return [
        _headline(body) if (mark["heading"] or "").startswith("#") else _passage(body)
        for mark, body in _between(list(_NUMBERED.finditer(output)), output)
    ]


def _headline(body: str) -> Passage:
    """What stands behind the number in a heading is a title, if a text follows."""
    line, _, rest = body.partition("\n")
    title = line.strip(" :.：–—-*_#")
    if title and rest.strip() and not _TITLE.match(body):
        return Passage(title, _passage(rest).lines)
    return _passage(body)


def _headed(output: str) -> list[Passage]:
    """Each heading begins a document, except one alone above several lines."""
    passages = []
    for mark, body in _between(list(_HEADING.finditer(output)), output):
        passage = _passage(body)
        passages.append(Passage(passage.title or mark["title"].strip(" *_:"), passage.lines))
    filled = [passage for passage in passages if "".join(passage.lines).strip(" -*_=")]
    if len(filled) == 1 and len([line for line in filled[0].lines if line]) > 1:
        return []
    return filled


def _counted(output: str) -> list[Passage]:
    """A list that counts from 1; other numbers at the beginning of a line are none of its marks."""
    marks: list[re.Match[str]] = []
    for mark in _COUNTED.finditer(output):
        if _number(mark) == len(marks) + 1:
            marks.append(mark)
    if not marks or (len(marks) == 1 and output[: marks[0].start()].strip()):
        return []
    return [_passage(body) for _, body in _between(marks, output)]


def _number(mark: re.Match[str]) -> int:
    if mark["circled"]:
        return ord(mark["circled"]) - ord("①") + 1
    if mark["letter"]:
        return ord(mark["letter"].lower()) - ord("a") + 1
    return int(mark["a"] or mark["b"] or mark["c"] or mark["d"])


def _titled(output: str) -> list[Passage]:
    """Each line with a title begins a document."""
    starts = [mark.start() for mark in _TITLED.finditer(output)]
    return [_passage(output[a:b]) for a, b in zip(starts, [*starts[1:], len(output)], strict=False)]


def _tabled(output: str) -> list[Passage]:
    """The rows of a table, the longest cell of each."""
    lines = output.strip().split("\n")
    rule = next((i for i, line in enumerate(lines) if _TABLE_RULE.fullmatch(line)), None)
    rows = [line for line in lines[rule + 1 :] if line.startswith("|")] if rule is not None else []
    return [Passage("", [max(map(str.strip, row.split("|")), key=len)]) for row in rows]


def _ruled(output: str) -> list[Passage]:
    """Blocks between horizontal rules."""
    blocks = [block for block in _RULE.split(output) if block.strip()]
    if len(blocks) < 2:
        return []
    if "\n" not in blocks[0].strip() and is_greeting(blocks[0].strip()):
        blocks.pop(0)
    return [_passage(block) for block in blocks]


def _bulleted(output: str) -> list[Passage]:
    """A list whose items may go on in the next line; after a blank line they have ended."""
    lines = output.strip().split("\n")
    while len(lines) > 1 and (is_greeting(lines[0]) or not lines[0]):
        lines.pop(0)
    if not _BULLET.match(lines[0]) or sum(bool(_BULLET.match(line)) for line in lines) < 2:
        return []
    items: list[list[str]] = []
    ended = False
    for line in lines:
        if _BULLET.match(line) or (ended and line and not is_closing(line)):
            items.append([_BULLET.sub("", line)])
        else:
            items[-1].append(line)
        ended = not line
    return [_passage("\n".join(item)) for item in items]


def _passage(body: str) -> Passage:
    """Title and text of what stands behind a mark."""
    body = _UNDERLINE.sub("", body)
    for pattern in (_TITLE, _TITLE_LINE, _BOLD_TITLE):
        if title := pattern.match(body):
            text = body[title.end() :]
            break
    else:
        title, text = None, body
    lines = _LABEL.sub("", _LINK.sub("", text)).strip("\n").split("\n")
    return Passage(title["title"].strip() if title else "", lines)


def _json(output: str) -> list[Passage] | None:
    """Documents as JSON: a list, objects one after the other, or a list in an object; else None.

    A list that was cut off has the documents before the cut; JSON without documents is none at all.
    """
    start = _JSON.search(output)
    if start is None or _NUMBERED.search(output, 0, start.start()):
        return None
    values = list(_values(output, start.end()))
    return [passage for value in values for passage in _read(value)]


def _values(output: str, at: int) -> Iterator[Any]:
    """The values of a list, or those that stand one after the other."""
    inside = False
    while at < len(output):
        if output[at] in " \n\r\t,;" or (inside and output[at] == "]"):
            at += 1
            continue
        try:
            value, end = _DECODER.raw_decode(output, at)
        except _NO_JSON:
            # What was cut off may hold a list whose first values are whole.
            opens = output.find("[", at, at + 200)
            if inside or opens < 0:
                return
            inside, at = True, opens + 1
            continue
        yield value
        at = end


def _read(value: Any, depth: int = 0) -> list[Passage]:
    if isinstance(value, str):
        return [Passage("", [value])] if value.strip() else []
    if depth > 3:
        return []
    if isinstance(value, list):
        return [passage for item in value for passage in _read(item, depth + 1)]
    return _read_object(value, depth) if isinstance(value, dict) else []


def _read_object(value: dict[str, Any], depth: int) -> list[Passage]:
    named = {str(key).lower(): item for key, item in value.items()}
    text = _first(named, _TEXTS, lambda item: isinstance(item, str))
    if text is not None:
        title = _first(named, _TITLES, lambda item: isinstance(item, str))
        return [Passage(title or "", [text])]
    listed = _first(named, _LISTS, lambda item: isinstance(item, list | dict))
    inner = [
        item
        for key, item in named.items()
        if isinstance(item, list | dict) or _NUMBERED_KEY.fullmatch(key)
    ]
    return _read(listed if listed is not None else inner, depth + 1)


def _first(named: dict[str, Any], keys: tuple[str, ...], wanted: Callable[[Any], bool]) -> Any:
    return next((named[key] for key in keys if wanted(named.get(key))), None)
