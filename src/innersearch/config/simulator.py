"""A language model as search engine, and how it is trained to be one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from innersearch.config.base import Settings


class SimulatorSettings(Settings):
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
    """Sampling temperature of what the simulator writes."""
    max_new_tokens: int = Field(600, ge=1)
    """Longest output for all documents of a search, in tokens."""
    max_batch: int = Field(128, ge=1)
    """Searches that the simulator writes for at once."""
    seed: int = Field(0, ge=0)
    """Seed of the simulator: the same query, question, label and seed give the same documents."""


class TuningSettings(Settings):
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
    """Seed of the choice and the order of pairs."""

    @model_validator(mode="after")
    def _adapters_take_adamw(self) -> TuningSettings:
        if self.lora and self.optimizer == "muon":
            raise ValueError("adapters are trained with optimizer adamw, not with muon")
        return self
