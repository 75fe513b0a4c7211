"""In which type models compute: as asked, or as the CPU is fast with, and never the small ones."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from innersearch.assemble.policies import parse_policy
from innersearch.errors import ModelError
from innersearch.evaluate.evaluation import Evaluation
from innersearch.policy import dtype
from innersearch.policy.dtype import AUTO, BFLOAT16, FLOAT32, choose, has_bfloat16, measured_gain
from innersearch.policy.loading import load_model, load_tokenizer
from innersearch.policy.speed import measure
from innersearch.policy.transformers import TransformersPolicy
from innersearch.types import Question
from innersearch.world.bundled import BUNDLED

LARGE = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "vocab_size": 49152}


@pytest.fixture
def large(tmp_path: Path) -> str:
    """The configuration of a model of 135 million parameters."""
    heads = {"num_attention_heads": 9, "num_key_value_heads": 3}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **LARGE, **heads}))
    return str(tmp_path)


def cpu(folder: Path, flags: str) -> Path:
    file = folder / "cpuinfo"
    file.write_text(f"processor\t: 0\nflags\t\t: fpu {flags} avx2\nprocessor\t: 1\nflags\t\t: fpu\n")
    return file


def test_a_cpu_says_whether_it_has_bfloat16(tmp_path: Path) -> None:
    assert has_bfloat16(cpu(tmp_path, "avx512_bf16"))
    assert has_bfloat16(cpu(tmp_path, "amx_tile amx_bf16"))
    assert not has_bfloat16(cpu(tmp_path, "avx512_vnni"))
    assert not has_bfloat16(tmp_path / "none")


@pytest.mark.parametrize(
    ("flags", "gain", "chosen"),
    [(True, 3.0, BFLOAT16), (True, 1.1, FLOAT32), (False, 3.0, FLOAT32)],
)
def test_large_models_compute_as_the_cpu_is_fast_with(
    large: str, flags: bool, gain: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dtype, "has_bfloat16", lambda: flags)
    monkeypatch.setattr(dtype, "measured_gain", lambda hidden, intermediate: gain)
    found = choose(AUTO, large)
    assert found.dtype == chosen
    assert (f"{gain:.1f} times" in found.reason) is flags
    assert choose(BFLOAT16, large) == (BFLOAT16, "as asked")


def test_small_models_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dtype, "has_bfloat16", lambda: True)
    monkeypatch.setattr(dtype, "measured_gain", lambda hidden, intermediate: 9.0)
    assert choose(AUTO, str(BUNDLED)).dtype == FLOAT32
    evaluation = Evaluation(
        "world", [Question("q", "Who?", ("a",))], None, {"dtype": AUTO}, resume=False
    )
    assert evaluation.settings.dtype == FLOAT32


def test_the_measurement_is_one_of_this_machine() -> None:
    assert 0.001 < measured_gain(64, 128) < 1000


def test_servers_have_chosen(large: str) -> None:
    assert parse_policy("http:http://127.0.0.1:1/v1").computes(AUTO, large).dtype == FLOAT32


def test_what_has_no_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        choose(AUTO, str(tmp_path))


def test_speed_is_that_of_the_clock() -> None:
    """However busy the machine is, no part is slower than all of it took."""
    tokenizer = load_tokenizer(str(BUNDLED))
    policy = TransformersPolicy.of(load_model(str(BUNDLED)), tokenizer, 4)
    began = time.perf_counter()
    speed = measure(policy, 4)
    taken = time.perf_counter() - began
    assert speed.read >= 192 / taken
    assert 4 * 8 / taken <= speed.written
    assert speed.trained < speed.read
