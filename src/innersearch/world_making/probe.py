"""Asks the weights for facts, without questions or tags: is a fact known, whatever the agent does?

Each statement is cut before its tail, in two wordings, and completed greedily. What is right is
what pre-training stated, also where it has changed since.
"""

from __future__ import annotations

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from innersearch.intervals import Estimate, proportion
from innersearch.policy.base import Request
from innersearch.policy.transformers import TransformersPolicy
from innersearch.token_text import pieces
from innersearch.types import Sampling
from innersearch.world.encyclopedia import Encyclopedia, Fact, Frequency, Split

_STATEMENTS = (0, 2)
_TAIL_TOKENS = 5


def probe(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, world: Encyclopedia, split: Split
) -> dict[str, Estimate]:
    """Share of statements about heads of a split that the model completes rightly, by tier."""
    known = known_statements(model, tokenizer, world, split)
    tiers: dict[str, list[bool]] = {}
    for fact, right in known:
        tiers.setdefault(Frequency.of(fact.mentions).value, []).append(right)
    return {
        tier.value: proportion(sum(tiers[tier]), len(tiers[tier])) for tier in Frequency if tier in tiers
    }


def known_statements(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, world: Encyclopedia, split: Split
) -> list[tuple[Fact, bool]]:
    """Facts about heads of a split, each twice, and whether the model completes them rightly."""
    facts = [fact for fact in world.facts if world.by_name[fact.head].split is split]
    asked = [(fact, statement) for fact in facts for statement in _STATEMENTS]
    requests = [
        Request(tuple(tokenizer.encode(_cut(fact, statement), add_special_tokens=False)))
        for fact, statement in asked
    ]
    policy = TransformersPolicy.of(model, tokenizer)
    right: dict[int, bool] = {}
    for index, completion in policy.stream(requests, Sampling(0.0, _TAIL_TOKENS)):
        completed = "".join(pieces(tokenizer, completion.token_ids))
        right[index] = completed.startswith(f" {asked[index][0].remembered}.")
    return [(fact, right[index]) for index, (fact, _) in enumerate(asked)]


def _cut(fact: Fact, statement: int) -> str:
    return fact.state(statement).removesuffix(f" {fact.remembered}.")
