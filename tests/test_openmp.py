"""How threads that compute wait for one another."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from innersearch import openmp

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")


def waiting(code: str = "", **given: str) -> dict[str, str]:
    """What a process that imports innersearch, after some other code, finds in its environment."""
    variables = {name: value for name, value in os.environ.items() if name not in NAMES} | given
    script = f"{code}\nimport innersearch, json, os\nprint(json.dumps(dict(os.environ)))"
    done = subprocess.run(
        [sys.executable, "-c", script], env=variables, capture_output=True, text=True, check=True
    )
    return {name: value for name, value in json.loads(done.stdout).items() if name in NAMES}


def test_spinning_is_bounded_before_torch_is_loaded() -> None:
    assert waiting() == openmp.SPINS


@pytest.mark.parametrize("name", NAMES)
def test_what_the_user_has_set_stays(name: str) -> None:
    assert waiting(**{name: "1"}) == {name: "1"}


def test_nothing_is_claimed_once_torch_has_read_its_settings() -> None:
    assert waiting("import sys; sys.modules['torch'] = sys") == {}


def test_a_run_says_how_its_threads_waited() -> None:
    described = openmp.described()
    assert described["processors"] >= 1
    assert described["waiting"] == {name: os.environ[name] for name in NAMES if name in os.environ}
