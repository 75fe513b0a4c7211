from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    GPTNeoConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from innersearch.errors import UnsupportedModelError
from innersearch.policy.base import Completion, Request, stream_key
from innersearch.policy.batch import Batch
from innersearch.policy.cache import SlotCache
from innersearch.policy.stops import StopStrings
from innersearch.policy.transformers import TransformersPolicy
from innersearch.types import Finish, Sampling

VOCABULARY, END = 40, 3
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
    "bos_token_id": None,
    "eos_token_id": END,
    "initializer_range": 0.35,
}
LOCAL = [[["global", "local"], 1]]
ARCHITECTURES = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "llama": (LlamaConfig, LlamaForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}


def make(name: str = "qwen2") -> PreTrainedModel:
    config, model = ARCHITECTURES[name]
    extra = {"head_dim": 8} if name == "qwen3" else {}
    torch.manual_seed(5)
    return model(config(**SIZES, **extra)).eval()


def requests(count: int) -> list[Request]:
    """Groups of three that share a prompt; prompts of different lengths."""
    prompts = [tuple((7 * i + j) % VOCABULARY for j in range(1 + i % 9)) for i in range(count)]
    return [Request(prompts[i // 3], (1, f"q{i // 3}", i % 3)) for i in range(count)]


def run(policy: TransformersPolicy, wanted: list[Request], sampling: Sampling) -> list[Completion]:
    finished = dict(policy.stream(wanted, sampling))
    return [finished[index] for index in range(len(wanted))]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_values_equal_a_plain_forward_pass(name: str) -> None:
    """With more requests than slots, so that sequences join, leave and move while others run."""
    model = make(name)
    wanted = requests(60)
    sampling = Sampling(temperature=1.3, max_new_tokens=24, seed=4)
    completions = run(TransformersPolicy(model, [END], max_batch=11), wanted, sampling)
    assert {c.finish for c in completions} == {Finish.EOS, Finish.LENGTH}
    for request, completion in zip(wanted, completions, strict=True):
        ids = torch.tensor([[*request.prompt_ids, *completion.token_ids]])
        with torch.no_grad():
            logits = model(ids).logits[0, len(request.prompt_ids) - 1 : -1] / 1.3
        logprobs = torch.log_softmax(logits, -1)
        chosen = logprobs.gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
        entropies = -(logprobs.exp() * logprobs).sum(-1)
        torch.testing.assert_close(torch.tensor(completion.logprobs), chosen, atol=1e-4, rtol=0)
        torch.testing.assert_close(torch.tensor(completion.entropies), entropies, atol=2e-4, rtol=0)
        assert END not in completion.token_ids[:-1]
        assert (completion.token_ids[-1] == END) == (completion.finish is Finish.EOS)


def test_a_trajectory_draws_the_same_tokens_in_any_batch_and_order() -> None:
    model = make()
    wanted = requests(40)
    sampling = Sampling(max_new_tokens=20, seed=9)
    reference = run(TransformersPolicy(model, [END], max_batch=64), wanted, sampling)
    alone = run(TransformersPolicy(model, [END], max_batch=1), wanted, sampling)
    reverse = run(TransformersPolicy(model, [END], max_batch=7), wanted[::-1], sampling)[::-1]
    for other in (alone, reverse):
        assert [c.token_ids for c in other] == [c.token_ids for c in reference]
    again = run(TransformersPolicy(model, [END], max_batch=64), wanted, sampling)
    assert again == reference
    different = run(TransformersPolicy(model, [END]), wanted, Sampling(max_new_tokens=20, seed=10))
    assert [c.token_ids for c in different] != [c.token_ids for c in reference]


def test_repetitions_of_a_question_differ() -> None:
    completions = run(TransformersPolicy(make(), [END]), requests(30), Sampling(max_new_tokens=20))
    assert len({tuple(c.token_ids) for c in completions[:3]}) == 3
    assert stream_key(0, (1, "a", 0)) != stream_key(0, (1, "a", 1)) != stream_key(1, (1, "a", 1))


def test_tokens_are_drawn_from_the_model_s_distribution() -> None:
    model = make()
    wanted = [Request((5, 6, 7), (0, "q", repetition)) for repetition in range(20_000)]
    completions = run(
        TransformersPolicy(model, [END], max_batch=4000), wanted, Sampling(max_new_tokens=1)
    )
    with torch.no_grad():
        probabilities = torch.softmax(model(torch.tensor([[5, 6, 7]])).logits[0, -1], -1)
    drawn = torch.tensor([c.token_ids[0] for c in completions])
    counts = torch.bincount(drawn, minlength=VOCABULARY).double()
    expected = probabilities.double() * len(wanted)
    likely = expected > 5
    chi_square = ((counts - expected) ** 2 / expected)[likely].sum()
    # 99.9 % quantile of chi-square with at most 39 degrees of freedom.
    assert chi_square < 72.1


WIDE = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_one_pass_for_everybody_gives_the_bits_of_separate_passes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, architecture = ARCHITECTURES[name]
    torch.manual_seed(5)
    model, passes = architecture(config(**SIZES | WIDE)).eval(), 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    model.register_forward_pre_hook(count)
    wanted = [replace(r, max_new_tokens=4 + 3 * n % 8) for n, r in enumerate(requests(64))]
    sampling = Sampling(max_new_tokens=12, seed=3)
    together = run(TransformersPolicy(model, [], max_batch=16), wanted, sampling)
    steps, passes = passes, 0
    assert model.config._attn_implementation == "sdpa"
    monkeypatch.setattr(type(model), "_supports_attention_backend", False)
    assert run(TransformersPolicy(model, [], max_batch=16), wanted, sampling) == together
    # Who joins takes no pass of his own: only the end, when nobody waits any more, is ragged.
    tokens = sum(len(c.token_ids) for c in together)
    assert steps <= tokens / 16 + 12 < passes


def test_policies_sample_in_threads_of_one_process() -> None:
    """As a policy and the simulator of its searches do; two sessions may even share a model."""
    wanted, sampling = requests(48), Sampling(max_new_tokens=16, seed=3)
    policies = [TransformersPolicy(make(name), [], max_batch=8) for name in ("qwen2", "llama")]
    policies.append(TransformersPolicy(policies[0].model, [], max_batch=5))
    alone = [run(policy, wanted, sampling) for policy in policies]
    with ThreadPoolExecutor(len(policies)) as pool:
        for _ in range(3):
            assert list(pool.map(lambda policy: run(policy, wanted, sampling), policies)) == alone
    assert policies[0].model.config._attn_implementation == "sdpa"


def test_greedy_equals_generate() -> None:
    model = make()
    wanted = requests(12)
    policy = TransformersPolicy(model, [END], max_batch=5)
    completions = run(policy, wanted, Sampling(temperature=0.0, max_new_tokens=15))
    for request, completion in zip(wanted, completions, strict=True):
        ids = torch.tensor([request.prompt_ids])
        generated = model.generate(
            ids,
            do_sample=False,
            max_new_tokens=15,
            pad_token_id=0,
            attention_mask=torch.ones_like(ids),
        )
        assert generated[0, len(request.prompt_ids) :].tolist() == completion.token_ids


def test_a_trajectory_that_would_overflow_ends_there() -> None:
    policy = TransformersPolicy(make(), [])
    long, short = Request(tuple([1] * 90)), Request((1, 2))
    first, second = run(policy, [long, short], Sampling(max_new_tokens=1000))
    assert (len(first.token_ids), first.finish) == (6, Finish.LENGTH)
    assert (len(second.token_ids), second.finish) == (94, Finish.LENGTH)


def test_a_limit_beyond_the_context_takes_no_memory() -> None:
    model = make()
    batch = Batch(model, frozenset(), Sampling(max_new_tokens=10**9), SlotCache(16, 2), 16)
    assert batch.tokens.shape == (16, 96)
    wanted = [Request((1, 2))]
    [huge], [enough] = (
        run(TransformersPolicy(model, []), wanted, Sampling(max_new_tokens=most)) for most in (10**9, 94)
    )
    assert huge == enough


@pytest.mark.parametrize("length", [0, 96, 200])
def test_a_prompt_that_leaves_no_room_is_refused(length: int) -> None:
    policy = TransformersPolicy(make(), [END])
    with pytest.raises(ValueError, match=f"has {length} tokens.*shorten the question"):
        list(policy.stream([Request(tuple([1] * length))], Sampling()))


def test_no_requests_and_training_mode() -> None:
    model = make().train()
    assert run(TransformersPolicy(model, [END]), [], Sampling()) == []
    run(TransformersPolicy(model, [END]), requests(3), Sampling(max_new_tokens=2))
    assert model.training


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (
            Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=4, max_window_layers=0),
            "sliding",
        ),
        (MistralConfig(**SIZES, sliding_window=8), "a sliding window of 8"),
        (
            GPTNeoConfig(num_layers=2, attention_types=LOCAL, hidden_size=32, num_heads=2),
            "local attention",
        ),
        (BloomConfig(n_layer=2, hidden_size=32, n_head=2, vocab_size=40), "without position embeddings"),
    ],
)
def test_a_model_with_other_attention_is_refused(config: PreTrainedConfig, reason: str) -> None:
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(UnsupportedModelError, match=reason):
        TransformersPolicy(model, [END])


def test_a_tokenizer_may_know_more_tokens_than_the_model(tokenizer: PreTrainedTokenizerFast) -> None:
    stop = StopStrings(tokenizer, ["</search>"])
    assert max(stop.candidates) >= VOCABULARY
    wanted = [Request((1, 2), ("q",), stop=stop)]
    [completion] = run(TransformersPolicy(make(), [END]), wanted, Sampling(max_new_tokens=8))
    assert completion.token_ids
