"""Files from the network are whole, within limits, and say nothing of passwords."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from innersearch.data.catalogue import find
from innersearch.data.fetch import fetch
from innersearch.errors import DataError, SearchError
from innersearch.net.downloads import CALLS, download
from innersearch.net.patience import CallSettings
from innersearch.net.threads import LoopThread
from tests.search_servers import Answer, Asked, LocalServer

ROW = json.dumps({"id": "test_0", "question": "who?", "golden_answers": ["me"]}).encode() + b"\n"
FAST = CallSettings(backoff_s=0.001, backoff_max_s=0.002, probe_s=0.001, max_outage_s=0.01)


def downloaded(answer: Any, folder: Path, *, most: int = 1_000, calls: CallSettings = FAST) -> bytes:
    file = folder / "file.jsonl"
    thread = LoopThread()
    with LocalServer(answer if callable(answer) else lambda asked: answer) as server:
        try:
            thread.run(download(f"{server.url}/a", file, "the file", most=most, calls=calls))
            return file.read_bytes()
        finally:
            thread.close()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(b"x" * 2_000), "longer than 1,000 bytes"),
        (Answer(b"x", headers={"content-length": "9" * 400}), "the file"),
        (Answer(b"x", headers={"content-length": "5000000000"}), "longer than 1,000 bytes"),
        (Answer(b"x" * 5, headers={"content-length": "50"}), "broke off in mid-answer"),
        (Answer(b"x", headers={"content-encoding": "gzip"}), "comes compressed"),
        (Answer({}, 404), "HTTP 404"),
        (Answer({}, 302, {"Location": "ftp://h/x"}), "http:// or https://"),
        (Answer({}, 302, {"Location": "http://me:hidden-77@127.0.0.1/"}), "no user or password"),
        (Answer({}, 302, {"Location": "/again"}), "from address to address"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_not_whole_or_too_long_leaves_no_file(answer: Answer, said: str, tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=said) as caught:
        downloaded(answer, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert "hidden-77" not in str(caught.value)


def test_an_endless_file_is_given_up_at_its_limit(tmp_path: Path) -> None:
    chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
    answer = Answer(chunk * 500, headers={"transfer-encoding": "chunked"})
    with pytest.raises(SearchError, match=r"longer than 1,000 bytes|cannot be reached|mid-answer"):
        downloaded(answer, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_has_a_deadline_for_all_of_it(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"did not answer within 0\.2 s"):
        downloaded(
            Answer(b"x" * 500, trickle_s=0.02),
            tmp_path,
            calls=replace(FAST, deadline_s=0.2, max_outage_s=0.001, tries=1, open_after=1),
        )
    assert list(tmp_path.iterdir()) == []
    assert CALLS.deadline_s <= 3600


def test_redirects_are_followed_and_failures_tried_again(tmp_path: Path) -> None:
    failures = [Answer({}, 503), Answer(b"xy", headers={"content-length": "9"}), Answer({}, 429)]

    def reply(asked: Asked) -> Answer:
        if asked.path == "/a":
            return Answer({}, 302, {"Location": "/b?signature=1"})
        return failures.pop(0) if failures else Answer(b"whole")

    assert downloaded(reply, tmp_path) == b"whole"


def test_a_query_of_an_address_is_sent_and_not_recorded(tmp_path: Path) -> None:
    wanted = find("nq:test")
    with LocalServer(lambda asked: Answer(ROW)) as server:
        manifest = fetch(wanted, f"{server.url}/test.jsonl?signature=hidden-77", tmp_path)
        assert server.asked[0].values == {"signature": "hidden-77"}
    assert manifest["source"] == f"{server.url}/test.jsonl"
    assert b"hidden-77" not in b"".join(f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())
    with pytest.raises(DataError, match="no user or password"):
        fetch(wanted, "http://me:hidden-77@127.0.0.1:1/test.jsonl", tmp_path)


def test_what_the_hub_says_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object, **more: object) -> None:
        raise OSError("Bearer hf_hidden_77 is no header\nand more")

    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub, "hf_hub_download", fail)
    with pytest.raises(DataError, match=r"\(OSError\): check its name and HF_TOKEN") as caught:
        fetch(find("nq:test"), "owner/name", tmp_path)
    assert "hidden" not in str(caught.value)
