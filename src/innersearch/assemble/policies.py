"""Opens the policy that a name stands for, and finds out at once whether it can be one.

    transformers             the model in this process
    vllm                     the model in this process, run by vLLM
    http:URL[,URL…][#NAME]   servers of the model that take and give token ids (vLLM, SGLang)
    chat:URL#NAME            a chat API: evaluation only, with text that is encoded again

A server's model needs a directory here as well, for its tokenizer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from innersearch.errors import ConfigError, PolicyError, did_you_mean
from innersearch.net.addresses import without_users
from innersearch.policy.base import Policy, Request
from innersearch.policy.completions import CompletionsPolicy
from innersearch.policy.servers import Patience, Servers
from innersearch.types import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_PROBE_S = 60.0
"""How long a server may take for its first word."""
POLICIES = ("transformers", "vllm", "http", "chat")


DTYPES = ("float32", "bfloat16", "float16", "auto")
DTYPE = "float32"
"""What weights are computed in unless another type is asked for; auto is that of the weights."""


def kind_of(name: str) -> str:
    """The kind of a policy: what stands before its address."""
    return _parts(name)[0]


def _parts(name: str) -> tuple[str, str]:
    """The kind of a policy and its place; an address alone is that of a server."""
    kind, _, place = name.partition(":")
    return ("http", name) if kind in ("http", "https") and place.startswith("//") else (kind, place)


def runs_own(name: str) -> bool:
    """Whether the model at hand answers; behind a chat API it is another one."""
    return not name.startswith("chat:")


def open_policy(
    name: str,
    path: str,
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_batch: int = 256,
    dtype: str = DTYPE,
) -> Policy:
    """The policy `name` for the model at `path`.

    Args:
        name: As above.
        path: Model directory or hub id; for servers, it says only what ends a sequence.
        tokenizer: The tokenizer there.
        max_batch: Sequences in flight at most.
        dtype: What the model computes in here: one of `DTYPES`; servers have chosen theirs.

    Raises:
        ConfigError: There is no such policy, or something that it needs is not given or installed.
        ModelError: There is no such model, or the server of it sends no token ids.
        PolicyError: No server answers.
    """
    if dtype != DTYPE and kind_of(name) in ("http", "chat"):
        raise ConfigError(f"--dtype {dtype} with the policy {name}: its server has chosen, leave it out")
    kind, place = _parts(name)
    address, _, model = place.partition("#")
    urls = [url for url in address.split(",") if url]
    match kind:
        case "transformers" if not place:
            return _in_memory(path, tokenizer, max_batch, dtype)
        case "vllm" if not place:
            from innersearch.policy.loading import demand_loadable
            from innersearch.policy.vllm import VllmPolicy

            demand_loadable(path, tokenizer)
            chosen = {} if dtype == DTYPE else {"dtype": dtype}
            return VllmPolicy.load(path, tokenizer, max_batch=max_batch, **chosen)
        case "http" if urls:
            return _checked(_completions(urls, model, path, tokenizer, max_batch), tokenizer)
        case "chat" if len(urls) == 1 and model:
            from innersearch.policy.chat import ChatPolicy

            return ChatPolicy(urls[0], model, tokenizer, in_flight=max_batch)
    hint = "" if kind in POLICIES else f"{did_you_mean(kind, POLICIES)}; "
    raise ConfigError(
        f"unknown policy {without_users(name)!r}; {hint}write transformers, vllm, "
        "http:URL[,URL][#NAME] or chat:URL#NAME"
    )


def _in_memory(path: str, tokenizer: PreTrainedTokenizerFast, max_batch: int, dtype: str) -> Policy:
    import torch

    from innersearch.policy.loading import load_model
    from innersearch.policy.transformers import TransformersPolicy

    wanted: torch.dtype | Literal["auto"] = "auto" if dtype == "auto" else getattr(torch, dtype)
    return TransformersPolicy.of(load_model(path, dtype=wanted), tokenizer, max_batch)


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
