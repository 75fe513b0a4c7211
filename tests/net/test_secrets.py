"""No key is shown or kept, wherever it is read, whatever it looks like, and however a call fails."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import logging
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innersearch.assemble.policies import open_policy
from innersearch.cli import main
from innersearch.cli.options import SearchOptions
from innersearch.config import Recipe, SearchSettings, SimulatorSettings
from innersearch.config.conventions import USUAL
from innersearch.errors import InnersearchError, SearchError
from innersearch.net.keys import Key
from innersearch.net.patience import CallSettings
from innersearch.policy.servers import KEY_VARIABLE as POLICY
from innersearch.policy.servers import Patience, Servers
from innersearch.runs import Run
from innersearch.search.index.embeddings import KEY_VARIABLE as EMBEDDINGS
from innersearch.search.index.embeddings import RemoteEncoder
from innersearch.search.remote.dialects import DIALECTS
from innersearch.search.remote.retrieve import RemoteEngine
from innersearch.search.remote.web import WebEngine
from innersearch.search.wrappers.budget import Budget, Budgeted
from innersearch.search.wrappers.cached import CachedEngine
from innersearch.search.wrappers.reliable import Reliable
from innersearch.simulator.writers import KEY_VARIABLE as SIMULATOR
from innersearch.simulator.writers import ChatWriter, Prompt
from tests.search_servers import Answer, LocalServer

SANE = "sk-3f/a+b=c&d'e\"f<g>\\h%41~i"
ODD = (
    *("line\nbreak-key-1", "tab\there-key-22", "schlüssel-key-3", "blanks-in the-key-88"),
    *("emoji-🔑-key-55", "esc-\x1b[31m-key-99", "del-\x7f-key-666", "full-\uff0dwidth-12"),
)
FAST = CallSettings(
    deadline_s=5.0, tries=2, open_after=2, backoff_s=0.001, probe_s=0.001, max_outage_s=0.002
)


def spellings(key: str) -> list[str]:
    """How an echo may write it."""
    escaped = json.dumps(key)[1:-1]
    return [
        key,
        *(quote(key), quote(key, safe=""), quote_plus(key), quote(quote(key, safe=""), safe="")),
        *(
            re.sub("%..", lambda match: match[0].lower(), quote(key, safe="")),
            escaped,
            escaped.replace("/", "\\/"),
        ),
        *("".join(f"\\u{ord(c):04x}" for c in key), "".join(f"\\u{ord(c):04X}" for c in key)),
        *(html.escape(key), html.escape(html.escape(key)), "".join(f"&#{ord(c)};" for c in key)),
        *("".join(f"&#x{ord(c):X};" for c in key), key.encode().hex(), key.encode().hex().upper()),
        *(base64.b64encode(before + key.encode()).decode() for before in (b"", b"a", b"ab", b"abc")),
        base64.b64encode(f"Bearer {key}".encode()).decode(),
        base64.b64encode(f"u:{key}!".encode()).decode(),
        base64.urlsafe_b64encode(key.encode()).decode(),
        repr(key),
    ]


class Asking:
    """One place that reads a key: its variable, and how a call of it is made."""

    def __init__(self, variable: str, ask: Callable[[str, Path], Awaitable[Any]]) -> None:
        self.variable, self.ask = variable, ask


def _searching(name: str) -> Asking:
    async def ask(url: str, folder: Path) -> Any:
        budget = Budget(usd=1, path=folder / "budget.json")
        inner = Reliable(Budgeted(WebEngine(name, base_url=url), budget), FAST)
        engine = CachedEngine(inner, folder / "cache.sqlite", "record")
        try:
            return await engine.search(["q"], 3), engine.identity, vars(inner)
        finally:
            await engine.close()

    return Asking(str(DIALECTS[name].key_variable), ask)


async def _retrieve(url: str, folder: Path) -> Any:
    engine = Reliable(RemoteEngine(url, key_variable="RETRIEVER_KEY"), FAST)
    try:
        return await engine.search(["q"], 3), vars(engine)
    finally:
        await engine.close()


async def _embed(url: str, folder: Path) -> Any:
    encoder = RemoteEncoder(url, "m", calls=FAST)
    try:
        return await asyncio.to_thread(encoder.encode, ["a", "b"], "passage"), vars(encoder)
    finally:
        await asyncio.to_thread(encoder.close)


async def _simulate(url: str, folder: Path) -> Any:
    writer = ChatWriter(url, "m", SimulatorSettings(mode="prompted"), FAST)
    try:
        return await writer.write(Prompt("p"), ("s",)), vars(writer)
    finally:
        await writer.close()


def _policy(method: str) -> Asking:
    patience = Patience(5.0, 2, 0.001, open_after=2, probe_s=0.001, max_outage_s=0.002)

    async def ask(url: str, folder: Path) -> Any:
        servers = Servers([url], 4, patience)
        try:
            call = servers.get("models") if method == "GET" else servers.post("completions", {"a": 1})
            return await call, vars(servers)
        finally:
            await servers.close()

    return Asking(POLICY, ask)


PLACES = {
    **{name: _searching(name) for name, dialect in DIALECTS.items() if dialect.key_variable},
    "remote": Asking("RETRIEVER_KEY", _retrieve),
    "embeddings": Asking(EMBEDDINGS, _embed),
    "simulator": Asking(SIMULATOR, _simulate),
    "policy": _policy("POST"),
    "models": _policy("GET"),
}

ECHO = " and ".join(spellings(SANE))
PATHS: dict[str, Answer | None] = {
    **{
        f"http {status}": Answer({"error": ECHO}, status)
        for status in (400, 401, 403, 404, 418, 500, 503)
    },
    "429": Answer({"error": ECHO}, 429, {"Retry-After": "99999"}),
    "raw 400": Answer(ECHO.encode(), 400),
    "utf-16": Answer(f'{{"error": "{quote(SANE)} {SANE[:9]}"}}'.encode("utf-16"), 400),
    "no json": Answer(ECHO.encode()),
    "another json": Answer([ECHO]),
    "an error in 200": Answer({"error": ECHO, "message": ECHO, "detail": ECHO}),
    "as field names": Answer({ECHO: ECHO}),
    "redirect": Answer({}, 307, {"Location": f"http://h/{quote(SANE, safe='')}/{quote(SANE)}?k={SANE}"}),
    "in a header": Answer({}, 500, {"X-Echo": SANE, "Retry-After": SANE}),
    "cut": Answer(ECHO.encode(), 200, {"content-length": "99999"}),
    "bad gzip": Answer(ECHO.encode(), 200, {"content-encoding": "gzip"}),
    "nobody": None,
}


def shown(caught: BaseException) -> str:
    """All that a user or a record could see of an error."""
    return f"{caught} {caught!r} {caught.args} {vars(caught)}"


def leaks(text: str) -> list[str]:
    return [spelling for spelling in spellings(SANE) if spelling in text]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("place", PLACES)
def test_a_key_is_nowhere_however_a_call_fails(
    place: str,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    asking, answer = PLACES[place], PATHS[path]
    monkeypatch.setenv(asking.variable, SANE)
    with caplog.at_level(logging.DEBUG), LocalServer(lambda asked: answer or Answer({})) as server:
        url = server.url
        if answer is None:
            server.stop()
        try:
            told = repr(asyncio.run(asking.ask(url, tmp_path)))
        except InnersearchError as error:
            told = shown(error)
    printed = capfd.readouterr()
    files = b" ".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    everything = " ".join([told, caplog.text, printed.out, printed.err, files.decode("latin-1")])
    assert leaks(everything) == []


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("key", ODD, ids=ascii)
def test_an_odd_key_is_one_line_that_names_its_variable(
    place: str, key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asking = PLACES[place]
    monkeypatch.setenv(asking.variable, key)
    with pytest.raises(InnersearchError, match=asking.variable) as caught:
        asyncio.run(asking.ask("http://127.0.0.1:1", tmp_path))
    assert "\n" not in str(caught.value)
    for part in {key, *key.split(), key[-5:], key[:5]}:
        assert part not in shown(caught.value)


@settings(max_examples=25, deadline=None)
@given(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=40),
    st.text(max_size=6),
    st.text(max_size=6),
)
def test_any_spelling_of_any_key_is_blotted(key: str, before: str, behind: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOME_KEY", key)
        blot = Key("SOME_KEY", "it").blot
        for spelling in spellings(key):
            left = blot(f"{before} {spelling} {behind}")
            assert key not in left
            # What encodes blocks of three bytes may leave a rest of the first and last of them.
            assert len(left) < len(before) + len(behind) + len(spelling) or "[key]" in left
            assert "[key]" in left


def test_users_and_queries_of_addresses_reach_neither_screen_nor_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """On the command line, for every kind of address."""
    secret = "hidden-password-77"
    place = f"http://me:{secret}@127.0.0.1:1/x"
    engines = [f"{kind}:{place}" for kind in ("remote", "searxng", "serper", "x", "dense:d@", "bm25")]
    engines += [place, f"simulated:{place}#m", f"remote:http://127.0.0.1:{secret}/"]
    engines += [f"remote:http://127.0.0.1:1/?token={secret}", f"simulated:{place}", f"dense:d@{place}#m"]
    monkeypatch.chdir(tmp_path)
    for line in (
        *(["search", engine, "q"] for engine in engines),
        ["data", "get", "nq", "--from", f"{place}/test.jsonl"],
    ):
        assert main(line) == 1
    for engine in (f"remote:{place}", f"exa:{place}"):
        with pytest.raises(SearchError) as caught:
            SearchOptions(search="always", engine=engine).choice().settings("m", USUAL)
        assert secret not in shown(caught.value)
    for policy in (f"http:{place}", f"htp:{place}", f"chat:{place}#m", f"http:http://h,{place}"):
        with pytest.raises(InnersearchError) as caught:
            open_policy(policy, "nowhere", None)
        assert secret not in shown(caught.value)
    printed = capfd.readouterr()
    assert secret not in printed.out + printed.err
    assert "Traceback" not in printed.err
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or secret.encode() not in file.read_bytes()


def test_a_recipe_with_a_password_is_not_recorded(tmp_path: Path) -> None:
    for engine in ("remote:http://me:hidden-77@h", "bm25:x,dense:d@https://hidden-77@h/v1#m"):
        recipe = Recipe(search=SearchSettings(engine=engine))
        with pytest.raises(SearchError, match="no user or password") as caught:
            Run.start(tmp_path / "run", recipe, resume=False)
        assert "hidden-77" not in str(caught.value)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]
