"""The agent behind OpenAI's chat API, asked over a real server, and the page in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from innersearch.assemble.agents import Agent, open_agent
from innersearch.grammar import TAGS, Scanner
from innersearch.policy.base import Request
from innersearch.search.base import SearchResult
from innersearch.serve.agent import serve_agent
from innersearch.serve.app import build_app
from innersearch.serve.server import serving_at
from innersearch.serve.serving import Serving
from innersearch.testing import ScriptedEngine, ScriptedPolicy
from innersearch.types import Document

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUESTION = "Who is the spouse of Nemie?"
PAGE = Document("p1", "Nemie", "The spouse of Nemie is Zisara.", "https://example.org/nemie")


def found(query: str) -> SearchResult:
    """What the engine finds; it fails for queries that say so."""
    return SearchResult(error="it is down") if "fails" in query else SearchResult((PAGE,))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The bundled model over an engine that always finds the same."""
    serving = Serving(ScriptedEngine(found))
    serve_agent(serving, open_agent("world-1"))
    with serving_at(build_app(serving)) as address:
        yield address


@pytest.fixture(scope="module")
def scripted() -> Iterator[str]:
    """A model that writes what its question says after `write:`, reply after reply at `||`."""
    tokenizer = open_agent("world-1").tokenizer

    def reply(request: Request) -> str:
        asked = request.messages[0][1].rpartition("write:")[2]
        turn = request.stream[-1]
        replies = asked.replace("[", "<").replace("]", ">").split("||")
        return replies[turn] if isinstance(turn, int) and len(request.stream) > 2 else replies[0]

    serving = Serving(ScriptedEngine(found))
    serve_agent(serving, Agent(ScriptedPolicy(tokenizer, reply), tokenizer))
    with serving_at(build_app(serving)) as address:
        yield address


def ask(url: str, question: str = QUESTION, **more: Any) -> httpx2.Response:
    messages = more.pop("messages", [{"role": "user", "content": question}])
    body = {"model": "innersearch/agent", "messages": messages, **more}
    return httpx2.post(f"{url}/v1/chat/completions", json=body, timeout=60)


def events(response: httpx2.Response) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_it_thinks_searches_answers_and_cites(url: str) -> None:
    body = ask(url).json()
    [choice] = body["choices"]
    message = choice["message"]
    assert (message["role"], message["content"], choice["finish_reason"]) == (
        "assistant",
        "Zisara",
        "stop",
    )
    kinds = [block.kind.value for block in Scanner(TAGS).feed(message["reasoning_content"]).finish()]
    assert kinds == ["think", "search", "information", "think"]
    [note] = message["annotations"]
    assert note["type"] == "url_citation"
    assert note["url_citation"] == {
        "url": PAGE.url,
        "title": "Nemie",
        "start_index": 0,
        "end_index": len("Zisara"),
    }
    usage = body["usage"]
    assert (usage["searches"], usage["engine_searches"]) == (1, 1)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert 0 < usage["completion_tokens_details"]["reasoning_tokens"] < usage["completion_tokens"]


def test_a_stream_says_the_same_piece_by_piece(url: str) -> None:
    whole = ask(url).json()["choices"][0]["message"]
    parts = events(ask(url, stream=True, stream_options={"include_usage": True}))
    deltas = [part["choices"][0]["delta"] for part in parts if part["choices"]]
    assert "".join(d.get("content", "") for d in deltas).strip() == whole["content"]
    assert "".join(d.get("reasoning_content", "") for d in deltas) == whole["reasoning_content"]
    # As it is written, and not all at the end.
    assert sum("reasoning_content" in d for d in deltas) > 10
    parts_of = [d["innersearch"] for d in deltas[:-1] if "innersearch" in d]
    told = [(part["kind"], part["own"]) for part in parts_of]
    assert list(dict.fromkeys(told)) == [
        ("think", True),
        ("search", True),
        ("information", False),
        ("answer", True),
    ]
    assert deltas[-1]["annotations"] == whole["annotations"]
    assert parts[-1]["usage"]["searches"] == 1
    assert parts[-2]["choices"][0]["finish_reason"] == "stop"


def test_it_searches_its_own_memory_when_told_to(url: str) -> None:
    body = ask(url, search="self").json()
    assert body["usage"]["searches"] >= 1
    assert body["usage"]["engine_searches"] == 0
    assert "annotations" not in body or not body["choices"][0]["message"]["annotations"]


@pytest.mark.parametrize("mode", ["self", "always"])
def test_a_budget_holds_for_every_kind_of_search(scripted: str, mode: str) -> None:
    text = "write:[search]a[/search]||[search]b[/search]||[search]c[/search]||[answer]d[/answer]"
    searches = [ask(scripted, text, search=mode, budget=most).json() for most in (0, 1, 2)]
    engine = [body["usage"]["engine_searches"] for body in searches]
    assert engine == ([0, 1, 2] if mode == "always" else [0, 0, 0])
    reasoning = searches[0]["choices"][0]["message"]["reasoning_content"]
    assert "answer now" in reasoning
    assert "<search>c" not in searches[0]["choices"][0]["message"]["reasoning_content"]


def test_earlier_turns_stand_before_the_question_as_far_as_they_fit(scripted: str) -> None:
    def prompt_tokens(turns: int) -> int:
        earlier = [
            {"role": role, "content": f"word {number} is long"}
            for number in range(turns)
            for role in ("user", "assistant")
        ]
        question = {"role": "user", "content": "write:[answer]x[/answer]"}
        body = ask(
            scripted, messages=[{"role": "system", "content": "Be brief."}, *earlier, question]
        ).json()
        assert body["choices"][0]["message"]["content"] == "x"
        return int(body["usage"]["prompt_tokens"])

    lengths = [prompt_tokens(turns) for turns in (0, 1, 2, 400)]
    assert lengths == sorted(set(lengths))
    # The context has 4,096 tokens, and room is left for the reply.
    assert 1500 < lengths[-1] < 4096


def test_a_failed_search_is_told_and_the_agent_goes_on(scripted: str) -> None:
    body = ask(scripted, "write:[search]this fails[/search]||[answer]x[/answer]").json()
    message = body["choices"][0]["message"]
    assert message["innersearch"]["searches"] == [
        {"query": "this fails", "engine": "scripted", "error": "it is down"}
    ]
    assert message["content"] == "x"
    assert message["annotations"] == []


def test_many_clients_get_their_own_answers(url: str) -> None:
    one = ask(url).json()["choices"][0]["message"]
    with ThreadPoolExecutor(16) as pool:
        all_of_them = list(pool.map(lambda _: ask(url).json()["choices"][0]["message"], range(16)))
    assert all(message == one for message in all_of_them)


def test_the_same_seed_draws_the_same(url: str) -> None:
    def drawn(seed: int) -> list[str]:
        choices = ask(url, temperature=1.5, seed=seed, n=3, search="self").json()["choices"]
        return [choice["message"]["reasoning_content"] for choice in choices]

    assert drawn(1) == drawn(1)
    assert len({*drawn(1), *drawn(2)}) > 1


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": "a " * 5000}]}, "messages"),
        ({"search": "google"}, "search"),
        ({"search": "hybrid"}, "search"),
        ({"budget": -1}, "budget"),
        ({"budget": "two"}, "budget"),
        ({"n": 99}, "n"),
        ({"temperature": -1}, "temperature"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"top_p": 0.5}, "top_p"),
        ({"stop": ["x"]}, "stop"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_answered_is_refused_as_openai_refuses(
    url: str, more: dict[str, Any], param: str, stream: bool
) -> None:
    response = ask(url, **more, stream=stream)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert "\n" not in error["message"]


def test_a_body_that_is_none_and_a_session_that_is_none(url: str) -> None:
    response = httpx2.post(f"{url}/v1/chat/completions", content=b"{nope")
    assert (response.status_code, response.json()["error"]["message"]) == (400, "the body is no JSON")
    response = httpx2.post(f"{url}/s/none/v1/chat/completions", json={"messages": []})
    assert response.status_code == 404
    assert "no session 'none'" in response.json()["error"]["message"]


def test_models_are_listed(url: str) -> None:
    assert [m["id"] for m in httpx2.get(f"{url}/v1/models").json()["data"]] == ["innersearch/agent"]
    session = httpx2.post(f"{url}/sessions", json={"question": QUESTION}).json()["url"]
    assert [m["id"] for m in httpx2.get(f"{session}/v1/models").json()["data"]] == ["innersearch/policy"]


def test_a_session_has_a_model_a_search_and_a_trajectory(url: str) -> None:
    session = httpx2.post(f"{url}/sessions", json={"question": QUESTION, "golden_answers": ["Zisara"]})
    base = session.json()["url"]
    first = ask(base, stop=["</search>"]).json()["choices"][0]["message"]["content"]
    assert "<search>" in first
    assert "</search>" not in first
    rows = httpx2.post(f"{base}/retrieve", json={"queries": ["spouse of Nemie"], "topk": 1}).json()
    assert "Zisara" in json.dumps(rows)
    messages = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": f"{first}</search>"},
        {"role": "tool", "content": f"<information> {PAGE.text}</information>"},
    ]
    ask(base, messages=messages)
    trajectory = httpx2.get(f"{base}/trajectory").json()
    assert trajectory["agent"]["requests"] == 2
    [segment], [call] = trajectory["segments"], trajectory["calls"]
    assert (call["input"], call["turn"]) == ("spouse of Nemie", 0)
    assert sum(segment["sampled_mask"]) == sum(value is not None for value in segment["logprobs"])
    assert trajectory["question"]["golden_answers"] == ["Zisara"]


def test_a_request_whose_client_leaves_is_no_part_of_the_trajectory(url: str) -> None:
    base = httpx2.post(f"{url}/sessions", json={"question": QUESTION}).json()["url"]
    body = {"messages": [{"role": "user", "content": QUESTION}], "n": 16}
    with pytest.raises(httpx2.TimeoutException):
        httpx2.post(f"{base}/v1/chat/completions", json=body, timeout=httpx2.Timeout(30, read=0.001))
    for _ in range(1000):
        trajectory = httpx2.get(f"{base}/trajectory").json()
        if trajectory["agent"]["abandoned"]:
            break
    assert trajectory["agent"] == {
        "requests": 0,
        "refused": 0,
        "abandoned": 1,
        "printed": 0,
        "seconds": 0.0,
    }
    assert trajectory["segments"] == []


class Browser:
    """Chromium, told what to do over the protocol of its driver."""

    def __init__(self, driver: str, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
        options = {"goog:chromeOptions": {"binary": CHROMIUM, "args": flags}}
        self._process = subprocess.Popen(
            [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        transport = httpx2.HTTPTransport(retries=8)
        base = f"http://127.0.0.1:{port}"
        self._client = httpx2.Client(base_url=base, timeout=120, transport=transport)
        asked = {"capabilities": {"alwaysMatch": options}}
        self._session = (
            f"/session/{self._client.post('/session', json=asked).json()['value']['sessionId']}"
        )

    def go(self, url: str) -> None:
        self._client.post(f"{self._session}/url", json={"url": url})

    def run(self, script: str) -> Any:
        body = {"script": script, "args": []}
        return self._client.post(f"{self._session}/execute/sync", json=body).json()["value"]

    def wait(self, script: str) -> None:
        """Until a script says that something is so."""
        for _ in range(600):
            if self.run(f"return Boolean({script})"):
                return
            time.sleep(0.1)
        raise AssertionError(f"it never came: {script}")

    def close(self) -> None:
        self._client.delete(self._session)
        self._client.close()
        self._process.terminate()
        self._process.wait()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    driver = shutil.which("chromedriver")
    if CHROMIUM is None or driver is None:
        pytest.skip("no chromium with its driver on this machine")
    opened = Browser(driver, tmp_path)
    yield opened
    opened.close()


BLOCKS = """const blocks = [...document.querySelectorAll("article:first-child .block")];
return blocks.map(block => [block.className, ...[...block.children].map(part => part.textContent),
    getComputedStyle(block).borderLeftColor]);"""


def test_the_page_shows_what_it_writes_in_colour(url: str, browser: Browser) -> None:
    browser.go(url)
    browser.run(
        """document.getElementById("question").value = "Who is the spouse of Nemie?";
        document.getElementById("budget").value = "3";
        document.getElementById("ask").click();"""
    )
    browser.wait('document.getElementById("status").textContent.startsWith("Done")')
    blocks = browser.run(BLOCKS)
    assert [(kind, label) for kind, label, _, _ in blocks] == [
        ("block think", "thought"),
        ("block search", "search"),
        ("block information", "information (found)"),
        ("block think", "thought"),
        ("block answer", "answer"),
    ]
    assert blocks[-1][2] == "Zisara"
    assert not any("<" in text for _, _, text, _ in blocks)
    assert len({colour for *_, colour in blocks}) == 4
    assert browser.run('return document.querySelector("article a").href') == PAGE.url
    status = browser.run('return document.getElementById("status").textContent')
    assert status == "Done: 1 search, ended by answer."
    # Then from its own memory, as part of the same conversation.
    browser.run(
        """document.getElementById("mode").value = "self";
        document.getElementById("question").value = "Who taught Nemie?";
        document.getElementById("form").requestSubmit();"""
    )
    browser.wait('document.querySelectorAll("article").length === 2 && !running')
    assert browser.run("return messages.length") == 4
    browser.run('document.getElementById("anew").click()')
    assert browser.run('return document.querySelectorAll("article").length + messages.length') == 0


def test_the_page_says_what_went_wrong(url: str, browser: Browser) -> None:
    browser.go(f"{url}/?q={'a+' * 900}")
    browser.wait('document.querySelector("article .error")')
    said = browser.run('return document.querySelector("article .error").textContent')
    assert "tokens, and" in said


def test_the_page_says_what_can_be_chosen_and_trusts_nobody(url: str) -> None:
    response = httpx2.get(url)
    assert "default-src 'none'" in response.headers["content-security-policy"]
    setup = json.loads(re.search(r'id="setup">(.*?)</script>', response.text)[1])
    assert setup == {
        "model": "innersearch/agent",
        "modes": ["self", "always"],
        "mode": "always",
        "token": False,
    }
    assert "innerHTML" not in response.text
    for name in ("question", "mode", "budget"):
        assert re.search(rf'<label(?: for="{name}"|[^>]*>[^<]*<\w+ id="{name}")', response.text)
