"""Names become objects once; what is not given is what the model expects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from innersearch.assemble.choices import SearchChoice, cached_in
from innersearch.assemble.models import conventions_named, conventions_of, model_path, usual_length
from innersearch.assemble.policies import parse_policy
from innersearch.cli.options import SearchOptions
from innersearch.config import Recipe, SearchSettings
from innersearch.config.conventions import USUAL, Conventions
from innersearch.errors import ConfigError
from innersearch.evaluate.protocols import Choices, follow
from innersearch.policy.loading import load_tokenizer
from innersearch.routing.gate import save_gate
from innersearch.routing.router import parse_router
from innersearch.world_1.bundled import BUNDLED
from innersearch.world_1.conventions import WORLD

OF_WORLD = {"engine": "world-1", "k": 1, "style": "plain", "stop_at_answer": False}
OF_OTHERS = {"engine": "", "k": 3, "style": "search-r1", "stop_at_answer": True}


@pytest.mark.parametrize(("conventions", "expected"), [(WORLD, OF_WORLD), (USUAL, OF_OTHERS)])
def test_what_is_not_chosen_is_what_the_model_expects(
    conventions: Conventions, expected: dict[str, Any]
) -> None:
    settings = SearchOptions(search="always").choice().settings("m", conventions)
    assert settings.model_dump(include=set(expected)) == expected
    chosen = SearchOptions(search="first:2", engine="serper", k=7, noise=0.25).choice()
    settings = chosen.settings("m", conventions)
    assert (settings.router, settings.engine, settings.k) == ("first:2", "serper", 7)
    assert (settings.noise.curve, settings.noise.end) == ("constant", 0.25)
    assert settings.simulator.prompt == ("simulator-world" if conventions is WORLD else "simulator")
    assert settings.style == expected["style"]


def test_a_model_is_known_by_its_tokenizer_wherever_it_lies() -> None:
    tokenizer = load_tokenizer(str(BUNDLED))
    assert conventions_of(tokenizer) is WORLD
    assert conventions_of(None) is USUAL
    assert (conventions_named("world-1"), conventions_named("runs/x")) == (WORLD, USUAL)
    assert model_path("world-1") == str(BUNDLED)
    assert [usual_length(prompt) for prompt in ("world", "world-direct", "ssrl")] == [256, 256, 4096]
    asked = {"direct": True}, {"real": True}, {}
    assert [WORLD.asks(**how) for how in asked] == ["world-direct", "world", "world"]
    assert [USUAL.asks(**how) for how in asked] == ["direct", "search-r1", "ssrl"]


def test_a_gate_is_read_where_its_model_is_known(tmp_path: Path) -> None:
    save_gate(tmp_path, {"signal": "min-prob", "threshold": 0.125})
    choice = SearchOptions(search="hybrid").choice()
    assert choice == SearchChoice(rule=None, given={"offline": False, "cache": ""})
    assert choice.settings(str(tmp_path), WORLD).router == "gate:min-prob:0.125"
    assert not choice.only_real
    assert SearchOptions(search="bm25:x").choice().only_real
    assert SearchOptions().choice() is None


def test_a_setting_keeps_its_text_and_says_what_it_stands_for() -> None:
    settings = SearchSettings(router="first:01", engine=' bm25:"a,b" ,serper#per_second=2')
    assert settings.model_dump()["router"] == "first:01"
    assert settings.rule is SearchSettings(router="first:01").rule is parse_router("first:01")
    assert [(name.kind, name.place) for name in settings.engines] == [
        ("bm25", "a,b"),
        ("serper", "#per_second=2"),
    ]
    changed = settings.model_copy(update={"router": "self"})
    assert (settings.rule.asks, changed.rule.asks) == (True, False)
    for wrong, message in (
        ({"router": "alwys"}, "did you mean 'always'"),
        ({"engine": 'a"'}, "not closed"),
    ):
        with pytest.raises(ValidationError, match=message):
            Recipe.model_validate({"search": wrong})


def test_only_what_costs_money_is_kept(tmp_path: Path) -> None:
    paid, free = SearchSettings(engine="bm25:x,serper"), SearchSettings(engine="bm25:x")
    assert cached_in(paid, tmp_path).cache == str(tmp_path / "searches.sqlite")
    assert cached_in(free, tmp_path) is free
    mine = SearchSettings(engine="serper", cache="mine.sqlite")
    assert cached_in(mine, tmp_path) is mine
    assert cached_in(None, tmp_path) is None


def test_policies_are_known_before_anything_is_opened() -> None:
    chat = parse_policy("chat:http://h/v1#m")
    assert (chat.own, chat.name.urls, chat.name.model) == (False, ("http://h/v1",), "m")
    assert parse_policy("http:http://a,http://b#m").name.urls == ("http://a", "http://b")
    assert parse_policy("https://a").name == parse_policy("https://a").name
    for wrong in ("vllm:8", "chat:http://x", "http:", "transformers:cuda"):
        with pytest.raises(
            ConfigError, match=r"write transformers, vllm, http:URL\[,URL\]\[#NAME\] or chat"
        ):
            parse_policy(wrong)


def test_a_protocol_fills_in_and_does_not_choose_the_prompt_of_direct_answers() -> None:
    given = Choices(data="", prompt=None, max_new_tokens=0, subset=None, direct=True)
    assert follow(given, "ssrl").prompt is None
    search = SearchChoice(rule=parse_router("always"), engine="serpapi", given={"k": 2})
    used = follow(
        Choices(data="", prompt=None, max_new_tokens=0, subset=None, search=search), "zerosearch"
    )
    assert used.search.given == {"k": 2, "max_searches": 5}
    assert (used.departures, used.only_real, used.prompt) == ("k 2", True, "search-r1")
