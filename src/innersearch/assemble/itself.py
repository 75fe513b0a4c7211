"""The engine `self:MODEL`: a policy that answers queries from its own memory."""

from __future__ import annotations

from innersearch.assemble.models import conventions_of, model_path
from innersearch.config.names import EngineName
from innersearch.identity import snapshot
from innersearch.search.base import Engine
from innersearch.search.kinds import EngineKind, Opening
from innersearch.weights import fingerprint


def _open(name: EngineName, opening: Opening) -> Engine:
    from innersearch.policy.loading import load_model, load_tokenizer
    from innersearch.policy.transformers import TransformersPolicy
    from innersearch.simulator.itself import SelfSearchEngine

    path, settings = model_path(name.place), opening.settings.simulator
    model, tokenizer = load_model(path), load_tokenizer(path)
    policy = TransformersPolicy.of(model, tokenizer, settings.max_batch)
    folder = snapshot(path)
    prompt = conventions_of(tokenizer).prompt
    weights = fingerprint(folder) if folder else ""
    return SelfSearchEngine(policy, tokenizer, prompt, settings, weights)


KIND = EngineKind(
    "self", "self:MODEL", _open, alone=True, summary="a policy that answers from its own memory"
)
