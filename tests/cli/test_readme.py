"""README.md and docs/: their Python runs as it stands, their commands exist, no page is lost."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from innersearch import __version__
from innersearch.cli import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 100


def test_python_of_the_docs_runs(capsys: pytest.CaptureFixture[str]) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (DOCS / "python.md").read_text(), re.DOTALL)
    exec(code, {"__name__": "__main__"})
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_extras_are_installed_from_the_repository() -> None:
    """The package is on no index."""
    for file in (ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")):
        assert "innersearch[" not in file.read_text(encoding="utf-8"), file


@pytest.mark.parametrize("page", ["../README.md", *PAGES])
def test_verbs_of_a_page_exist(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```|((?:^ {4,}.*\n)+)", text, re.DOTALL | re.MULTILINE)
    shown = "".join(fenced or indented for fenced, indented in blocks)
    for verb in set(re.findall(r"^\s*(?:\S+/)?innersearch ([a-z]\w+)", shown, re.MULTILINE)):
        app[verb]


def test_every_verb_is_shown() -> None:
    text = "".join((DOCS / page).read_text(encoding="utf-8") for page in PAGES)
    lacking = [verb for verb in app if not verb.startswith("-") and f"innersearch {verb}" not in text]
    assert not lacking


def test_every_page_is_in_the_navigation_and_in_the_list_for_programs() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    assert sorted(_pages(nav)) == PAGES
    listed = re.findall(r"\]\(([^)]+)\)", (DOCS / "llms.txt").read_text())
    assert not [link for link in listed if not (DOCS / link).exists()]
    assert not set(PAGES) - set(listed)


def _pages(nav: object) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    found = nav.values() if isinstance(nav, dict) else nav
    return [page for part in found for page in _pages(part)]


def test_links_of_the_readme_lead_somewhere() -> None:
    """Those of docs/ are held by `make docs`."""
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README):
        assert (ROOT / link).exists(), link


def test_one_version_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    [newest, *_] = re.findall(
        r"^## (\S+) \(([\d-]+)\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert (project, newest) == (__version__, (cited["version"], str(cited["date-released"])))
    assert newest[0] == __version__
