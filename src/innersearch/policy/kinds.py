"""Kinds of policies: how each is written, whose words it writes, and what opens it.

A package of somebody else offers its own under `innersearch.policies`:

    KIND = PolicyKind("mine", "mine:URL", lambda name, opening: MyPolicy(name.urls, opening.tokenizer))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from innersearch.policy.base import Policy

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

DTYPE = "float32"
"""What weights are computed in unless another type is asked for; see `innersearch.policy.dtype`."""


@dataclass(frozen=True, slots=True)
class PolicyName:
    """A policy as it is named: KIND[:URL[,URL…][#MODEL]]; an address alone is that of a server.

    >>> PolicyName.parse("https://host/v1#m")
    PolicyName(text='https://host/v1#m', kind='http', urls=('https://host/v1',), model='m')
    """

    text: str
    """As it is written."""
    kind: str
    urls: tuple[str, ...] = ()
    """What stands behind the kind, at its commas."""
    model: str = ""
    """What stands behind the #."""

    @classmethod
    def parse(cls, text: str) -> PolicyName:
        """The parts of a name."""
        kind, _, place = text.partition(":")
        if kind in ("http", "https") and place.startswith("//"):
            kind, place = "http", text
        address, _, model = place.partition("#")
        return cls(text, kind, tuple(url for url in address.split(",") if url), model)


@dataclass(frozen=True, slots=True)
class Opening:
    """What there is to open a policy with."""

    path: str
    """Model directory or hub id; for servers, it says only what ends a sequence."""
    tokenizer: PreTrainedTokenizerFast
    max_batch: int = 256
    """Sequences in flight at most."""
    dtype: str = DTYPE
    """What the model computes in, where it runs in this process."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Constants on the logits of tokens, by their ids; only kinds that say so are given any."""


@dataclass(frozen=True, slots=True)
class PolicyKind:
    """A kind of policy."""

    name: str
    """What stands before the colon."""
    form: str
    """How it is written: `http:URL[,URL][#NAME]`."""
    open: Callable[[PolicyName, Opening], Policy]
    """Raises ConfigError, ModelError or PolicyError, each saying what to do."""
    takes: Callable[[PolicyName], bool] = lambda name: bool(name.urls)
    """Whether a name has what it needs."""
    own: bool = True
    """Whether the model at hand answers, not another one behind an address."""
    here: bool = False
    """Whether it runs in this process, in whatever type is asked for."""
    biases: bool = False
    """Whether it adds constants to logits."""
    training: Callable[[PreTrainedModel, PreTrainedTokenizerFast, int], Policy] | None = None
    """Samples from a model while it is trained, given the model, its tokenizer and the sequences in
    flight at most; None for policies that cannot follow its weights."""
