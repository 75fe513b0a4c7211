"""Rollouts through a vLLM engine that shares the process with the trainer.

TRL opens the engine and hands it the weights before each step's rollouts (FSDP, DeepSpeed and LoRA
included); our policy only samples from it. The log-probabilities of engine and trainer are compared at
every step, for an engine with stale weights raises no error. Without a GPU, TRL 1.16 with vLLM 0.32

* opens the engine in bfloat16, whatever the weights are, and
* cannot hand weights over ('Parameter' object has no attribute 'weight_loader'), while vLLM's own
  `reload_weights` leaves a language-model head that is tied to the embeddings as it was;

so there both are done here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import MethodType
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from innersearch.config import Recipe, TrainerSettings
from innersearch.errors import ModelError
from innersearch.policy.loading import configured_context, configured_ends
from innersearch.policy.vllm import VllmPolicy, demand_vllm
from innersearch.train.tasks import WEIGHT_LIMIT
from innersearch.types import Trajectory

WEIGHTS = ("policy/weights_cut", "policy/weights_low")
"""Metrics of the weights that correct for the engine's log-probabilities; see `weight_shares`."""
_LOW = 1 / WEIGHT_LIMIT
"""A token of less weight has lost much of its loss."""
_COMPARED = 4
"""Trajectories whose log-probabilities are compared at every step."""
_MOST_APART = 0.1
"""Mean difference, nats per token, that rounding to bfloat16 does not explain."""


def vllm_arguments(recipe: Recipe) -> dict[str, Any]:
    """What TRL's configuration needs for a recipe whose rollouts vLLM runs; nothing for others.

    Raises:
        ConfigError: vLLM is not installed.
    """
    if recipe.sampling.policy != "vllm":
        return {}
    demand_vllm("sampling.policy vllm")
    search = recipe.search
    read = search.max_searches * search.max_tokens if search.rule.asks else 0
    longest = recipe.prompt.max_tokens + recipe.sampling.max_new_tokens + read
    return {
        "use_vllm": True,
        "vllm_mode": "colocate",
        "vllm_max_model_length": min(longest, configured_context(recipe.model)),
        "vllm_gpu_memory_utilization": recipe.sampling.memory_share,
    }


def weight_arguments(settings: TrainerSettings) -> dict[str, Any]:
    """How TRL corrects for log-probabilities that differ between engine and trainer by rounding.

    Each token is weighted by the ratio of its probabilities, at most `WEIGHT_LIMIT`; verl is told the
    same. TRL's own choice is to drop a whole trajectory whose ratios multiply to more than 3, the sooner
    the longer it is; the published systems correct nothing. A correction that the recipe asks for covers
    rounding too.
    """
    return {
        "vllm_importance_sampling_correction": settings.correction == "none",
        "vllm_importance_sampling_mode": "token_truncate",
        "vllm_importance_sampling_clip_max": WEIGHT_LIMIT,
        "vllm_importance_sampling_clip_min": None,
    }


def weight_shares(
    weights: torch.Tensor,
    trained: torch.Tensor,
    total: Callable[[torch.Tensor], torch.Tensor],
    limit: float = WEIGHT_LIMIT,
) -> list[float]:
    """Shares of the trained tokens whose weight was cut, and whose weight is low.

    Args:
        weights: (rows, tokens) or (rows, 1).
        trained: (rows, tokens), whether a token is trained on.
        total: Adds up a tensor over all processes.
        limit: Where weights are cut.
    """
    chosen = weights.expand(trained.shape)[trained]
    counts = torch.stack([(chosen >= limit).sum(), (chosen < _LOW).sum(), trained.sum()])
    cut, low, tokens = total(counts).tolist()
    return [cut / max(1, tokens), low / max(1, tokens)]


@contextmanager
def engine_of_the_trainers_type() -> Iterator[None]:
    """While a trainer is built: an engine without a GPU computes in float32."""
    if torch.cuda.is_available():
        yield
        return
    from trl.generation import vllm_generation

    opened = vllm_generation.LLM
    vllm_generation.LLM = partial(opened, dtype="float32")
    try:
        yield
    finally:
        vllm_generation.LLM = opened


def colocated_policy(trainer: Any, recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> VllmPolicy:
    """The policy that samples from the engine of a trainer."""
    if not torch.cuda.is_available():
        trainer.vllm_generation.sync_weights = MethodType(_hand_over, trainer.vllm_generation)
    ends = configured_ends(recipe.model, tokenizer)
    return VllmPolicy(trainer.vllm_generation.llm, ends, recipe.model)


def _hand_over(generation: Any) -> None:
    """Give the trainer's weights to an engine without a GPU."""
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

    runner = generation.llm.llm_engine.model_executor.driver_worker.model_runner
    runner.reload_weights(weights_iterator=generation._iter_named_params())
    head = getattr(runner.get_model(), "lm_head", None)
    if head is not None:
        # It keeps a packed copy of its own, which the embeddings it is tied to know nothing about.
        dispatch_cpu_unquantized_gemm(head, remove_weight=False)
    generation.llm.reset_prefix_cache()


def comparison(recipe: Recipe, model: PreTrainedModel) -> Callable[[Sequence[Trajectory]], float] | None:
    """`compare` for a recipe whose rollouts another engine runs; None for others."""
    return partial(compare, model) if recipe.sampling.policy == "vllm" else None


@torch.no_grad()
def compare(model: PreTrainedModel, trajectories: Sequence[Trajectory]) -> float:
    """Mean difference between the log-probabilities of rollouts and trainer, nats per sampled token.

    Raises:
        ModelError: It is more than rounding explains.
    """
    apart: list[float] = []
    for trajectory in trajectories[:_COMPARED]:
        for segment in trajectory.segments:
            ids = torch.tensor([segment.token_ids], device=model.device)
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
            logprobs = torch.log_softmax(logits / trajectory.sampling.temperature, -1)
            own = logprobs.gather(1, ids[0, 1:, None])[:, 0].tolist()
            pairs = zip(own, segment.logprobs[1:], strict=True)
            apart += [abs(mine - value) for mine, value in pairs if value is not None]
    mean = sum(apart) / max(1, len(apart))
    if mean > _MOST_APART:
        raise ModelError(
            f"the log-probabilities of the rollouts are {mean:.3f} nats per token from the trainer's, "
            "more than rounding explains: what samples has other weights than those that are trained; "
            "with vLLM check its version and TRL's (docs/scaling.md), or use sampling.policy "
            "transformers with sampling.dtype float32"
        )
    return mean
