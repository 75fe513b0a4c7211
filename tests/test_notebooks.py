"""The notebooks: executed as notebooks and run as the scripts that they are; what they show holds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))


def _number(text: str) -> float:
    return float(text.replace("%", ""))


def _gate_beats_a_coin(shown: str) -> None:
    rows = re.findall(r"^ +(\d+)% +([\d.]+)% +([\d.]+)%$", shown, re.MULTILINE)
    assert len(rows) == 6
    middle = [(_number(gate), _number(coin)) for real, gate, coin in rows if 10 < int(real) < 90]
    assert middle
    assert all(gate > coin for gate, coin in middle)


def _training_helps(shown: str) -> None:
    [(before, after)] = re.findall(r"^all +EM +([\d.]+) → +([\d.]+) ", shown, re.MULTILINE)
    assert float(after) > float(before)
    [(before, after)] = re.findall(r"^searches ([\d.]+) → ([\d.]+)$", shown, re.MULTILINE)
    assert float(after) < float(before)


def _agents_search(shown: str) -> None:
    table = shown[shown.index("printed    searches") :]
    rows = re.findall(r"^.+\? .* (\d+)$|^.+\. .* (\d+)$", table, re.MULTILINE)
    assert len(rows) >= 5
    assert sum(int(one or other) for one, other in rows) > 0
    assert "trained on" in table
    assert "the server has ended" in table


def _masks_hold(shown: str) -> None:
    assert "all three hold" in shown
    assert re.search(r"information  self_search True +False", shown)
    assert "answer after a hostile document: Lima" in shown


HOLDS = {
    "1_grammar_and_masks": _masks_hold,
    "2_engines_and_the_gate": _gate_beats_a_coin,
    "3_train_in_the_world": _training_helps,
    "4_serve_and_two_urls": _agents_search,
}


def test_each_notebook_is_held_against_what_it_says() -> None:
    assert [path.stem for path in NOTEBOOKS] == sorted(HOLDS)
    page = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    for path in NOTEBOOKS:
        assert f"({path.stem}.html)" in page
        for link in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / link).is_file(), f"{path.name} links to {link}"


@pytest.mark.notebooks
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_executes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a kernel, where an event loop is running."""
    monkeypatch.setenv("PYTHONWARNINGS", "ignore:IProgress not found")
    import jupytext
    from nbclient import NotebookClient

    notebook = jupytext.read(path)
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(path.parent)}}).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    said = [output for output in outputs if output.output_type == "stream"]
    assert "".join(output.text for output in said if output.name == "stderr") == ""
    HOLDS[path.stem]("".join(output.text for output in said if output.name == "stdout"))
    drawn = sum("image/png" in output.get("data", {}) for output in outputs)
    assert drawn == sum("plt.show()" in cell.source for cell in code)


@pytest.mark.notebooks
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_as_a_script(path: Path, tmp_path: Path) -> None:
    """From any folder."""
    around = {**os.environ, "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=tmp_path,
        env=around,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    HOLDS[path.stem](done.stdout)
