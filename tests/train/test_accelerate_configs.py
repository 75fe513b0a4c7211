"""The bundled configurations of `accelerate launch` say what their names promise."""

from __future__ import annotations

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

FOLDER = Path(__file__).parents[2] / "recipes" / "accelerate"
LAUNCHES = {
    "cpu": {"multi_gpu": True},
    "gpus": {"multi_gpu": True},
    "fsdp2": {"use_fsdp": True, "fsdp_version": 2, "fsdp_state_dict_type": "FULL_STATE_DICT"},
    "zero2": {"use_deepspeed": True, "zero_stage": 2},
    "zero3": {"use_deepspeed": True, "zero_stage": 3, "zero3_save_16bit_model": True},
}


def test_all_are_known() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == LAUNCHES.keys()


@pytest.mark.parametrize("name", LAUNCHES)
def test_accelerate_reads_it(name: str) -> None:
    path = str(FOLDER / f"{name}.yaml")
    config = load_config_from_file(path)
    assert config.num_processes > 1
    assert config.mixed_precision == "no", "the recipe decides"
    command = ["--config_file", path, "--num_processes", "4", "-m", "innersearch", "train", "x.toml"]
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(command))
    assert arguments.num_processes == 4
    assert arguments.training_script == "innersearch"
    for setting, value in LAUNCHES[name].items():
        assert getattr(arguments, setting) == value
