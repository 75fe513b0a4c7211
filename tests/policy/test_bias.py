"""Constants on logits: how they are written, what they do, and who cannot add them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from innersearch.assemble.agents import open_agent
from innersearch.assemble.policies import parse_policy
from innersearch.cli import main
from innersearch.config.bias import read_bias
from innersearch.errors import ConfigError
from innersearch.policy.base import Request
from innersearch.policy.bias import biased_tokens
from innersearch.policy.loading import load_model, load_tokenizer
from innersearch.policy.transformers import TransformersPolicy
from innersearch.stored import read_json
from innersearch.types import Sampling
from innersearch.world.bundled import BUNDLED
from innersearch.world.questions import SOURCE

TOKENIZER = load_tokenizer(str(BUNDLED))


def test_tokens_are_named_by_text_spelling_or_number() -> None:
    number = TOKENIZER.encode(" answer", add_special_tokens=False)[0]
    for text in (" answer=-0.8", "Ġanswer=-0.8", f"#{number}=-0.8"):
        assert biased_tokens(TOKENIZER, [text]) == {number: -0.8}
    closes = TOKENIZER.encode("</think>", add_special_tokens=False)[0]
    assert biased_tokens(TOKENIZER, ["</think>=2"]) == {closes: 2.0}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([" answer"], "' answer' is no bias"),
        ([" answer=much"], "is no bias"),
        ([" answer=nan"], "is no bias"),
        (["=1"], "is no bias"),
        ([" I know=1"], "needs one token, and this tokenizer has 2"),
        ([" answer=1", "Ġanswer=2"], "two biases on the token"),
        (["#999999=1"], "needs one token"),
    ],
)
def test_biases_that_are_none(given: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        biased_tokens(TOKENIZER, given)


def test_a_table_says_the_same_as_texts() -> None:
    assert read_bias({" answer": -0.8, "a=b": 1}) == (" answer=-0.8", "a=b=1")


def test_what_is_drawn_and_told_is_of_the_biased_distribution() -> None:
    model = load_model(str(BUNDLED))
    ids = tuple(TOKENIZER.encode("Question", add_special_tokens=False)) or (1,)
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -1]
    rare = int(logits.argmin())
    policy = TransformersPolicy.of(model, TOKENIZER, 16, {rare: 1000.0})
    [(_, found)] = policy.stream([Request(ids, ("a",))], Sampling(0.0, 1))
    assert found.token_ids == [rare]
    mild = TransformersPolicy.of(model, TOKENIZER, 16, {rare: 3.0})
    [(_, found)] = mild.stream([Request(ids, ("a",))], Sampling(2.0, 1))
    biased = logits.clone()
    biased[rare] += 3.0
    expected = torch.log_softmax(biased / 2.0, -1)[found.token_ids[0]]
    assert found.logprobs == pytest.approx([float(expected)], abs=1e-4)


def test_only_the_policy_that_adds_them_takes_any() -> None:
    for name in ("vllm", "http://127.0.0.1:1/v1"):
        with pytest.raises(ConfigError, match="only the policy transformers adds"):
            parse_policy(name).demand_bias([" answer=1"])
    with pytest.raises(ConfigError, match="is no bias"):
        open_agent("world", logit_bias=" answer")


def test_an_evaluation_records_its_bias(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [json.dumps(asdict(question)) for question in SOURCE.read("test")[:2]]
    Path("q.jsonl").write_text("\n".join(rows))
    command = ["eval", "world", "--data", "q.jsonl", "-n", "2", "--output", "out"]
    assert main([*command, "--logit-bias", " answer=-30"]) == 0
    number = TOKENIZER.encode(" answer", add_special_tokens=False)[0]
    assert read_json(Path("out/summary.json"))["logit_bias"] == {str(number): -30.0}
    texts = Path("out/trajectories.jsonl").read_text()
    assert "lack" in texts
    assert "The answer is" not in texts
    sampled = [json.loads(line) for line in Path("out/samples.jsonl").read_text().splitlines()]
    for record in sampled:
        assert record["searches"] == sum(record["each"]["searches"]) / 2
        assert len(record["each"]["tokens"]) == 2
        assert all(record["each"]["tokens"])
    assert main([*command, "--logit-bias", " answer=-20", "--resume"]) == 1
    assert "other settings" in capsys.readouterr().err
