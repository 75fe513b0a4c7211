"""What `make demo` left in runs/demo; `.ci/run` checks it after the small form."""

from __future__ import annotations

from pathlib import Path

import pytest

from innersearch.stored import read_json
from innersearch.world_1.questions import GROUPS

pytestmark = pytest.mark.demo

RUN = Path(__file__).parents[2] / "runs" / "demo"


@pytest.fixture(scope="module")
def summary() -> dict:
    return read_json(RUN / "summary.json")


def test_summary_has_every_row_group_and_figure(summary: dict) -> None:
    assert set(summary["rows"]) == {"direct", "before", "after", "after_bm25", "after_hybrid"}
    assert set(summary["seconds"]) == {"install", "train", "eval", "other"}
    assert 0.5 < summary["trained_token_share"] < 1.0
    assert {"steps", "seed", "versions"} <= set(summary)
    for row in summary["rows"].values():
        assert set(row) == {"em", "pass_at_k", "format_rate", "searches", "calls"}
        assert set(row["em"]) == set(row["pass_at_k"]) == set(GROUPS)
        for group in GROUPS:
            em = row["em"][group]
            assert 0.0 <= em["low"] <= em["value"] <= em["high"] <= 1.0
            assert em["n"] >= 60
            assert set(row["pass_at_k"][group]) == {"1", "4", "16", "64"}


def test_training_gained_beyond_doubt(summary: dict) -> None:
    before, after = (summary["rows"][row] for row in ("before", "after"))
    for group in ("two_hop_common", "held_out_pair"):
        assert after["em"][group]["low"] > before["em"][group]["high"]
    assert before["em"]["two_hop_common"]["value"] <= 0.25
    assert before["pass_at_k"]["two_hop_common"]["16"] >= 0.6


def test_real_search_knows_what_the_model_never_read_and_the_gate_saves_calls(summary: dict) -> None:
    after, bm25, hybrid = (summary["rows"][row] for row in ("after", "after_bm25", "after_hybrid"))
    for group in ("one_hop_unseen", "two_hop_unseen"):
        assert after["em"][group]["value"] <= 0.1
        assert bm25["em"][group]["low"] > after["em"][group]["high"]
        assert hybrid["em"][group]["low"] > after["em"][group]["high"]
    assert after["calls"] == 0 < hybrid["calls"] <= 0.6 * bm25["calls"]


def test_report_and_model_are_there() -> None:
    assert (RUN / "report.html").stat().st_size > 100_000
    assert (RUN / "model" / "model.safetensors").is_file()
