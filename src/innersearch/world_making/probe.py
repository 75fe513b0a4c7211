"""Asks the weights for facts, without questions or tags: is a fact known, whatever the agent does?

Each statement is cut before its tail, in two paraphrases, and completed greedily.
"""

from __future__ import annotations

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from innersearch.intervals import Estimate, proportion
from innersearch.policy.base import Request
from innersearch.policy.transformers import TransformersPolicy
from innersearch.token_text import pieces
from innersearch.types import Sampling
from innersearch.world.encyclopedia import Encyclopedia, Split, Tier

_PARAPHRASES = (0, 1)
_TAIL_TOKENS = 5


def probe(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, world: Encyclopedia, split: Split
) -> dict[str, Estimate]:
    """Share of statements about heads of a split that the model completes rightly, by tier."""
    facts = [fact for fact in world.facts if world.by_name[fact.head].split is split]
    asked = [(fact, paraphrase) for fact in facts for paraphrase in _PARAPHRASES]
    requests = [
        Request(tuple(tokenizer.encode(_cut(fact.state(p), fact.tail), add_special_tokens=False)))
        for fact, p in asked
    ]
    policy = TransformersPolicy.of(model, tokenizer)
    right: dict[str, list[bool]] = {tier.value: [] for tier in Tier}
    for index, completion in policy.stream(requests, Sampling(0.0, _TAIL_TOKENS)):
        fact = asked[index][0]
        completed = "".join(pieces(tokenizer, completion.token_ids))
        known = completed.startswith(f" {fact.tail}.")
        right[world.by_name[fact.head].tier.value].append(known)
    return {tier: proportion(sum(known), len(known)) for tier, known in right.items() if known}


def _cut(statement: str, tail: str) -> str:
    return statement.removesuffix(f" {tail}.")
