"""What an API says with status 200 when it has nothing to give: blocked, limited, used up, broken.

Every API has a field of its own for that, and forks and proxies have others; all of them are looked at,
whatever they hold: a text, an object or a list. That nothing was found is no complaint.

    >>> complaint({"results": [], "unresponsive_engines": [["google", "CAPTCHA"]]})
    Complaint(text='google: CAPTCHA', kind='trouble')
    >>> complaint({"error": {"code": 429, "message": "slow down"}}).kind
    'limited'
    >>> complaint({"error": "Google hasn't returned any results for this query."})
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from innersearch.net.calls import CallError, PermanentError, TransientError
from innersearch.net.keys import Key

Trouble = Literal["limited", "spent", "key", "trouble"]

_WHY = (
    *("error", "errors", "error_message", "errormessage", "error_description", "message", "messages"),
    *("msg", "detail", "details", "reason", "exception", "fault", "failure", "warning", "warnings"),
)
"""Fields, in lower case, that say why there is nothing."""
_STATUS = ("status", "state", "type", "code", "statuscode", "status_code", "error_code", "errorcode")
_ASIDE = ("note", "notice", "info", "information", "hint", "alert", "comment", "html", "body")
"""Fields that say why only where they speak of trouble."""
_FLAG = re.compile(
    r"captcha|(?:^|_|is)blocked$|banned|throttled|limited$|timed_?out|suspended|overloaded",
    re.IGNORECASE,
)
"""Names of fields that say it themselves."""
_SILENT = ("unresponsive_engines", "failed_engines")
_DEPTH, _LONGEST = 4, 200

_FINE = re.compile(
    r"\W*(?:ok(?:ay)?|success(?:ful(?:ly)?)?|succeeded|completed?|done|cached|none|null|no error|"
    r"false|true|0|200)\W*",
    re.IGNORECASE,
)
_NOTHING = re.compile(
    r"\b(?:no|any|zero|0)\b.{0,20}\b(?:results?|matches|match|documents|pages|hits)\b|"
    r"nothing (?:was )?found|not (?:find|match)|"
    r"kein(?:e|en)? (?:ergebnis|treffer)|aucun r[ée]sultat|(?:sin|ning[úu]n|nenhum|nessun) result|"
    r"brak wynik|geen result|ничего не найдено|нет результатов|не найден|sonuç bulunamadı|"
    r"(?:没有|沒有|未|无|無)(?:找到|结果|結果|搜索到|查到|符合)|(?:見つかりません|結果はありません|該当)|"
    r"결과가? ?없|لا توجد نتائج|कोई परिणाम नहीं|không tìm thấy",
    re.IGNORECASE,
)
_BLOCKED = (
    r"fail|time[d_ -]?out|block|limit|denied|unavailable|exceed|captcha|suspend|throttl|"
    r"unusual traffic|too many|not a robot|verify (?:that )?you|验证码|驗證碼|频繁|頻繁|"
    r"подозрительн|слишком (?:много|част)|gesperrt|bloqué|bloquead|bloccat"
)
_TROUBLE = re.compile(rf"err|process|queue|pending|{_BLOCKED}", re.IGNORECASE)
_CAUSE = re.compile(_BLOCKED, re.IGNORECASE)
_LIMITED = re.compile(
    r"rate[ _-]?limit|too[ _]many|slow down|throttl|per (?:second|minute|hour)|try again (?:in|later)|"
    r"concurren|requests? limit|过于频繁|過於頻繁|稍后再试|слишком (?:много|част)|demasiad[ao]s|"
    r"trop de requ|zu viele|troppe|muitas (?:solicita|requisi)|リクエストが多|요청이 너무",
    re.IGNORECASE,
)
_PLAN = "credits?|quota|balance|funds|plan|allowance|searches"
_SPENT = re.compile(
    rf"run out of|out of (?:{_PLAN})|(?:not enough|insufficient|no(?: more)?|0)[ _](?:{_PLAN})|"
    rf"(?:{_PLAN})\b.{{0,30}}(?:exhausted|exceeded|used up|depleted|reached|expired)|"
    rf"exceed(?:ed|s)?\b.{{0,30}}(?:{_PLAN})|(?:usage|monthly|plan'?s?|daily) limit|"
    r"payment required|upgrade your|quota_",
    re.IGNORECASE,
)
_KEY = re.compile(
    r"(?:invalid|missing|wrong|bad|incorrect|expired|revoked|no) (?:api[ _-]?)?(?:key|token)|"
    r"(?:key|token)\b.{0,20}(?:invalid|missing|required|not valid|not found|expired)|"
    r"unauthori[sz]ed|unauthenticated|authentication|credentials|token_invalid",
    re.IGNORECASE,
)
_KINDS: dict[int, Trouble] = {401: "key", 402: "spent", 429: "limited"}


class Complaint(NamedTuple):
    """Why an API had nothing, or less than it could have had."""

    text: str
    kind: Trouble
    """limited: it wants fewer calls; spent: the plan is used up; key: it refuses the key; trouble: any
    other, which may have passed at the next try."""


def complaint(answer: Mapping[str, Any]) -> Complaint | None:
    """What an answer without results says about that; None if it only says that nothing was found."""
    fields = {str(name).lower(): value for name, value in answer.items()}
    codes = list(_codes(fields, 0))
    said = list(dict.fromkeys(_said(fields))) or [f"status {code}" for code in codes[:1]]
    if said:
        return Complaint("; ".join(said)[:_LONGEST], _kind("; ".join(said), codes))
    # Some of the engines behind a metasearch are always blocked; at the next try others may answer.
    blocked = unanswered(answer)
    return Complaint(blocked, "trouble") if blocked else None


def refusal(said: Complaint, name: str, key: Key | None = None) -> CallError:
    """The error of a call that was answered with a complaint, which nobody charges for."""
    if said.kind == "limited":
        return TransientError(f"{name} wants fewer calls: {said.text}", reason="limited", limited=True)
    if said.kind == "spent":
        plan = key.variable if key else name
        message = f"{name} says that the plan behind {plan} is used up: {said.text}"
        return PermanentError(message, reason="spent", refused=True)
    if said.kind == "key":
        advice = f"check {key.variable}" if key else "it wants a key"
        return PermanentError(f"{name} refused the call: {advice}", reason="key", refused=True)
    message = f"{name} has no results and says why: {said.text}"
    return TransientError(message, reason="blocked", refused=True, down=False)


def unanswered(answer: Mapping[str, Any]) -> str:
    """Which of the engines behind a metasearch did not answer, and why; empty if all did."""
    found = []
    for name in _SILENT:
        value = answer.get(name)
        rows: list[Any] = value if isinstance(value, list) else [value]
        if isinstance(value, dict):
            rows = list(value.items())
        found += [": ".join(_texts(list(row) if isinstance(row, tuple) else row, 0)) for row in rows]
    return ", ".join(filter(None, found))[:_LONGEST]


def _said(fields: Mapping[str, Any]) -> Iterator[str]:
    for name in _WHY:
        text = ": ".join(_texts(fields.get(name), 0))
        nothing = _NOTHING.search(text) and not _CAUSE.search(text)
        if text and not nothing and not _FINE.fullmatch(text):
            yield text
    yield from _asides(fields)
    yield from _statuses(fields)
    for name, bad in (("success", False), ("ok", False), ("error", True), ("failure", True)):
        if _boolean(fields.get(name)) is bad:
            yield f"{name}: {bad}"


def _asides(fields: Mapping[str, Any]) -> Iterator[str]:
    """What is said in passing, and by the name of a field."""
    for name in _ASIDE:
        text = ": ".join(_texts(fields.get(name), 0))
        if _CAUSE.search(text):
            yield text
    for name, value in fields.items():
        said = isinstance(value, str) and value.strip() and not _FINE.fullmatch(value)
        if _FLAG.search(name[:_LONGEST]) and (said or _boolean(value)):
            yield " ".join(name[:_LONGEST].split())[:50]


def _boolean(value: Any) -> bool | None:
    """What a field says that holds true or false, as such or as a word."""
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    return {"true": True, "false": False}.get(word)


def _statuses(fields: Mapping[str, Any]) -> Iterator[str]:
    """Words for a state that is none of success, at the top or in the metadata of the search."""
    inner = (value for name, value in fields.items() if "metadata" in name and isinstance(value, dict))
    for values in (fields, *inner):
        for name in _STATUS:
            value = values.get(name)
            if isinstance(value, str) and _TROUBLE.search(value) and not _FINE.fullmatch(value):
                yield f"{name} {' '.join(value.split())[:50]}"


def _texts(value: Any, depth: int) -> Iterator[str]:
    """The texts in a value, those that explain first."""
    if isinstance(value, str):
        if line := " ".join(value[: 4 * _LONGEST].encode("utf-8", "replace").decode().split()):
            yield line
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**6:
        yield str(value)
    elif depth < _DEPTH and isinstance(value, list):
        for item in value[:5]:
            yield from _texts(item, depth + 1)
    elif depth < _DEPTH and isinstance(value, dict):
        fields = {str(name).lower(): item for name, item in value.items()}
        named = [fields[name] for name in (*_WHY, "description", "title", "code") if name in fields]
        for item in named or fields.values():
            yield from _texts(item, depth + 1)


def _codes(value: Any, depth: int) -> Iterator[int]:
    """HTTP statuses of failures that are named in an answer or in its error."""
    if depth > 2 or not isinstance(value, dict):
        return
    for name, item in value.items():
        if str(name).lower() in _STATUS and not isinstance(item, bool):
            is_code = isinstance(item, int) and 400 <= item < 600
            if is_code or (isinstance(item, str) and re.fullmatch(r"[45]\d\d", item)):
                yield int(item)
        elif str(name).lower() in ("error", "detail"):
            yield from _codes(item, depth + 1)


def _kind(text: str, codes: list[int]) -> Trouble:
    found = next((_KINDS[code] for code in codes if code in _KINDS), None)
    patterns: tuple[tuple[re.Pattern[str], Trouble], ...] = (
        (_LIMITED, "limited"),
        (_SPENT, "spent"),
        (_KEY, "key"),
    )
    by_text = next((kind for pattern, kind in patterns if pattern.search(text)), None)
    # HTTP 429 also says that a plan is used up.
    return "spent" if "spent" in (found, by_text) else found or by_text or "trouble"
