"""How much memory a recipe needs, before anything runs.

Bytes of one process, from the shapes of the model alone. With N parameters, T of them trained, a
micro-batch of B sequences of S tokens, L layers of width h, q numbers per token in the queries and k in
the keys, i in the feed-forward layer, a heads, and w = 2 bytes with bf16, else 4:

* weights 4N, or 2N frozen in bfloat16 under adapters plus 4T; bfloat16 copies of the matrices that
  autocast makes, 2 each;
* gradients 4T, and as much again for the buckets of several processes;
* AdamW 8T; Muon 4 per number of a matrix and 8 for the others;
* the copy that rollouts sample from with `trainer.ahead` or `refill`, as large as the weights, and the
  rollouts then at the same time as training;
* a frozen reference for the divergence, as large as the weights; with a weight on it and adapters, none;
* activations of a layer (Llama, Qwen2, Qwen3; attention by scaled_dot_product_attention), per token:
  float32 4(6h + 2q + 2k + 4i + a + 2), bf16 26h + 2(2q + 2k + 4i) + 4a + 8, and with norms of queries
  and keys 8(q + k) or 6(q + k) more. All layers keep theirs, or with checkpointing 4h each and one at
  a time the rest;
* log-probabilities, a tile at a time as TRL computes them: 4BSh and w·min(BS, 4096)·min(V, 32768);
* keys and values of rollouts: a slot of S tokens for each sequence in flight (`sampling.max_batch`, or
  what a step has for the process, where that is less), 2Lwk bytes each; the logits of a token, three
  times 4V per slot. With vLLM neither: it takes `sampling.memory_share` of the GPU for
  itself.

Weights, optimizer and reference stay; the rest of training and of rollouts take turns. What the
allocator, the libraries and the communication keep for themselves, about 1 to 2 GB on a GPU, is not in
it, nor what FSDP or DeepSpeed save by sharding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from innersearch.config import LoraSettings, Recipe
from innersearch.errors import ModelError
from innersearch.policy.cache import tiled
from innersearch.train import processes
from innersearch.train.adapters import ALL
from innersearch.train.trl.trainer import recomputes, uses_bf16

_TILE_TOKENS, _TILE_WIDTH = 4096, 32768
"""Of TRL's kernel for log-probabilities (trl/kernels/chunked_logprob.py, trl/trainer/utils.py)."""


def outline(path: str) -> PreTrainedModel:
    """The model at a directory or hub id without its weights, which are not read.

    Raises:
        ModelError: There is no causal language model.
    """
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(
                AutoConfig.from_pretrained(path, trust_remote_code=False)
            )
    except Exception as error:
        raise ModelError(f"no causal language model at {path}: {error}") from error


@dataclass(frozen=True, slots=True)
class Shape:
    """What memory depends on in a model."""

    parameters: int
    matrices: int
    """Numbers in linear layers other than the head."""
    layers: int
    hidden: int
    queries: int
    keys: int
    intermediate: int
    heads: int
    vocabulary: int
    normed: bool
    """Whether queries and keys have norms of their own, as in Qwen3."""
    context: int
    """Longest sequence, in tokens."""
    linears: tuple[tuple[str, int, int], ...]
    """Name, input and output of every linear layer other than the head."""

    @classmethod
    def of(cls, model: PreTrainedModel) -> Shape:
        """The shape of a model, which may be on the meta device."""
        config = model.config.get_text_config()
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        head = model.get_output_embeddings()
        linears = tuple(
            (name, module.in_features, module.out_features)
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and module is not head
        )
        return cls(
            parameters=sum(p.numel() for p in model.parameters()),
            matrices=sum(inside * outside for _, inside, outside in linears),
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            queries=config.num_attention_heads * width,
            keys=(getattr(config, "num_key_value_heads", None) or config.num_attention_heads) * width,
            intermediate=getattr(config, "intermediate_size", 4 * config.hidden_size),
            heads=config.num_attention_heads,
            vocabulary=config.vocab_size,
            normed=any(name.endswith("q_norm") for name, _ in model.named_modules()),
            context=config.max_position_embeddings,
            linears=linears,
        )

    def adapted(self, settings: LoraSettings) -> int:
        """Numbers in the adapters of some settings."""
        every = settings.targets == ALL
        return sum(
            settings.rank * (inside + outside)
            for name, inside, outside in self.linears
            if every or any(name == t or name.endswith(f".{t}") for t in settings.targets)
        )


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one process."""

    weights: int
    copies: int
    reference: int
    optimizer: int
    gradients: int
    activations: int
    logprobs: int
    keys_and_values: int
    logits: int
    sampled_from: int = 0
    """Weights of rollouts that have some of their own, and go on during training."""

    @property
    def training(self) -> int:
        """At the peak of a training step."""
        meanwhile = self._sampling if self.sampled_from else 0
        return self._stays + self.copies + self.gradients + self.activations + self.logprobs + meanwhile

    @property
    def rollouts(self) -> int:
        """At the peak of rollouts."""
        return self._stays + self.copies + self._sampling

    @property
    def _sampling(self) -> int:
        return self.keys_and_values + self.logits

    @property
    def _stays(self) -> int:
        return self.weights + self.reference + self.optimizer + self.sampled_from


def activation_bytes(shape: Shape, *, bf16: bool) -> int:
    """What one layer keeps of one token for the backward pass."""
    s = shape
    attention = 2 * s.queries + 2 * s.keys
    if bf16:
        kept = 26 * s.hidden + 2 * (attention + 4 * s.intermediate) + 4 * s.heads + 8
    else:
        kept = 4 * (6 * s.hidden + attention + 4 * s.intermediate + s.heads + 2)
    return kept + ((6 if bf16 else 8) * (s.queries + s.keys) if s.normed else 0)


def kept_bytes(shape: Shape, tokens: int, *, bf16: bool, checkpointing: bool) -> int:
    """What a forward pass over `tokens` keeps until the backward pass, and of one layer at its peak."""
    layer = activation_bytes(shape, bf16=bf16)
    each = 4 * shape.hidden if checkpointing else layer
    return tokens * (shape.layers * each + 8 * shape.hidden + (layer if checkpointing else 0))


def estimate(recipe: Recipe, shape: Shape, prompt_tokens: int) -> Memory:
    """The memory that a recipe needs, with prompts of up to so many tokens."""
    plan, bf16 = recipe.trainer, uses_bf16(recipe)
    length = min(prompt_tokens + recipe.sampling.max_new_tokens, shape.context)
    tokens = plan.micro_batch * length
    slots, cached = tiled(processes.sequences_at_once(recipe)), tiled(length)
    tile = min(tokens, _TILE_TOKENS) * min(shape.vocabulary, _TILE_WIDTH)
    trained = shape.adapted(plan.lora) if plan.lora.rank else shape.parameters
    frozen = shape.parameters if plan.lora.rank else 0
    weights = (2 if bf16 else 4) * frozen + 4 * trained
    several = processes.count() > 1
    referred = not plan.lora.rank if plan.kl else plan.kl_monitor and processes.is_first()
    muon, own = plan.optimizer == "muon", recipe.sampling.policy == "transformers"
    return Memory(
        weights=weights,
        copies=2 * shape.matrices if bf16 and not frozen else 0,
        reference=(2 if bf16 and frozen else 4) * shape.parameters if referred else 0,
        optimizer=8 * trained - (4 * shape.matrices if muon else 0),
        gradients=4 * trained * (2 if several else 1),
        activations=kept_bytes(shape, tokens, bf16=bf16, checkpointing=recomputes(recipe)),
        logprobs=4 * tokens * shape.hidden + (2 if bf16 else 4) * tile,
        keys_and_values=own * slots * cached * shape.layers * 2 * (2 if bf16 else 4) * shape.keys,
        logits=own * 3 * 4 * slots * shape.vocabulary,
        sampled_from=weights if plan.ahead or plan.refill else 0,
    )
