"""The README's Python runs as it stands there, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from innersearch.cli import app

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(code, {"__name__": "__main__"})
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_extras_are_installed_from_the_repository() -> None:
    """The package is on no index."""
    root = Path(__file__).parents[2]
    for file in (root / "README.md", root / "CHANGELOG.md", *sorted((root / "docs").glob("*.md"))):
        assert "innersearch[" not in file.read_text(encoding="utf-8"), file


def test_verbs_of_the_readme_exist() -> None:
    fenced = "".join(re.findall(r"^```\n(.*?)^```", README, re.DOTALL | re.MULTILINE))
    verbs = set(re.findall(r"^innersearch (\w+)", fenced, re.MULTILINE))
    searching = {"index", "search", "sim2real", "calibrate", "simulator", "cost", "compare", "data"}
    searching |= {"hybrid", "mcp", "serve"}
    assert verbs == {"demo", "train", "eval", "ask", "report", "world"} | searching
    for verb in verbs:
        app[verb]
