"""The gate that was calibrated for a model, in `gate.json` beside its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from innersearch.errors import InnersearchError, RunError
from innersearch.records import write_json
from innersearch.routing.router import parse_router
from innersearch.stored import read_object
from innersearch.weights import fingerprint

GATE = "gate.json"


class Gate(TypedDict):
    """What gate.json needs to be used."""

    signal: str
    threshold: float


def save_gate(model: Path, gate: dict[str, Any]) -> Path:
    """Keep a calibrated gate beside its model, with what tells its weights apart."""
    write_json(model / GATE, gate | {"weights": fingerprint(model)})
    return model / GATE


def load_gate(model: Path) -> dict[str, Any]:
    """The gate that was calibrated for a model.

    Raises:
        RunError: There is none, or it is damaged, or was calibrated for other weights.
        ModelError: The weights are damaged.
    """
    file = model / GATE
    if not file.is_file():
        raise RunError(
            f"{model} has no {GATE}: calibrate a gate with `innersearch calibrate {model} --data FILE`"
        )
    try:
        gate = read_object(file, Gate, endless=True)
        parse_router(gate_router(gate))
    except InnersearchError as error:
        raise RunError(
            f"{file} holds no gate ({error}): calibrate it again with `innersearch calibrate {model}`"
        ) from error
    known, now = gate.get("weights"), fingerprint(model)
    if known and now and known != now:
        raise RunError(
            f"{file} was calibrated for other weights than {model} holds now: calibrate it again with "
            f"`innersearch calibrate {model}`"
        )
    return gate


def gate_router(gate: dict[str, Any], *, learning: bool = False) -> str:
    """The router that a calibrated gate stands for, or the one that learns in use from it."""
    return f"{'learning' if learning else 'gate'}:{gate['signal']}:{gate['threshold']!r}"
