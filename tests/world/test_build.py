"""The bundled model is what the build makes. `make test-build` runs it, in about 15 minutes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from innersearch.cli import main
from innersearch.stored import read_json
from innersearch.world_1.bundled import BUNDLED
from innersearch.world_1.questions import GROUPS
from innersearch.world_making.build import MANIFEST
from tests.intervals import overlap

pytestmark = pytest.mark.build


def test_a_build_has_the_data_of_the_bundled_model_and_its_metrics(tmp_path: Path) -> None:
    assert main(["world", "build", str(tmp_path / "world")]) == 0
    built = read_json(tmp_path / "world" / "model" / MANIFEST)
    bundled = json.loads((BUNDLED / MANIFEST).read_text())
    for key in ("seed", "corpus", "pretraining", "corpus_sha256", "questions_sha256", "parameters"):
        assert built[key] == bundled[key]
    for group in GROUPS:
        # Whether a two-hop question greedily gets a second search is a close call, decided by rounding.
        if group.startswith("one_hop"):
            assert overlap(built["metrics"]["em"][group], bundled["metrics"]["em"][group]), group
        for k in ("1", "16"):
            mine, theirs = (m["metrics"]["pass_at_k"][group][k] for m in (built, bundled))
            assert overlap(mine, theirs), (group, k)
