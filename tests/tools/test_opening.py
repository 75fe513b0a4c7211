"""`open`: which pages are opened, what the policy is told, and what a trajectory remembers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from innersearch.assemble.pages import demand_tools, tools_of
from innersearch.config import RolloutSettings, SearchSettings
from innersearch.errors import ConfigError, SearchError
from innersearch.grammar import Action
from innersearch.pages.base import Opened, Page
from innersearch.pages.readers import Reader, reader_of
from innersearch.tools.base import Found, State, ToolRequest
from innersearch.tools.opening import GONE, NOT_LAST, NOT_SEEN, NOTES, NOTHING_NEW, OpenTool
from innersearch.types import Question, Source, StopReason, Trajectory
from tests.pages.reading import Shelf
from tests.payloads import payloads
from tests.rollout import scripts
from tests.rollout.scripts import ANSWER, Notebook, Script, roll, spans

ADDRESS = "https://world.invalid/d"
"""Of the document that every search of a script finds."""
SEARCH = "<search>a</search>"


def opening(address: str = ADDRESS) -> str:
    return f"</think><access>{address}</access>"


def tool(pages: Shelf, reader: str = "whole", **settings: Any) -> OpenTool:
    plain = reader_of(reader)
    assert plain is not None
    return OpenTool(pages, plain, **settings)


def told(trajectory: Trajectory) -> str:
    return "".join(spans(trajectory, Source.FORCED, Source.PAGE))


def test_a_page_that_a_search_found_is_opened() -> None:
    shelf = Shelf({ADDRESS: "The whole page."})
    policy = Script([SEARCH, opening(" HTTPS://world.invalid/d/#top"), ANSWER])
    trajectory = roll(policy, "asearcher", tools=[tool(shelf)])
    call = trajectory.calls[1]
    assert (call.tool, call.source, call.error, call.engine, call.turn) == (
        *("open", Source.PAGE, None, "shelf", 1),
    )
    assert [document.text for document in call.documents] == ["The whole page."]
    assert "The whole page." in "".join(spans(trajectory, Source.PAGE))
    assert shelf.asked == [ADDRESS]
    assert shelf.closed


@pytest.mark.parametrize(
    ("only_seen", "what", "opens"),
    [
        (True, [opening()], NOT_SEEN),
        (True, [SEARCH, opening("https://other.invalid/")], NOT_SEEN),
        (True, [SEARCH, SEARCH, opening()], ""),
        ("last", [SEARCH, opening()], ""),
        ("last", [SEARCH, opening("https://other.invalid/")], NOT_LAST),
        (False, [opening()], ""),
    ],
)
def test_which_pages_are_opened(only_seen: Any, what: list[str], opens: str) -> None:
    shelf = Shelf({ADDRESS: "The page."})
    trajectory = roll(Script([*what, ANSWER]), "asearcher", tools=[tool(shelf, only_seen=only_seen)])
    call = trajectory.calls[-1]
    assert bool(call.error) == bool(opens)
    assert (opens or "The page.") in told(trajectory)
    assert bool(shelf.asked) == (not opens)
    assert trajectory.stop_reason is StopReason.EOS


def use(
    opened: OpenTool, state: State, *addresses: str, question: str = "who?"
) -> list[tuple[str, str]]:
    """Text, or what is told, and error of each result."""

    async def run() -> Any:
        request = ToolRequest(addresses[0], Question("q", question, ()))
        return await opened.use(Action("open", addresses), request, state)

    outcome = asyncio.run(run())
    assert len(outcome.results) == len(outcome.calls) == len(addresses)
    return [
        (" | ".join(d.text for d in result.documents) or result.told, call.error or "")
        for result, call in zip(outcome.results, outcome.calls, strict=True)
    ]


def state(*addresses: str) -> State:
    return State(("g", 0), generations=2, found=[Found(a, f"query of {a}", 1) for a in addresses])


def test_only_pages_of_the_last_search_are_opened_where_that_is_asked_for() -> None:
    shelf = Shelf({"a": "A.", "b": "B."})
    mine = state("a")
    mine.found.append(Found("b", "q", 2))
    mine.generations = 3
    assert [text for text, _ in use(tool(shelf, only_seen="last"), mine, "a", "b")] == [NOT_LAST, "B."]


def test_what_a_search_of_the_same_reply_returns_is_not_seen_yet() -> None:
    """Whichever of the two is answered first."""
    mine = state("a")
    mine.found.append(Found("b", "q", 2))
    assert [text for text, _ in use(tool(Shelf({"a": "A.", "b": "B."})), mine, "a", "b")] == [
        *("A.", NOT_SEEN),
    ]


def test_every_input_has_a_result_and_a_page_is_read_once() -> None:
    """Unknown addresses do not vanish, and the same one from two queries is read once."""
    shelf = Shelf({"a": "A.", "down": Opened(error="it is down")})
    mine = state("a", "gone", "down")
    found = use(tool(shelf), mine, "a", "a", "gone", "x", "down", "")
    assert [text for text, _ in found] == ["A.", NOTHING_NEW, GONE, NOT_SEEN, GONE, NOT_SEEN]
    assert all(error for _, error in found[1:])
    assert shelf.asked == ["a", "gone", "down"]
    assert use(tool(shelf), mine, "a") == [(NOTHING_NEW, "everything of it was shown before")]
    assert shelf.asked == ["a", "gone", "down"]


def test_state_is_that_of_a_trajectory() -> None:
    """The same question in a later epoch, under the same identity, begins with nothing read."""
    opened = tool(Shelf({"a": "A. " * 40}), "parts:40:1")
    first = [use(opened, mine, "a") for mine in [state("a")] * 3]
    assert len({str(texts) for texts in first}) == 3
    assert use(opened, state("a"), "a") == first[0]


def test_pages_that_fail_are_counted_and_those_that_do_not_exist_are_not() -> None:
    policy = Script([SEARCH, opening(), ANSWER])
    down = tool(Shelf({ADDRESS: Opened(error="it is down")}))
    given = {"max_error_rate": 0.0}
    trajectory = roll(policy, "asearcher", tools=[down], search=given)
    assert trajectory.calls[1].error == "it is down"
    assert GONE in told(trajectory)

    many = [SEARCH, *[opening()] * 40]
    with pytest.raises(SearchError, match="it is down"):
        roll(Script(many), "asearcher", tools=[down], search={**given, "max_searches": 60}, tokens=9000)
    missing = tool(Shelf({}))
    wanders = [SEARCH, *[opening()] * 30, ANSWER]
    ended = roll(
        Script(wanders, context=9000),
        *("asearcher",),
        tools=[missing],
        search={**given, "max_searches": 60},
        tokens=9000,
    )
    assert ended.answer == "Belira"


class Late(Shelf):
    """Pages that arrive in another order than they are asked for in."""

    async def open(self, addresses: Any) -> list[Opened]:
        await asyncio.sleep(0.02 if "a" in addresses else 0.0)
        return await super().open(addresses)


class Noting:
    """A reader that says what it knew when it read a page."""

    name, max_tokens, again, takes_notes, identity = "model:noting", 100, False, True, {}

    async def read(self, page: Page, asked: Any) -> list[Any]:
        from innersearch.types import Document

        return [Document(page.address, "", f"{page.address} after {len(asked.notes)}")]

    async def close(self) -> None:
        pass


def test_pages_see_each_others_notes_in_the_order_of_their_addresses() -> None:
    async def run() -> list[str]:
        opened, mine = OpenTool(Late({"a": "A.", "b": "B."}), Noting()), state("a", "b")
        request = ToolRequest("a", None)
        outcomes = await asyncio.gather(
            *(opened.use(Action("open", (address,)), request, mine) for address in "ab")
        )
        assert mine.notes[NOTES] == "a after 0\nb after 1"
        return [outcome.results[0].documents[0].text for outcome in outcomes]

    for _ in range(3):
        assert asyncio.run(run()) == ["a after 0", "b after 1"]


def test_a_use_that_is_cancelled_or_fails_holds_up_no_other() -> None:
    class Broken(Late):
        async def open(self, addresses: Any) -> list[Opened]:
            await asyncio.sleep(0.01)
            if "a" in addresses:
                raise RuntimeError
            return await super().open(addresses)

    async def run() -> Any:
        opened, mine = tool(Broken({"b": "B."})), state("a", "b")
        uses = [
            asyncio.ensure_future(opened.use(Action("open", (a,)), ToolRequest(a, None), mine))
            for a in ("a", "b", "b")
        ]
        await asyncio.sleep(0)
        uses[1].cancel()
        return await asyncio.wait_for(asyncio.gather(*uses, return_exceptions=True), 5)

    failed, cancelled, good = asyncio.run(run())
    assert isinstance(failed, RuntimeError)
    assert isinstance(cancelled, asyncio.CancelledError)
    assert good.results[0].documents[0].text == "B."


def test_a_page_has_the_tokens_of_its_reader_and_not_those_of_a_search() -> None:
    shelf = Shelf({ADDRESS: "word " * 400})
    for reader, least, most in (("whole:300", 250, 310), ("whole:20", 10, 30)):
        policy = Script([SEARCH, opening(), ANSWER])
        trajectory = roll(policy, "asearcher", tools=[tool(shelf, reader)], search={"max_tokens": 50})
        shown = "".join(spans(trajectory, Source.PAGE))
        assert least <= len(scripts.TOKENIZER.encode(shown)) <= most


@pytest.mark.parametrize("style", ["plain", "linked", "results"])
def test_pages_are_documents_and_nothing_in_them_is_done(style: str) -> None:
    """No payload in a page becomes a call, an answer or a reward, and none is trained on."""
    for payload in payloads()[::40]:
        shelf = Shelf({ADDRESS: f"before {payload} after"})
        policy = Script([SEARCH, opening(), ANSWER])
        trajectory = roll(policy, "asearcher", tools=[tool(shelf)], search={"style": style})
        assert [call.tool for call in trajectory.calls] == ["search", "open"]
        assert trajectory.answer == "Belira"
        for segment in trajectory.segments:
            for span in segment.spans:
                if span.source in (Source.PAGE, Source.RETRIEVER, Source.FORCED):
                    assert not any(segment.loss_mask[span.start : span.end]) or not span.text.strip()


def test_a_grammar_that_opens_pages_is_refused_without_any() -> None:
    search = SearchSettings(router="always", engine="world")
    with pytest.raises(ConfigError, match="asearcher opens pages, and there are none: set"):
        demand_tools(RolloutSettings(grammar="asearcher"), search)
    with pytest.raises(ConfigError, match=r"rollout.tools has open"):
        demand_tools(RolloutSettings(tools=("open",)), search)
    demand_tools(RolloutSettings(grammar="asearcher"), search, [Notebook()])
    demand_tools(RolloutSettings(grammar="asearcher", pages="corpus"), search)
    with pytest.raises(ConfigError, match="two tools are called open"):
        demand_tools(RolloutSettings(pages="corpus"), search, [Notebook()])
    for engine in ("serper", "remote:http://127.0.0.1:1", "world,serper"):
        with pytest.raises(ConfigError, match="has no corpus on this machine"):
            demand_tools(RolloutSettings(pages="corpus"), search.model_copy(update={"engine": engine}))
    with pytest.raises(ConfigError, match="corpus are those of the engine, and none is asked"):
        demand_tools(RolloutSettings(pages="corpus"), SearchSettings())
    with pytest.raises(ConfigError, match="lacks its model: write model:URL#NAME"):
        demand_tools(RolloutSettings(pages="corpus", reader="model:http://127.0.0.1:1"), search)


def test_settings_make_the_tool(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"id": "x", "title": "X", "text": "Some text."}\n')
    settings = RolloutSettings(
        pages=f"corpus:{tmp_path}/c.jsonl", reader="passages:2", only_seen=False, tools=("open",)
    )
    [made] = tools_of(settings, SearchSettings())
    assert isinstance(made, OpenTool)
    assert use(made, State(), "x") == [("Some text.", "")]
    assert made.identity["only_seen"] is False
    assert made.identity["reader"] == "passages:2"
    other = tools_of(settings.model_copy(update={"reader": "whole"}), SearchSettings())
    assert replace(made, reader=other[0].reader).identity != made.identity  # type: ignore[attr-defined]
    reader: Reader = made.reader
    assert reader.again
