"""What a cold start is to do."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from innersearch.config import Recipe
from innersearch.config.base import Settings
from innersearch.grammar import grammar_of

DEMONSTRATIONS = "demonstrations.jsonl"
STAGE = "tags"
"""The name of the stage that learns them."""


class StartPlan(Settings):
    """How a model is brought to write in a grammar, and how that is measured."""

    grammar: str = "tags"
    """How the model is to write: tags, rag-r1, r1-searcher or asearcher."""
    prompt: str = "question"
    """Name of the prompt text that it is to answer; question is the bare question."""
    examples: str = ""
    """File of examples in JSON lines, each with question, steps (thought, search, information), thought
    and answer, for every number of searches; our own are about small countries."""
    questions: int = Field(400, ge=1)
    """Trajectories that are written, each for another question as long as there are some."""
    searches: int = Field(2, ge=0)
    """Searches of a trajectory at most; how many it has is drawn for each, whatever the question."""
    epochs: int = Field(1, ge=1)
    """Passes over the trajectories."""
    batch: int = Field(16, ge=1)
    """Trajectories per optimizer step."""
    learning_rate: float = Field(3e-5, gt=0)
    """Peak learning rate of AdamW."""
    lora: int = Field(0, ge=0)
    """Rank of low-rank adapters, merged at the end; 0 trains all weights."""
    one_hop: str = "one_hop"
    """Group of questions of which nothing must be lost; without such a group all count."""
    two_hop: str = "two_hop"
    """Group of questions that are sampled for pass@k; without such a group all count."""
    measured: int = Field(48, ge=1)
    """Validation questions of each group that are answered greedily, drawn by the seed."""
    sampled: int = Field(16, ge=1)
    """Questions of two hops that are sampled."""
    samples: int = Field(16, ge=1)
    """Number of trajectories of each, the k of pass@k."""
    temperature: float = Field(0.7, gt=0)
    """Sampling temperature; take the same in the recipe that goes on from here."""
    max_new_tokens: int = Field(192, ge=1)
    """Longest trajectory, in tokens."""
    max_batch: int = Field(32, ge=1)
    """Sequences in flight at once."""
    dtype: Literal["auto", "float32", "bfloat16", "float16", "stored"] = "auto"
    """What writing and measuring compute in; auto takes bfloat16 for models of some size on a CPU that
    is measured to be faster with it. Tuning is in float32."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of all that is drawn."""


class StartSettings(StartPlan):
    """A plan with what it is for."""

    model: str
    """A model directory or hub id."""
    data: str
    """Questions that trajectories are written for."""
    validation: str
    """Other questions, by which the start is measured."""

    def recipe(self, demonstrations: str) -> Recipe:
        """The recipe of a run that learns these demonstrations, information included: with that masked
        a model learns the tags and not what stands in them.

        Raises:
            ValidationError: A value is impossible in it.
        """
        stage = {"name": STAGE, "kind": "sft", "epochs": self.epochs, "batch": self.batch}
        trainer = {"learning_rate": self.learning_rate, "lora": {"rank": self.lora}, "save_every": 10}
        sampling = {"temperature": self.temperature, "max_new_tokens": self.max_new_tokens}
        values = {
            "name": "start",
            "model": self.model,
            "data": demonstrations,
            "seed": self.seed,
            "prompt": {"name": self.prompt},
            "mask": {"information": False},
            "rollout": {"grammar": self.grammar},
            "sampling": {**sampling, "max_batch": self.max_batch},
            "trainer": trainer,
            "stage": [stage],
        }
        return Recipe.model_validate(values)

    @property
    def well_formed(self) -> str:
        """The measure of what is well-formed in the grammar."""
        return "format:one-thought" if grammar_of(self.grammar).nested else "format:strict"
