"""How the policy is sampled and trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from innersearch.config.base import Settings
from innersearch.config.bias import LogitBias


class SamplingSettings(Settings):
    """How rollouts are drawn."""

    temperature: float = Field(1.0, gt=0)
    """Sampling temperature."""
    max_new_tokens: int = Field(4096, ge=1)
    """Longest response; what does not end by then is truncated and scored as it is."""
    max_batch: int = Field(256, ge=1)
    """Sequences in flight at once."""
    policy: str = "transformers"
    """Who runs the model in rollouts: transformers, vllm, which shares the process and the GPU with the
    trainer, or one that a package adds under `innersearch.policies`."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """What rollouts of the policy transformers compute in where training computes in float32. bfloat16:
    in a copy of the weights that is made anew at every step, with importance weights for the rounding,
    unless `trainer.correction` says how. auto: bfloat16 for models of some size on a CPU that is
    measured to be faster with it."""
    memory_share: float = Field(0.3, gt=0, le=1)
    """Share of the GPU's memory that vllm takes."""
    logit_bias: LogitBias = ()
    """Constants on the logits of single tokens, such as [" answer=-0.8"], where a stage samples what it
    learns by heart; reinforcement would not be on-policy with it."""


class LoraSettings(Settings):
    """Low-rank adapters, trained instead of the weights and merged into them at the end."""

    rank: int = Field(0, ge=0)
    """Rank of the adapters; 0 trains all weights."""
    alpha: int = Field(0, ge=0)
    """Scale of the adapters times their rank; 0 takes twice the rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of their input that is dropped; rollouts are sampled without."""
    targets: tuple[str, ...] = ("all-linear",)
    """Modules that get one, by the end of their names, such as q_proj; all-linear takes every linear
    layer but the head."""


class TrainerSettings(Settings):
    """How the policy is trained, whichever engine does it."""

    steps: int = Field(100, ge=1)
    """Batches of rollouts, each followed by `updates` optimizer steps."""
    prompts_per_step: int = Field(256, ge=1)
    """Questions per step."""
    group_size: int = Field(5, ge=2)
    """Rollouts per question."""
    micro_batch: int = Field(16, ge=1)
    """Trajectories per forward and backward pass of one process."""
    updates: int = Field(1, ge=1)
    """Optimizer steps on each batch of rollouts, every one on an equal part of it."""
    kind: Literal["trl", "verl"] = "trl"
    """trl: in this process, or several of them on one node. verl: on a Ray cluster."""
    advantage: Literal["group", "rloo", "reward", "reinforce++", "gae"] = "group"
    """group: reward minus the group's mean, over its deviation (GRPO). rloo: without the deviation,
    which is the leave-one-out baseline of RLOO times (G − 1)/G. reward: the reward itself, without a
    baseline (REINFORCE; not with verl). With verl also reinforce++, and gae: PPO with a critic."""
    groups: Literal["all", "mixed"] = "all"
    """Groups of rollouts that are trained on. mixed: those whose rewards are all equal are left out of
    the loss and of what it is divided by; not with verl."""
    ahead: int = Field(0, ge=0)
    """Steps that rollouts may begin ahead of training, so that slow searches and training overlap; with
    0 they take turns. Trajectories are then sampled by weights that are up to so many steps old: see
    `correction`. Not with verl, vllm or several processes."""
    refill: bool = False
    """Replace groups whose rewards are all equal by further questions, at most `prompts_per_step` of
    them in a step; not with verl, vllm or several processes."""
    whiten: bool = False
    """Bring advantages to mean 0 and deviation 1 over all trained tokens of the batch."""
    loss: Literal["ppo", "cispo"] = "ppo"
    """ppo: the clipped ratio. cispo: the log-probability times the ratio, at most `cap`, as a weight, so
    that every token keeps its gradient (arXiv 2506.13585)."""
    correction: Literal["none", "truncate", "drop"] = "none"
    """What is done where the weights that sampled a token are not those that train on it. truncate:
    weight it by the ratio of its probabilities, at most `cap`. drop: leave tokens above `cap` out."""
    cap: float = Field(5.0, ge=1)
    """Largest weight of a token with correction or with the loss cispo."""
    per_segment_weight: Literal["tokens", "equal"] = "tokens"
    """tokens: every trained token counts the same, so long trajectories count for more, as published.
    equal: every segment counts the same, whatever its length."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """AdamW, or Muon for weight matrices with AdamW for the rest."""
    learning_rate: float = Field(1e-6, gt=0)
    """Peak learning rate of AdamW."""
    muon_learning_rate: float = Field(0.005, gt=0)
    """Peak learning rate of Muon."""
    weight_decay: float = Field(0.01, ge=0)
    """Weight decay of AdamW when it trains everything."""
    warmup_steps: int = Field(0, ge=0)
    """Linear warm-up."""
    schedule: Literal["constant_with_warmup", "linear", "cosine"] = "constant_with_warmup"
    """Learning-rate schedule after the warm-up."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradient-norm clip."""
    clip: float = Field(0.2, gt=0)
    """Clip range of the probability ratio, both sides."""
    kl: float = Field(0.001, ge=0)
    """Weight of the k3 divergence from the starting model in the loss."""
    kl_monitor: int = Field(16, ge=0)
    """Trajectories per step on which the divergence is measured when its weight is 0."""
    lora: LoraSettings = LoraSettings()
    """Adapters instead of all weights."""
    bf16: bool | None = None
    """Rollouts and training in bfloat16, with float32 weights, gradients and optimizer states; where
    there is a GPU by default. With adapters the frozen weights are bfloat16 too."""
    gradient_checkpointing: bool | None = None
    """Recompute activations in the backward pass to save memory; where there is a GPU by default."""
    save_every: int = Field(20, ge=1)
    """Steps between checkpoints."""

    @model_validator(mode="after")
    def _batches_divide(self) -> TrainerSettings:
        total = self.prompts_per_step * self.group_size
        if total % self.micro_batch:
            raise ValueError(
                f"micro_batch {self.micro_batch} does not divide prompts_per_step × group_size = "
                f"{self.prompts_per_step} × {self.group_size} = {total}; choose a divisor"
            )
        if total // self.micro_batch % self.updates:
            raise ValueError(
                f"the {total // self.micro_batch} micro-batches of a step cannot be dealt to updates = "
                f"{self.updates}: choose a divisor, or a smaller micro_batch"
            )
        return self

    @model_validator(mode="after")
    def _adapters_take_adamw(self) -> TrainerSettings:
        if self.lora.rank and self.optimizer == "muon":
            raise ValueError("adapters are trained with optimizer adamw, not with muon")
        return self


class VerlSettings(Settings):
    """How verl lays a run out over a Ray cluster."""

    nodes: int = Field(1, ge=1)
    """Number of machines."""
    gpus_per_node: int = Field(8, ge=1)
    """GPUs of each."""
    workers: int = Field(8, ge=1)
    """Processes that run episodes; each has the engine open. One where a budget counts its calls."""
    tensor_parallel: int = Field(1, ge=1)
    """GPUs that share one copy of the policy while it samples."""
    gpu_memory: float = Field(0.5, gt=0, lt=1)
    """Share of a GPU's memory that vLLM takes."""
    attention: Literal["auto", "sdpa", "flash_attention_2"] = "auto"
    """auto: flash_attention_2 where flash-attn is installed, else sdpa without removing padding."""
    seeded: bool = True
    """Give each request a seed of its own, so that sampling can be repeated; costs vLLM some speed."""
    offload: bool = False
    """Keep parameters and optimizer in the memory of the CPU while sampling."""
    critic_learning_rate: float = Field(1e-5, gt=0)
    """Learning rate of the critic, for the advantage gae."""
    max_error_rate: float = Field(0.05, ge=0, le=1)
    """The run stops when more than this share of all rollouts failed."""
    overrides: tuple[str, ...] = ()
    """Further settings of verl's own, as hydra writes them: KEY=VALUE."""


class GuardSettings(Settings):
    """When a run counts as collapsed."""

    enabled: bool = True
    """Whether to stop a collapsed run."""
    window: int = Field(10, ge=1)
    """Steps averaged."""
    reward_drop: float = Field(0.5, gt=0, le=1)
    """Stop when the average reward has lost this share of its best value."""
    format_floor: float = Field(0.1, ge=0, le=1)
    """Stop when the average format rate falls below this after having been three times as high."""
    logprob_drop: float = Field(1.0, gt=0)
    """Stop when correct trajectories become this much less likely (nats per token) than at best."""
