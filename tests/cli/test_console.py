"""What other people's text may do to a terminal: nothing."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from innersearch.cli.console import SafeConsole, printable
from innersearch.cli.progress import Display

HOSTILE = {
    "\x1b]52;c;aGVsbG8=\x07": "",
    "\x1b]52;c;aGVsbG8=\x1b\\": "",
    "\x9d52;c;aGVsbG8=\x9c": "",
    "\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\": "link",
    "\x1b[31mred\x1b[0m\x1b[2J\x1b[1;1H": "red",
    "\x9b31mred": "red",
    "\x1bP1$r0m\x1b\\": "",
    "\x1bcreset\x1b(0": "reset",
    "\x1b]0;never closed": "]0;never closed",
    "good\rbad": "good\nbad",
    "a\x08\x08b\x7f\x00": "ab",
    "abc\u202etxt.exe": "abctxt.exe",
    "\u2066x\u2069\u200f": "x",
    "two\x0blines\u2028more": "two\nlines\nmore",
    "hidden\U000e0041\U000e0042": "hidden",
    "\ud800": "\ufffd",
}


@pytest.mark.parametrize("text", HOSTILE)
def test_sequences_controls_and_overrides_are_taken_off(text: str) -> None:
    assert printable(text) == HOSTILE[text]


@pytest.mark.parametrize("text", ["क्‍ष", "می‌روم", "👩‍👩‍👧", "日本語 עברית\tand\nlines", "ไทย", "e\u0301"])
def test_scripts_stay_as_they_are(text: str) -> None:
    assert printable(text) == text


@given(
    st.text(st.one_of(st.sampled_from("\x1b[]\\;\x07\x9b\x9d\x9cmP01"), st.characters()), max_size=40)
)
def test_no_text_steers_a_terminal_and_none_is_changed_twice(text: str) -> None:
    once = printable(text)
    assert not any((ord(c) < 32 and c not in "\t\n") or 127 <= ord(c) < 160 for c in once)
    assert printable(once) == once
    once.encode()


def test_all_that_a_console_prints_is_safe() -> None:
    file = io.StringIO()
    console = SafeConsole(file=file, force_terminal=True, width=200, markup=False, color_system=None)
    table = Table("\x9b2Jhead")
    table.add_row("\x1b]52;c;aGk=\x07cell")
    for thing in ("\x1b]52;c;aGk=\x07plain", Text("\x1b[2Jtext", style="red"), table):
        console.print(thing)
    written = file.getvalue()
    assert not set("\x1b\x9b\x9d\x07") & set(written)
    assert "plain" in written
    assert "text" in written


def test_a_console_makes_no_pictures_of_names() -> None:
    file = io.StringIO()
    console = SafeConsole(file=file, width=200, markup=False, color_system=None)
    table = Table(":x:head")
    table.add_row("bm25:x:dir")
    console.print("bm25:x:dir and :smile:")
    console.print(table)
    assert file.getvalue().count(":x:") == 3
    assert ":smile:" in file.getvalue()


def test_progress_takes_no_name_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    with Display() as display:
        display.update("stage [/red] of [bold]", 1, 1, "loss [1]")
    assert capsys.readouterr().err.strip() == "stage [/red] of [bold] 1/1 loss [1]"
