"""Opens the policy that a name stands for, and finds out at once whether it can be one.

    transformers             the model in this process
    vllm                     the model in this process, run by vLLM
    http:URL[,URL…][#NAME]   servers of the model that take and give token ids (vLLM, SGLang)
    chat:URL#NAME            a chat API: evaluation only, with text that is encoded again

A server's model needs a directory here as well, for its tokenizer. Packages of others add kinds under
`innersearch.policies`; see `innersearch.policy.kinds`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from innersearch.errors import ConfigError, PolicyError, did_you_mean
from innersearch.extensions import Offers
from innersearch.net.addresses import without_users
from innersearch.policy.base import Policy, Request
from innersearch.policy.bias import biased_tokens
from innersearch.policy.completions import CompletionsPolicy
from innersearch.policy.dtype import AUTO, STORED, Choice, choose
from innersearch.policy.kinds import DTYPE, Opening, PolicyKind, PolicyName
from innersearch.policy.servers import Patience, Servers
from innersearch.types import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

TRANSFORMERS = "transformers"
"""The policy that runs the model in this process."""
_PROBE_S = 60.0
"""How long a server may take for its first word."""


@dataclass(frozen=True, slots=True)
class ChosenPolicy:
    """A policy that was named, before it is opened."""

    name: PolicyName
    kind: PolicyKind

    @property
    def own(self) -> bool:
        """Whether the model at hand answers; behind a chat API it is another one."""
        return self.kind.own

    def open(
        self,
        path: str,
        tokenizer: PreTrainedTokenizerFast,
        *,
        max_batch: int = 256,
        dtype: str = DTYPE,
        logit_bias: Sequence[str] = (),
    ) -> Policy:
        """The policy for the model at `path`; as `open_policy`."""
        dtype = self.computes(dtype, path).dtype
        if dtype != DTYPE and not self.kind.here:
            raise ConfigError(
                f"--dtype {dtype} with the policy {self.name.text}: its server has chosen, leave it out"
            )
        self.demand_bias(logit_bias)
        biased = biased_tokens(tokenizer, logit_bias)
        return self.kind.open(self.name, Opening(path, tokenizer, max_batch, dtype, biased))

    def computes(self, dtype: str, path: str) -> Choice:
        """In which type the model at `path` is to compute, where that is asked for; see `choose`."""
        if dtype == AUTO and self.kind.name != TRANSFORMERS:
            return Choice(DTYPE, "as its server has chosen")
        return choose(dtype, path)

    def demand_bias(self, logit_bias: Sequence[str]) -> None:
        """Refuse constants on logits where the policy cannot add them.

        Raises:
            ConfigError: It cannot.
        """
        if logit_bias and not self.kind.biases:
            raise ConfigError(
                f"--logit-bias with the policy {self.name.text}: only the policy transformers adds "
                "constants to logits, take that one or leave the bias out"
            )


def parse_policy(text: str) -> ChosenPolicy:
    """The policy that a text names.

    Raises:
        ConfigError: There is no such policy, or its address or model is missing.
    """
    name = PolicyName.parse(text)
    kind = POLICIES.find(name.kind)
    if kind is not None and kind.takes(name):
        return ChosenPolicy(name, kind)
    hint = "" if kind else f"{did_you_mean(name.kind, POLICIES.names())}; "
    forms = [found.form for known in POLICIES.names() if (found := POLICIES.find(known))]
    raise ConfigError(
        f"unknown policy {without_users(text)!r}; {hint}write {', '.join(forms[:-1])} or {forms[-1]}"
    )


def open_policy(
    name: str,
    path: str,
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_batch: int = 256,
    dtype: str = DTYPE,
    logit_bias: Sequence[str] = (),
) -> Policy:
    """The policy `name` for the model at `path`.

    Args:
        name: As above.
        path: Model directory or hub id; for servers, it says only what ends a sequence.
        tokenizer: The tokenizer there.
        max_batch: Sequences in flight at most.
        dtype: What the model computes in here: float32, bfloat16, float16, auto (bfloat16 where this CPU
            is faster with it) or stored (as its weights are); servers have chosen theirs.
        logit_bias: Constants on the logits of tokens, each a `TOKEN=CONSTANT`.

    Raises:
        ConfigError: There is no such policy, or something that it needs is not given or installed.
        ModelError: There is no such model, or the server of it sends no token ids.
        PolicyError: No server answers.
    """
    chosen = parse_policy(name)
    return chosen.open(path, tokenizer, max_batch=max_batch, dtype=dtype, logit_bias=logit_bias)


def training_policy(name: str) -> Callable[[PreTrainedModel, PreTrainedTokenizerFast, int], Policy]:
    """What samples from a model while it is trained, given the model, its tokenizer and the sequences in
    flight at most.

    Raises:
        ConfigError: There is no such policy, or it cannot follow the weights.
    """
    training = parse_policy(name).kind.training
    if training is None:
        raise ConfigError(
            f"the policy {name!r} does not follow the weights that are trained: take transformers or "
            "vllm"
        )
    return training


def _open_transformers(name: PolicyName, opening: Opening) -> Policy:
    import torch

    from innersearch.policy.loading import load_model
    from innersearch.policy.transformers import TransformersPolicy

    dtype: torch.dtype | Literal["auto"]
    dtype = "auto" if opening.dtype == STORED else getattr(torch, opening.dtype)
    model = load_model(opening.path, dtype=dtype)
    return TransformersPolicy.of(model, opening.tokenizer, opening.max_batch, opening.logit_bias)


def _train_transformers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, max_batch: int
) -> Policy:
    from innersearch.policy.transformers import TransformersPolicy

    return TransformersPolicy.of(model, tokenizer, max_batch)


def _open_vllm(name: PolicyName, opening: Opening) -> Policy:
    from innersearch.policy.loading import demand_loadable
    from innersearch.policy.vllm import VllmPolicy

    demand_loadable(opening.path, opening.tokenizer)
    chosen = {} if opening.dtype == DTYPE else {"dtype": opening.dtype}
    return VllmPolicy.load(opening.path, opening.tokenizer, max_batch=opening.max_batch, **chosen)


def _open_http(name: PolicyName, opening: Opening) -> Policy:
    policy = _completions(name.urls, name.model, opening.path, opening.tokenizer, opening.max_batch)
    return _checked(policy, opening.tokenizer)


def _open_chat(name: PolicyName, opening: Opening) -> Policy:
    from innersearch.policy.chat import ChatPolicy

    return ChatPolicy(name.urls[0], name.model, opening.tokenizer, in_flight=opening.max_batch)


def _is_bare(name: PolicyName) -> bool:
    return ":" not in name.text.removesuffix(":")


POLICIES: Offers[PolicyKind] = Offers(
    "innersearch.policies",
    PolicyKind,
    "policy",
    {
        kind.name: kind
        for kind in (
            PolicyKind(
                *(TRANSFORMERS, TRANSFORMERS, _open_transformers, _is_bare),
                here=True,
                biases=True,
                training=_train_transformers,
            ),
            # TRL holds its engine and loads the weights into it; that takes this one's place.
            PolicyKind(*("vllm", "vllm", _open_vllm, _is_bare), here=True, training=_train_transformers),
            PolicyKind("http", "http:URL[,URL][#NAME]", _open_http),
            PolicyKind(
                *("chat", "chat:URL#NAME", _open_chat),
                takes=lambda name: len(name.urls) == 1 and bool(name.model),
                own=False,
            ),
        )
    },
)
"""Every kind of policy that can be named."""


def _completions(
    urls: Sequence[str], model: str, path: str, tokenizer: PreTrainedTokenizerFast, max_batch: int
) -> CompletionsPolicy:
    from innersearch.policy.loading import configured_context, configured_ends, configured_vocabulary

    served = _served(urls)
    if model and model not in served:
        raise PolicyError(f"{urls[0]} serves no model {model!r}; {did_you_mean(model, served)}")
    model = model or next(iter(served))
    told = served[model]
    policy = CompletionsPolicy(
        urls,
        model,
        configured_ends(path, tokenizer),
        told.context or configured_context(path),
        vocabulary=configured_vocabulary(path, tokenizer),
        in_flight=max_batch,
    )
    policy.stated = told.root
    return policy


class _Told(NamedTuple):
    """What a server says of a model: its longest sequence, and what it was loaded from."""

    context: int | None
    root: str


def _served(urls: Sequence[str]) -> dict[str, _Told]:
    """The models at the first address, by name."""

    async def ask() -> Any:
        servers = Servers(urls, 1, Patience(deadline_s=_PROBE_S))
        try:
            return await servers.get("models")
        finally:
            await servers.close()

    answer = asyncio.run(ask())
    try:
        found = {
            str(entry["id"]): _Told(_length(entry.get("max_model_len")), str(entry.get("root") or ""))
            for entry in answer["data"]
        }
    except (KeyError, TypeError, AttributeError):
        found = {}
    if not found:
        raise PolicyError(
            f"{urls[0]} lists no models: is it an OpenAI-style address, as in http://host/v1?"
        )
    return found


_LONGEST = 10**9
"""Longest context that is believed, in tokens."""


def _length(told: Any) -> int | None:
    return told if isinstance(told, int) and 1 < told <= _LONGEST else None


def _checked(policy: CompletionsPolicy, tokenizer: PreTrainedTokenizerFast) -> CompletionsPolicy:
    """The same, after each of its servers has written one token."""

    async def probe(url: str) -> None:
        alone = policy.at([url], Patience(deadline_s=_PROBE_S, max_outage_s=0.0, tries=1, open_after=1))
        async with alone.session(Sampling(1.0, 1)) as sampler:
            ids = tuple(tokenizer.encode("a", add_special_tokens=False))
            await sampler.generate(Request(ids or (0,), ("probe",)))

    for url in policy.urls:
        asyncio.run(probe(url))
    return policy
