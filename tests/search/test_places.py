"""Engines over the network by name: with the options that stood in Python only."""

from __future__ import annotations

from pathlib import Path

import pytest

from innersearch.assemble.engines import open_engine, price_usd
from innersearch.cli import main
from innersearch.config import SearchSettings
from innersearch.config.names import EngineName, engine_names
from innersearch.errors import ConfigError, SearchError
from innersearch.net.patience import CallSettings
from innersearch.search.remote.places import Place
from innersearch.search.remote.places import read_place as place_of
from tests.search_servers import KEY, Answer, LocalServer, api, ask, retrieve


def read_place(text: str) -> Place:
    return place_of(EngineName.parse(text))


def test_a_name_is_taken_apart() -> None:
    at = read_place("remote:http://host:1/x#single&key=TOKEN_1&deadline=2.5&version=wiki%2018%2C%20e5")
    assert (at.kind, at.address) == ("remote", "http://host:1/x")
    assert at.remote == {"singular": True, "key_variable": "TOKEN_1", "version": "wiki 18, e5"}
    assert at.patience(CallSettings(in_flight=3)) == CallSettings(in_flight=3, deadline_s=2.5)
    paced = read_place("brave#per_second=1&in_flight=2")
    assert (paced.address, paced.remote) == ("", {})
    assert paced.patience(CallSettings()) == CallSettings(per_second=1.0, in_flight=2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("remote:http://h#", "nothing follows the #"),
        ("remote:http://h#singel", "did you mean 'single'"),
        ("serper#single", "has no option 'single'"),
        ("remote:http://h#deadline=0", "seconds above 0"),
        ("remote:http://h#deadline=nan", "seconds above 0"),
        ("remote:http://h#deadline", "seconds above 0"),
        ("remote:http://h#batch=x", "a number from 1"),
        ("remote:http://h#in_flight=1e9", "a number from 1"),
        ("remote:http://h#single=no", "without a value"),
        ("remote:http://h#batch=1&batch=2", "given twice"),
        ("remote:http://h#version=", "some words"),
    ],
)
def test_options_that_cannot_be(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_place(name)


def test_a_key_in_place_of_its_variable_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match="environment variable") as refused:
        read_place("remote:http://h#key=sk-live-0123456789")
    assert "0123" not in str(refused.value)
    with pytest.raises(SearchError, match="NO_SUCH_TOKEN"):
        open_engine(SearchSettings(engine="remote:http://127.0.0.1:1#key=NO_SUCH_TOKEN"))


def test_a_retriever_that_takes_one_query_and_a_token_can_be_searched_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RETRIEVER_TOKEN", KEY)
    with LocalServer(lambda asked: Answer([{"text": "Lima is it."}])) as server:
        engine = f"remote:{server.url}#single&key=RETRIEVER_TOKEN&deadline=9"
        assert main(["search", engine, "capital of Peru"]) == 0
    assert "Lima is it." in capsys.readouterr().out
    assert server.asked[0].values["query"] == "capital of Peru"
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"


def test_options_change_how_an_engine_is_asked_and_not_what_it_is(tmp_path: Path) -> None:
    with LocalServer(retrieve) as server:
        plain = open_engine(SearchSettings(engine=f"remote:{server.url}"))
        engine = open_engine(SearchSettings(engine=f"remote:{server.url}#batch=1&in_flight=2"))
        assert engine.identity == plain.identity
        assert len(ask(engine, *"abc")) == 3
        ask(plain)
    assert [len(asked.values["queries"]) for asked in server.asked] == [1, 1, 1]


def test_a_longer_deadline_bears_a_longer_silence() -> None:
    for name in ("remote:http://127.0.0.1:1", "searxng:http://127.0.0.1:1"):
        engine = open_engine(SearchSettings(engine=f"{name}#deadline=120"))
        inner = engine._engine
        inner = getattr(inner, "_engine", inner)
        assert inner._connections.client.timeout.read == 120


def test_an_api_with_options_keeps_its_price(monkeypatch: pytest.MonkeyPatch) -> None:
    assert price_usd(engine_names("serper#per_second=2")) == price_usd(engine_names("serper")) > 0
    monkeypatch.setenv("SERPER_API_KEY", KEY)
    with LocalServer(api("serper")) as server:
        [result] = ask(open_engine(SearchSettings(engine=f"serper:{server.url}#per_second=50")), "q")
    assert len(result.documents) == 2


def test_a_metasearch_without_its_address_says_how_to_write_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["search", "searxng", "capital of Peru"]) == 1
    assert "searxng:URL" in capsys.readouterr().err
