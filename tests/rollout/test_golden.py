"""Trajectories are those of the golden records: token for token, decision for decision."""

from __future__ import annotations

import copy
import sys
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "golden.py"


@cache
def golden() -> ModuleType:
    """The script, which is no part of a package."""
    spec = spec_from_file_location("golden", SCRIPT)
    assert spec
    assert spec.loader
    module = sys.modules["golden"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def recorded() -> list[dict[str, Any]]:
    return golden().read(golden().RESULTS / "scripted.jsonl.gz")


def test_scripted_policies_give_the_recorded_trajectories() -> None:
    """To record again on purpose: `python benchmarks/golden.py record benchmarks/results/golden`."""
    found = golden().compare(recorded(), golden().made("scripted"))
    assert len(found) == 3 * len(golden().SCRIPTED)
    assert {case: entry.first for case, entry in found.items() if entry.differing} == {}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda r: r["loss_mask"].__setitem__(0, r["loss_mask"][0][:-1] + "2"), "loss_mask"),
        (lambda r: r["token_ids"][0].__setitem__(9, -1), "token_ids"),
        (lambda r: r["logprobs"][0].__setitem__(-1, -9.0), "logprobs"),
        (lambda r: r["spans"][0][1].update(source="web", call_id=8), "spans.source"),
        (lambda r: r.update(reward=0.5), "reward"),
        (lambda r: r.update(stop_reason="error"), "stop_reason"),
    ],
)
def test_a_changed_field_is_named(change: Any, field: str) -> None:
    before = recorded()[:24]
    changed = copy.deepcopy(before)
    change(changed[2])
    found = golden().compare(before, changed)
    [case] = [entry for entry in found.values() if entry.differing]
    assert case.differing == 1
    assert field in case.fields
    assert changed[2]["uid"] in case.first
    ignored = golden().compare(before, changed, list(case.fields))
    assert not any(entry.differing for entry in ignored.values())


def test_a_record_that_is_missing_differs_and_what_was_rounded_does_not() -> None:
    found = golden().compare(recorded()[:24], recorded()[1:24])
    assert [entry.fields for entry in found.values() if entry.differing] == [{"record": 1}]
    assert not list(
        golden().differences({"x": 0.5, "y": float("inf")}, {"x": 0.5001, "y": float("inf")})
    )
    assert list(golden().differences({"x": 0.5}, {"x": 0.501}))
