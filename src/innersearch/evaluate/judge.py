"""Scores by a language model: a judge behind any chat API is asked about each greedy answer.

It sees the question, the gold answers and what the policy gave as its answer, nothing else. Whatever it
says is kept in `judged.jsonl`, one line per question, so that nobody is asked twice. A verdict that
cannot be read, or a call that failed, is counted and is no score; `--resume` asks again.

    >>> judge = parse_judge("judge:frames:http://127.0.0.1:6001#grader-7b")
    >>> judge.key
    'judge:frames by grader-7b'
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from innersearch.errors import ConfigError, SearchError, did_you_mean
from innersearch.evaluate.grading import GRADINGS, SIMPLEQA, Grading
from innersearch.evaluate.stored import Judged
from innersearch.net.addresses import check_url
from innersearch.net.calls import CallError, TransientError
from innersearch.net.conversation import Conversations
from innersearch.net.patience import CallSettings
from innersearch.progress import Progress
from innersearch.records import LineWriter
from innersearch.stored import Record, read_records

KEY_VARIABLE = "INNERSEARCH_JUDGE_KEY"
"""Environment variable with the key of judges, where they want one."""
FILE = "judged.jsonl"
PREFIX = "judge:"

_MOST_TOKENS = 4096
"""Of a reply, thoughts included."""
_OF_ONE = ("http 400", "http 413", "http 422", "malformed", "withheld")
"""Why a judge may fail at one question; anything else would fail at all."""
_FLOOR, _LIMIT = 10, 0.5
"""From how many questions on, and from which share of failures, nobody else is asked."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Who judges, and how."""

    grading: Grading
    url: str
    model: str

    @property
    def key(self) -> str:
        """What its scores are called; never exact match."""
        return f"{PREFIX}{self.grading.name} by {self.model}"


def parse_judge(name: str) -> Judge:
    """The judge of `judge:URL#MODEL` or `judge:PROTOCOL:URL#MODEL`.

    Raises:
        ConfigError: A part is missing, or there is no such protocol.
        SearchError: The address holds what must not be recorded.
    """
    place = name.removeprefix(PREFIX)
    protocol, colon, rest = place.partition(":")
    grading = SIMPLEQA
    if colon and not rest.startswith("//"):
        if protocol not in GRADINGS:
            raise ConfigError(f"no judge {name!r}: {did_you_mean(protocol, GRADINGS)}")
        grading, place = GRADINGS[protocol], rest
    url, _, model = place.partition("#")
    if not url.startswith(("http://", "https://")) or not model.strip():
        raise ConfigError(
            f"no judge {name!r}: write judge:URL#MODEL, or judge:PROTOCOL:URL#MODEL with one of "
            f"{', '.join(GRADINGS)}"
        )
    check_url(url, f"the judge {model.strip()}")
    return Judge(grading, url, model.strip())


def judge_all(
    judge: Judge, records: Sequence[Record], folder: Path, progress: Progress, in_flight: int = 16
) -> None:
    """Ask about all records that `folder` holds no verdict for.

    Raises:
        SearchError: The judge cannot be asked, or failed too often; what it said so far is kept.
    """
    known = read_judged(folder)

    def is_open(record: Record) -> bool:
        line = known.get((judge.key, record["id"]))
        return line is None or line["score"] is None or line["of"] != _of(judge, record)

    if pending := [record for record in records if is_open(record)]:
        asyncio.run(_judge(judge, pending, folder, progress, in_flight))


def read_judged(folder: Path) -> dict[tuple[str, str], Record]:
    """What judges have said, by judge and question; of several verdicts the last."""
    return {(line["judge"], line["id"]): line for line in read_records(folder / FILE, Judged)}


def with_verdicts(
    records: Sequence[Record], folder: Path, judges: Sequence[Judge]
) -> tuple[list[Record], dict[str, Any]]:
    """Records with the scores that judges gave, and for the summary what each judge said in all."""
    known = read_judged(folder)
    found, judged = [dict(record) for record in records], {}
    for judge in judges:
        lines = [known[judge.key, record["id"]] for record in records]
        judged[judge.key] = totals(lines) | {"url": judge.url, "model": judge.model}
        for record, line in zip(found, lines, strict=True):
            if line["score"] is not None:
                record["scores"] = record.get("scores", {}) | {judge.key: line["score"]}
    return found, {"judges": judged} if judged else {}


def _of(judge: Judge, record: Record) -> str:
    """What a verdict is about, so that it counts for nothing else."""
    asked = [judge.url, record["question"], record["golden_answers"], record["answer"]]
    text = json.dumps([*asked, judge.grading.rules], ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


async def _judge(
    judge: Judge, records: Sequence[Record], folder: Path, progress: Progress, in_flight: int
) -> None:
    calls = CallSettings(deadline_s=300.0, in_flight=in_flight)
    name = f"the judge {judge.model}"
    conversations = Conversations(judge.url, judge.model, name, KEY_VARIABLE, calls)
    asked = [asyncio.create_task(_verdict(judge, conversations, record)) for record in records]
    writer, failures = LineWriter(folder / FILE), 0
    try:
        # In order, so that the file is the same every time.
        for done, task in enumerate(asked, 1):
            line = await task
            writer.write(line)
            failures += line["score"] is None
            if done >= _FLOOR and failures > _LIMIT * done:
                raise SearchError(
                    f"{name} gave no verdict on {failures} of {done} questions, the last time since: "
                    f"{line['error'] or 'none was to be read'}; --resume asks again"
                )
            progress(f"judge {judge.grading.name}", done, len(asked))
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        writer.close()
        await conversations.close()


async def _verdict(judge: Judge, conversations: Conversations, record: Record) -> Record:
    """The line about one question.

    Raises:
        SearchError: The judge cannot be asked at all.
    """
    line = {"id": record["id"], "judge": judge.key, "of": _of(judge, record), "error": None}
    line |= {"calls": 0, "tokens_in": 0, "tokens_out": 0}
    if not (record["answer"] or "").strip():
        verdict = judge.grading.without
        return line | {"verdict": verdict, "score": judge.grading.verdicts[verdict]}
    text = judge.grading.ask(record["question"], record["golden_answers"], record["answer"])
    try:
        reply, usage = await conversations.reply(
            [{"role": "user", "content": text}], max_tokens=_MOST_TOKENS, temperature=0.0, seed=0
        )
    except CallError as error:
        if not isinstance(error, TransientError) and error.reason not in _OF_ONE:
            raise
        return line | {"verdict": None, "score": None, "error": str(error), "calls": 1}
    verdict_ = judge.grading.read(reply.text)
    score = None if verdict_ is None else judge.grading.verdicts[verdict_]
    withheld = f"{conversations.name} sent {reply.withheld}" if reply.withheld else None
    used = {"tokens_in": _tokens(usage, "prompt"), "tokens_out": _tokens(usage, "completion")}
    return line | used | {"verdict": verdict_, "score": score, "error": withheld, "calls": 1}


def _tokens(usage: Any, part: str) -> int:
    value = usage.get(f"{part}_tokens") if isinstance(usage, dict) else None
    return value if isinstance(value, int) and value > 0 else 0


def totals(lines: Sequence[Record]) -> dict[str, Any]:
    """What a judge said in all, and what it took."""
    verdicts = Counter(line["verdict"] for line in lines if line["verdict"] is not None)
    silent = [line for line in lines if line["score"] is None]
    return {
        "verdicts": dict(sorted(verdicts.items())),
        "failed": sum(line["error"] is not None for line in silent),
        "unread": sum(line["error"] is None for line in silent),
        **{name: sum(line[name] for line in lines) for name in ("calls", "tokens_in", "tokens_out")},
    }
