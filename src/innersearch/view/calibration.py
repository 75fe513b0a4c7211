"""What a calibration found, in words and figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from innersearch.view.tables import line


def calibration_text(gate: Mapping[str, Any], where: str = "") -> str:
    """A gate as `innersearch.evaluate.calibrate` made it: what it does, how sure that is, and what no
    gate can see.
    """
    always, hybrid, loss = gate["always"], gate["measured"], gate["em_loss"]
    low, high = gate["calls_interval"]
    kept = f", {where}" if where else ""
    lines = [f"gate     {gate['signal']} above {gate['threshold']:.4g}{kept}"]
    lines += [f"         {name}: {_shown(found)}" for name, found in gate["signals"].items()] * (
        len(gate["signals"]) > 1
    )
    lines += [
        f"always   {_shown(always)} (n = {gate['n']})",
        f"hybrid   {_shown(hybrid)}; with other questions like these {low:.2f} to {high:.2f}",
        f"EM lost  {100 * loss['value']:.1f} [{100 * loss['low']:.1f}, {100 * loss['high']:.1f}] points",
    ]
    if gate["too_few"]:
        allowed = gate["wanted"]["em_loss"]
        goal = f"a loss of {100 * allowed:g} %" if allowed else "a loss of 1 %"
        lines.append(
            f"too few  {gate['n']} questions do not tell {goal} of EM from none: it takes "
            f"{gate['too_few']:,} at least"
        )
    return "\n".join([*lines, *_unseen(gate["contradicted"])])


def _shown(found: Mapping[str, float]) -> str:
    return (
        f"EM {found['em']:.1%}, {found['calls']:.2f} real searches and {found['tokens']:.1f} sampled "
        "tokens per question"
    )


def _unseen(found: Mapping[str, Any]) -> list[str]:
    """What the policy is sure of and the engine contradicts, where it is much."""
    if not found["kinds"]:
        return []
    share = found["contradicted"] / found["checks"]
    kinds = ", ".join(f"{line(kind)} {part:.0%}" for kind, part in list(found["kinds"].items())[:4])
    return [
        f"unseen   the engine contradicts {share:.0%} of what the model is sure of ({kinds}): no gate "
        "sees that, --search learning finds it out"
    ]
