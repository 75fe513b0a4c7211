"""What `make demo` left in runs/demo; `.ci/run` checks it after the small form."""

from __future__ import annotations

from pathlib import Path

import pytest

from innersearch.stored import read_json

pytestmark = pytest.mark.demo

RUN = Path(__file__).parents[2] / "runs" / "demo"


@pytest.fixture(scope="module")
def summary() -> dict:
    return read_json(RUN / "summary.json")


def test_summary_has_every_row_group_and_figure(summary: dict) -> None:
    assert set(summary["rows"]) == {"before", "rft", "after", "after_bm25", "after_hybrid"}
    assert set(summary["seconds"]) == {"install", "rejection", "train", "eval", "other"}
    assert 0.3 < summary["trained_token_share"] < 1.0
    assert {"steps", "seed", "versions"} <= set(summary)
    for name, row in summary["rows"].items():
        assert set(row) == {"em", "pass_at_k", "format_rate", "searches", "calls"}
        assert set(row["em"]) >= {
            "depth_1",
            "depth_2 in other words",
            "depth_3",
            "held_out_pair",
            "changed",
        }
        for group, em in row["em"].items():
            assert 0.0 <= em["low"] <= em["value"] <= em["high"] <= 1.0
            assert em["n"] >= 10
            if name in ("before", "rft", "after"):
                assert set(row["pass_at_k"][group]) == {"1", "4", "16"}


def test_training_gained_beyond_doubt(summary: dict) -> None:
    before, after = (summary["rows"][row] for row in ("before", "after"))
    for group in ("depth_1", "depth_1 in other words"):
        assert after["em"][group]["low"] > before["em"][group]["high"]


def test_memory_knows_nothing_that_it_never_read_and_the_gate_saves_calls(summary: dict) -> None:
    after, bm25, hybrid = (summary["rows"][row] for row in ("after", "after_bm25", "after_hybrid"))
    assert after["em"]["never_stated"]["value"] <= 0.2
    assert after["calls"] == 0 <= hybrid["calls"] < bm25["calls"]


def test_report_and_model_are_there() -> None:
    assert (RUN / "report.html").stat().st_size > 100_000
    assert (RUN / "model" / "model.safetensors").is_file()
