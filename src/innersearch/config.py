"""A recipe: everything that makes one training run, as data.

A recipe is a TOML file; any value can be overridden on the command line by its dotted name
(`--trainer.steps 40`). The defaults are the published SSRL settings where there are any.
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from innersearch.net.addresses import check_url


class _Settings(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )


class PromptSettings(_Settings):
    """How questions are put to the policy."""

    name: str = "ssrl"
    """Prompt text: ssrl, search-r1, direct, world or world-direct."""
    max_tokens: int = Field(1024, ge=1)
    """Longest prompt; a longer one is refused before training starts."""
    skip_long: bool = False
    """Leave out questions whose prompt is longer than that or than the context of the model, and say how
    many."""


class RewardSettings(_Settings):
    """R = (1 − weight)·A + weight·F − penalties, A the answer's exact match or F1."""

    answer: Literal["em", "f1", "majority"] = "em"
    """What answers are scored by: exact match, F1, or agreement with the majority of their group, which
    needs no gold answers (test-time RL)."""
    no_search_penalty: float = Field(0.0, ge=0, le=1)
    """Taken from trajectories without a search; with F1 alone some policies stop searching."""
    no_answer_penalty: float = Field(0.0, ge=0, le=1)
    """Taken from trajectories without an answer (0.1 each in arXiv 2602.19526)."""
    format: Literal["strict", "graded"] = "strict"
    """Format reward F: strict state machine, or graded as in the released code."""
    format_weight: float = Field(0.1, ge=0, le=1)
    """Weight of F."""


class MaskSettings(_Settings):
    """Which tokens carry no loss."""

    information: bool = True
    """Mask the content and the closing tag of self-written information."""
    opening_tag: bool = False
    """Mask the opening tag too, as the released code does."""


class NoiseSettings(_Settings):
    """How many searches are answered badly on purpose: the probability p of a noisy result, per query.

    `exponential` is ZeroSearch's p_i = start + (base^(i/m) − 1)/(base − 1)·(end − start) at step i of m
    (arXiv 2505.04588, section 3.4); `competence` grows with the running EM of training instead.
    """

    curve: Literal["exponential", "linear", "constant", "competence"] = "exponential"
    """How p goes from start to end; constant stays at end."""
    start: float = Field(0.0, ge=0, le=1)
    """p before the first step."""
    end: float = Field(0.0, ge=0, le=1)
    """p at the last step."""
    base: float = Field(4.0, gt=1)
    """Of the exponential curve: how late the noise comes."""
    competent: float = Field(0.9, gt=0, le=1)
    """Running EM at which the competence curve reaches its end."""
    distractors: Literal["lower", "other", "removed"] = "lower"
    """What a degraded engine gives instead of its result: lower-ranked documents, those for another
    question, or its own without those that hold a gold answer. Simulators write noise themselves."""

    @model_validator(mode="after")
    def _grows(self) -> NoiseSettings:
        if self.curve != "constant" and self.start > self.end:
            raise ValueError(
                f"start {self.start:g} is above end {self.end:g}: noise grows from start to end; "
                "exchange them, or take curve constant"
            )
        return self


class SimulatorSettings(_Settings):
    """How a language model plays the search engine, for the engine `simulated:MODEL`."""

    mode: Literal["tuned", "prompted"] = "tuned"
    """tuned: a model made by `innersearch simulator train`. prompted: any instruct model."""
    prompt: str = "simulator"
    """Prompt text; simulator-world for the embedded world. The prompted mode asks for useful and noisy
    documents in different texts, whose names end in -useful and -noisy."""
    words: int = Field(30, ge=1)
    """Words that a document is asked to have."""
    gold: Literal["none", "first", "all"] = "first"
    """Gold answers that the simulator is told: none, the first one as published, or all aliases. A tuned
    simulator keeps the prompt, words and gold that it was trained with."""
    temperature: float = Field(0.8, ge=0)
    """Of what it writes."""
    max_new_tokens: int = Field(600, ge=1)
    """Longest output, for all documents of a search."""
    max_batch: int = Field(128, ge=1)
    """Searches that it writes at once."""
    seed: int = Field(0, ge=0)
    """The same query, question, label and seed give the same documents."""


class TuningSettings(_Settings):
    """How a simulator is trained."""

    epochs: int = Field(2, ge=1)
    """Passes over the pairs."""
    max_pairs: int = Field(0, ge=0)
    """Pairs at most, as many useful as noisy ones; 0 takes all."""
    batch: int = Field(32, ge=1)
    """Pairs per optimizer step."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """AdamW, or Muon for weight matrices with AdamW for the rest."""
    learning_rate: float = Field(1e-6, gt=0)
    """Peak learning rate of AdamW."""
    muon_learning_rate: float = Field(0.005, gt=0)
    """Peak learning rate of Muon."""
    lora: int = Field(0, ge=0)
    """Rank of low-rank adapters, merged into the model at the end; 0 trains all weights."""
    numbered: bool = True
    """Whether documents are written as `Doc 1: …`; the world's single sentences are not."""
    seed: int = Field(0, ge=0)
    """Of the choice and the order of pairs."""

    @model_validator(mode="after")
    def _adapters_take_adamw(self) -> TuningSettings:
        if self.lora and self.optimizer == "muon":
            raise ValueError("adapters are trained with optimizer adamw, not with muon")
        return self


class SearchSettings(_Settings):
    """Who answers the queries of the policy, and what it reads of the answers."""

    router: str = "self"
    """Who writes the information: self, always, first:K, entropy-trend, random:RATE or
    gate:SIGNAL:THRESHOLD; see innersearch.search.router."""
    engine: str = ""
    """What is searched: world, bm25:DIR, dense:DIR@MODEL, remote:URL, simulated:MODEL, or a search API
    such as serper; several, separated by commas, are fused."""
    k: int = Field(3, ge=1)
    """Documents per search."""
    style: Literal["plain", "search-r1"] = "search-r1"
    """How documents are written for the policy; see innersearch.rollout.observation."""
    noise: NoiseSettings = NoiseSettings()
    """How many searches are answered badly on purpose."""
    simulator: SimulatorSettings = SimulatorSettings()
    """How simulated:MODEL writes documents."""
    max_searches: int = Field(4, ge=1)
    """Searches per trajectory that the router decides; the query after the last one ends it."""
    max_tokens: int = Field(500, ge=1)
    """Longest content of an information block, in tokens; longer ones are cut."""
    stop_at_answer: bool = False
    """End at the closing answer tag, for models that do not end by themselves."""
    samples: int = Field(4, ge=1)
    """Further samples of its own information, for the signal `consistency`."""
    timeout_s: float = Field(0.0, ge=0)
    """Seconds a trajectory may take; then it ends with an error and with what it has. 0: no limit."""
    max_error_rate: float = Field(0.2, ge=0, le=1)
    """The run stops when more than this share of all searches failed."""
    in_flight: int = Field(0, ge=0)
    """Calls over the network under way at once; 0: 32, or simulator.max_batch for a simulator."""
    per_second: float = Field(0.0, ge=0)
    """Calls over the network begun per second and process; 0: as many as the server takes."""
    deadline_s: float = Field(0.0, ge=0)
    """Longest call over the network, in seconds; 0: 30, or 180 for a simulator."""
    cache: str = ""
    """A file that keeps all results, so that no query is asked twice."""
    offline: bool = False
    """Answer from the cache only."""
    max_calls: int = Field(0, ge=0)
    """Calls to paid engines at most; 0: no limit."""
    max_usd: float = Field(0.0, ge=0)
    """Their price at most, in US dollars; 0: no limit."""

    @model_validator(mode="after")
    def _offline_needs_a_cache(self) -> SearchSettings:
        if self.offline and not self.cache:
            raise ValueError("offline answers from the cache only: name its file with cache")
        return self

    def demand_addresses(self) -> None:
        """Check the addresses of engines before these settings are written anywhere.

        Raises:
            SearchError: One holds a user, a password or a query, or cannot be read.
        """
        for found in re.finditer(r"""https?://[^\s"#]*""", self.engine):
            before = self.engine[: found.start()].rpartition(",")[2]
            check_url(found[0].partition(",")[0], before.strip(' :@"') or "the engine")


class SamplingSettings(_Settings):
    """How rollouts are drawn."""

    temperature: float = Field(1.0, gt=0)
    """Sampling temperature."""
    max_new_tokens: int = Field(4096, ge=1)
    """Longest response; what does not end by then is truncated and scored as it is."""
    max_batch: int = Field(256, ge=1)
    """Sequences in flight at once."""
    policy: Literal["transformers", "vllm"] = "transformers"
    """Who runs the model in rollouts; vllm shares the process and the GPU with the trainer."""
    memory_share: float = Field(0.3, gt=0, le=1)
    """Share of the GPU's memory that vllm takes."""


class LoraSettings(_Settings):
    """Low-rank adapters, trained instead of the weights and merged into them at the end."""

    rank: int = Field(0, ge=0)
    """Rank of the adapters; 0 trains all weights."""
    alpha: int = Field(0, ge=0)
    """Their scale is alpha / rank; 0 takes twice the rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of their input that is dropped; rollouts are sampled without."""
    targets: tuple[str, ...] = ("all-linear",)
    """Modules that get one, by the end of their names, such as q_proj; all-linear takes every linear
    layer but the head."""


class TrainerSettings(_Settings):
    """How the policy is trained, whichever engine does it."""

    steps: int = Field(100, ge=1)
    """Optimizer steps."""
    prompts_per_step: int = Field(256, ge=1)
    """Questions per step."""
    group_size: int = Field(5, ge=2)
    """Rollouts per question."""
    micro_batch: int = Field(16, ge=1)
    """Trajectories per forward and backward pass of one process."""
    engine: Literal["trl", "verl"] = "trl"
    """trl: in this process, or several of them on one node. verl: on a Ray cluster."""
    advantage: Literal["group", "rloo", "reinforce++", "gae"] = "group"
    """group: reward minus the group's mean, over its deviation (GRPO). rloo: without the deviation,
    which is the leave-one-out baseline of RLOO times (G − 1)/G. With verl also reinforce++, and gae:
    PPO with a critic."""
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
        return self

    @model_validator(mode="after")
    def _adapters_take_adamw(self) -> TrainerSettings:
        if self.lora.rank and self.optimizer == "muon":
            raise ValueError("adapters are trained with optimizer adamw, not with muon")
        return self


class VerlSettings(_Settings):
    """How verl lays a run out over a Ray cluster."""

    nodes: int = Field(1, ge=1)
    """Machines."""
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


class GuardSettings(_Settings):
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


class Recipe(_Settings):
    """One training run."""

    name: str = "ssrl"
    """Name of the recipe and default name of the run."""
    model: str = ""
    """A Hugging Face model directory or hub id, or `world` for the shipped model."""
    data: str = ""
    """A file of questions (.jsonl, .csv, .parquet and more), a directory of parts, or `world:train`."""
    groups: tuple[str, ...] = ()
    """Only questions of these groups; all when empty."""
    balance_groups: bool = False
    """Repeat the questions of smaller groups, so that every group has about the same share."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Every random number follows from it."""
    prompt: PromptSettings = PromptSettings()
    search: SearchSettings = SearchSettings()
    reward: RewardSettings = RewardSettings()
    mask: MaskSettings = MaskSettings()
    sampling: SamplingSettings = SamplingSettings()
    trainer: TrainerSettings = TrainerSettings()
    verl: VerlSettings = VerlSettings()
    guard: GuardSettings = GuardSettings()

    @field_validator("name")
    @classmethod
    def _names_one_folder(cls, name: str) -> str:
        if not name.strip(" .") or not name.isprintable() or "/" in name or "\\" in name:
            raise ValueError(
                "the name is that of a folder below runs/: give some letters or digits and no slashes; "
                "any directory can be given by --output"
            )
        return name
