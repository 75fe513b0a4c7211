"""Muon in one batch against torch's, and the orthogonal matrices against a decomposition."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from innersearch.train.optimizer import Muon, MuonWithAdamW, orthogonal

SHAPES = ((16, 16), (16, 48), (48, 16), (16, 16))


def _parameters() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape)) for shape in SHAPES]


@pytest.mark.parametrize("nesterov", [True, False])
def test_steps_are_those_of_torch_up_to_the_rounding_of_bfloat16(nesterov: bool) -> None:
    ours, theirs = _parameters(), _parameters()
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05, "nesterov": nesterov}
    one, other = Muon(ours, **settings), torch.optim.Muon(theirs, **settings)
    for step in range(4):
        for mine, its in zip(ours, theirs, strict=True):
            gradient = torch.randn(mine.shape, generator=torch.Generator().manual_seed(step))
            mine.grad, its.grad = gradient.clone(), gradient.clone()
        one.step()
        other.step()
    for mine, its in zip(ours, theirs, strict=True):
        # bfloat16 has 8 bits: five iterations of it against a step of 0.1, four times.
        torch.testing.assert_close(mine, its, rtol=0, atol=4 * 0.1 * 2**-6)
        torch.testing.assert_close(
            one.state[mine]["momentum_buffer"], other.state[its]["momentum_buffer"]
        )


def test_singular_vectors_stay_and_values_are_near_one() -> None:
    for given, found in zip(
        matrices := [torch.randn(s) for s in SHAPES], orthogonal(matrices), strict=True
    ):
        left, _, right = torch.linalg.svd(given.double(), full_matrices=False)
        values = left.T @ found.double() @ right.T
        diagonal = values.diagonal()
        assert found.shape == given.shape
        assert (values - torch.diag(diagonal)).abs().max() < 1e-4
        assert ((diagonal > 0.2) & (diagonal < 1.3)).all()


def test_matrices_without_gradient_stay() -> None:
    model = nn.Linear(3, 3)
    before = [parameter.clone() for parameter in model.parameters()]
    MuonWithAdamW(model, muon_lr=0.1, adamw_lr=0.1).step()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
