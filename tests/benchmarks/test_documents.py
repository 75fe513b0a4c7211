"""Every figure of README.md and docs/ comes from stored files, or says where else it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.evidence.demos import demo_table, keep
from benchmarks.evidence.front import EFFECTS, KNOWN, read_systems, two_sentences
from benchmarks.evidence.page import BLOCK, Evidence, documents, written
from benchmarks.evidence.plan import ROOT
from benchmarks.evidence.sources import complaints, tables_with_figures

from innersearch.errors import ConfigError, RunError
from innersearch.records import write_json


def test_everything_that_comes_from_stored_results_stands_as_they_say() -> None:
    """`make evidence` mends it."""
    evidence = Evidence.read()
    assert not evidence.results.problems
    expected = written(evidence)
    assert {"README.md", "evidence.md"} <= {path.name for path in expected}
    stale = [path.name for path, text in expected.items() if path.read_text(encoding="utf-8") != text]
    assert not stale


def test_every_table_of_figures_has_a_source() -> None:
    assert not complaints()


def test_a_table_without_a_source_is_named(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# A\n\n| a | b |\n|---|---|\n| x | 99.9 |\n")
    (tmp_path / "docs/old.md").write_text("# Old\n\n| a |\n|---|\n| 1 |\n")
    (tmp_path / "sources.toml").write_text(
        '[[table]]\nfile = "docs/old.md"\nkind = "historical"\n\n'
        '[[table]]\nfile = "docs/new.md"\nunder = "B"\nkind = "settings"\n'
    )
    said = complaints(tmp_path, tmp_path / "sources.toml")
    assert [line.split(":")[0] for line in said] == [
        "README.md, under 'A'",
        "sources.toml, docs/old.md under 'any heading'",
        "sources.toml, docs/new.md under 'B'",
    ]
    (tmp_path / "README.md").write_text(
        "# A\n<!-- evidence: costs -->\n| a | b |\n|---|---|\n| x | 99.9 |\n<!-- end of evidence -->\n"
    )
    assert len(complaints(tmp_path, tmp_path / "sources.toml")) == 2


def test_fenced_tables_count_and_tables_of_words_do_not() -> None:
    text = "# A\n```\n| n |\n|---|\n| 1 |\n```\n## B\n| word |\n|---|\n| x |\n"
    assert [heading for heading, _ in tables_with_figures(text)] == ["A"]


def test_sources_of_another_kind_are_refused(tmp_path: Path) -> None:
    (tmp_path / "sources.toml").write_text('[[table]]\nfile = "README.md"\nkind = "hearsay"\n')
    with pytest.raises(ConfigError, match="kind"):
        complaints(ROOT, tmp_path / "sources.toml")


def test_blocks_are_closed() -> None:
    for path in documents():
        text = path.read_text(encoding="utf-8")
        begun = text.count("<!-- evidence: ")
        assert begun == len(BLOCK.findall(text)) == text.count("<!-- end of evidence -->"), path


def test_the_demo_of_the_readme_is_the_median(tmp_path: Path) -> None:
    assert demo_table(tmp_path).startswith("No demo is on record yet")
    with pytest.raises(RunError, match=r"no summary\.json"):
        keep(tmp_path)
    for seed, value in enumerate((0.90, 0.98, 0.94)):
        row = {"em": {"all": {"value": value}}, "calls": value}
        summary = {"seed": seed, "rows": {"before": row}, "cpu": "a CPU", "processors": 2}
        write_json(tmp_path / f"{seed}.json", summary | {"seconds": {"install": 60.0, "train": 120.0}})
    table = demo_table(tmp_path)
    assert "94.0 (90.0–98.0)" in table
    assert "Median of 3 demos" in table
    assert "2.0 (2.0–2.0) minutes" in table


def test_a_figure_of_a_system_stands_in_its_file(tmp_path: Path) -> None:
    row = (
        '[[system]]\nname = "A"\npaper = "https://a.example"\nrecipe = "a"\npage = "a.md"\n'
        'idea = "b"\nfigures = "a.md"\nshows = "at [3 hops](b-9.md) {} % EM"\n'
    )
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/a.toml").touch()
    (tmp_path / "a.md").write_text("| 3 | 99.8 (99.4–100.0) |\n")
    file = tmp_path / "systems.toml"
    file.write_text(row.format("99.8"))
    assert read_systems(file, tmp_path).system[0].name == "A"
    for stale in ("9.8", "99", "99.80"):
        file.write_text(row.format(stale))
        with pytest.raises(ConfigError, match=f"A: {stale} stands not in a.md"):
            read_systems(file, tmp_path)
    (tmp_path / "recipes/a.toml").unlink()
    with pytest.raises(ConfigError, match=r"there is no recipes/a\.toml"):
        read_systems(file, tmp_path)


def test_effects_are_said_by_the_sign_of_what_was_found() -> None:
    evidence = Evidence.read()
    does, does_not = two_sentences(evidence.verdicts).splitlines()
    for verdict in evidence.verdicts:
        if verdict.claim.name in EFFECTS and verdict.found:
            said = does if verdict.found.value > 0 else does_not
            assert f"{verdict.claim.short} (" in said
            assert f", {verdict.verdict})" in said
    assert [verdict for verdict in evidence.verdicts if verdict.claim.name in (*EFFECTS, KNOWN)]
