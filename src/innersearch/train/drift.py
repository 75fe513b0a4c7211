"""How far the policy has moved from where it started."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from innersearch.types import Segment, Trajectory


class Drift:
    """Measures the k3 divergence from a frozen reference on the first trajectories of a step."""

    def __init__(self, reference: PreTrainedModel, trajectories: int) -> None:
        self.reference = reference.requires_grad_(requires_grad=False).eval()
        self.trajectories = trajectories

    @torch.inference_mode()
    def measure(self, trajectories: Sequence[Trajectory]) -> float:
        """Mean over trained tokens of exp(d) − d − 1, d = log p_reference − log p_policy, in nats."""
        stride = max(1, len(trajectories) // self.trajectories)
        chosen = trajectories[::stride][: self.trajectories]
        terms = [self._terms(s, t.sampling.temperature) for t in chosen for s in t.segments]
        values = torch.cat(terms)
        return float(values.mean()) if len(values) else 0.0

    def _terms(self, segment: Segment, temperature: float) -> torch.Tensor:
        ids = torch.tensor([segment.token_ids], device=self.reference.device)
        logits = self.reference(input_ids=ids, use_cache=False).logits[0, :-1].float()
        logprobs = torch.log_softmax(logits / temperature, -1)
        reference = logprobs.gather(1, ids[0, 1:, None])[:, 0]
        policy = torch.tensor([value or 0.0 for value in segment.logprobs[1:]], device=ids.device)
        trained = torch.tensor(segment.loss_mask[1:], device=ids.device)
        gap = (reference - policy)[trained]
        return torch.expm1(gap) - gap
