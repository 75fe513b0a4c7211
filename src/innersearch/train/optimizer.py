"""Muon for weight matrices with AdamW for everything else, as one torch optimizer.

`torch.optim.Muon` takes matrices only; embeddings, the language-model head, norms and biases go to
AdamW (Jordan et al. 2024). Both share one list of parameter groups, so schedulers, gradient clipping
and checkpoints see a single optimizer.

`torch.optim.Muon` orthogonalises one matrix after the other in bfloat16, which many CPUs only emulate:
there it is two thirds of a training step of a small model. Here matrices of one shape go together, and
on a CPU in float32.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn


class Muon(torch.optim.Muon):
    """`torch.optim.Muon` with the same state and result up to rounding, faster on a CPU."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of every matrix that has a gradient."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            parameters: list[torch.Tensor] = []
            gradients: list[torch.Tensor] = []
            momenta: list[torch.Tensor] = []
            self._init_group(group, parameters, gradients, momenta)
            if not parameters:
                continue
            torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
            updates = momenta
            if group["nesterov"]:
                updates = list(torch._foreach_lerp(gradients, momenta, group["momentum"]))
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            for parameter, update in zip(
                parameters, orthogonal(updates, group["ns_coefficients"], group["ns_steps"]), strict=True
            ):
                rows, columns = parameter.shape
                parameter.add_(update, alpha=-group["lr"] * math.sqrt(max(1, rows / columns)))
        return loss


def orthogonal(
    matrices: Sequence[torch.Tensor],
    coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
    iterations: int = 5,
) -> list[torch.Tensor]:
    """Matrices with singular values of about 1 and the singular vectors of the given ones.

    Newton–Schulz as in Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon/), for all matrices
    of one shape at once: bfloat16 on an accelerator, float32 on a CPU. Matrices are (rows, columns).
    """
    same: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, matrix in enumerate(matrices):
        same[tuple(sorted(matrix.shape))].append(index)
    found = list(matrices)
    for indices in same.values():
        wide = torch.stack(
            [m if m.shape[0] <= m.shape[1] else m.T for m in map(found.__getitem__, indices)]
        )
        wide = wide.float() if wide.device.type == "cpu" else wide.bfloat16()
        for index, result in zip(indices, _newton_schulz(wide, coefficients, iterations), strict=True):
            tall = found[index].shape[0] > found[index].shape[1]
            found[index] = (result.T if tall else result).to(found[index].dtype)
    return found


def _newton_schulz(
    wide: torch.Tensor, coefficients: tuple[float, float, float], iterations: int
) -> torch.Tensor:
    a, b, c = coefficients
    wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(iterations):
        gram = wide @ wide.mT
        gram = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        wide = torch.baddbmm(wide, gram, wide, beta=a)
    return wide


class MuonWithAdamW(torch.optim.Optimizer):
    """Steps `Muon` and `torch.optim.AdamW` together."""

    def __init__(
        self,
        model: nn.Module,
        *,
        muon_lr: float,
        adamw_lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95),
    ) -> None:
        matrices, others = _split_parameters(model)
        self._parts: list[torch.optim.Optimizer] = [
            Muon(matrices, lr=muon_lr, momentum=momentum, weight_decay=0.0),
            torch.optim.AdamW(others, lr=adamw_lr, betas=betas, weight_decay=0.0),
        ]
        self.defaults: dict[str, Any] = {}
        self._share_groups()

    def _share_groups(self) -> None:
        self.param_groups = [group for part in self._parts for group in part.param_groups]

    @property
    def state(self) -> dict[Any, Any]:  # type: ignore[override]
        """Per-parameter state of both parts, merged for reading."""
        return {key: value for part in self._parts for key, value in part.state.items()}

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Step both parts; the closure, if any, is evaluated once."""
        loss = closure() if closure is not None else None
        for part in self._parts:
            part.step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:  # noqa: FBT001, FBT002
        """Clear the gradients of both parts."""
        for part in self._parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """State of both parts."""
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of both parts."""
        for part, state in zip(self._parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()


def _split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    embeddings = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        for parameter in module.parameters()
    }
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        hidden = parameter.ndim == 2 and id(parameter) not in embeddings and "lm_head" not in name
        (matrices if hidden else others).append(parameter)
    return matrices, others
