"""The best single logit bias: which questions a constant changes, and what is chosen."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from innersearch.policy.bias import biased_tokens
from innersearch.world_1.questions import SOURCE

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "logit_bias.py"
QUESTIONS = [q for q in SOURCE.read("validation") if q.group == "two_hop_common"][:10]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("logit_bias", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_recorded_logits_tell_what_a_constant_changes(script, monkeypatch) -> None:
    model = script.Model("world-1")
    greedy = model.answers(QUESTIONS, {})
    candidates = script.structural(greedy, len(QUESTIONS))
    spelled = {str(model.tokenizer.decode([token])).strip(): token for token in candidates}
    assert {"<think>", "</search>", "answer"} <= spelled.keys()
    assert not any(name in spelled for q in QUESTIONS for name in q.golden_answers)
    for token in candidates:
        name = script.named(model.tokenizer, token)
        assert biased_tokens(model.tokenizer, [f"{name}=0.5"]) == {token: 0.5}
    tokens = [spelled["answer"], spelled["</search>"]]
    recorded = model.record(greedy, tokens)

    def written(one):
        return [segment.token_ids for segment in one.segments]

    shares = set()
    for constant in (-1.5, 0.5):
        choice = script.Choice(tokens[0], constant)
        changed = recorded.changed(choice)
        biased = model.answers(QUESTIONS, {choice.token: constant})
        others = [
            row
            for row, (one, other) in enumerate(zip(greedy, biased, strict=True))
            if written(one) != written(other)
        ]
        # A tie within rounding may be taken for a change, never the other way round.
        assert set(others) <= set(changed)
        assert len(changed) - len(others) <= 1
        shares.add(len(others))
    assert max(shares) > 0
    monkeypatch.setattr(script, "GRID", (-1.5, 0.5))
    chosen, best = script.choose(model, QUESTIONS, recorded)
    every = {
        script.Choice(token, constant): sum(model.right(QUESTIONS, {token: constant}))
        for token in tokens
        for constant in script.GRID
    }
    most = max(*every.values(), sum(recorded.right))
    assert best == pytest.approx(most / len(QUESTIONS))
    assert chosen is None or every[chosen] == most
