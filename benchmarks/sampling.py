"""Tokens per second of our policy and of `model.generate`, same model, same prompts, one process.

256 sequences (64 prompts × 4 samples) of at most 96 tokens at temperature 1, on the embedded world's
model. The two take turns; medians are printed, with the ratio, and the share of a bound that counts
what the arithmetic and the memory traffic of the same tokens cost at rates measured here.

    python benchmarks/sampling.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from innersearch import prompts
from innersearch.policy.base import Request
from innersearch.policy.loading import end_ids, load_model, load_tokenizer
from innersearch.policy.transformers import TransformersPolicy
from innersearch.types import Sampling
from innersearch.world_1.bundled import BUNDLED, BUNDLED_SEED
from innersearch.world_1.encyclopedia import Encyclopedia, Split
from innersearch.world_1.questions import questions

QUESTIONS, SAMPLES, LENGTH, ROUNDS = 64, 4, 96, 5


def main() -> None:
    model, tokenizer = load_model(str(BUNDLED)), load_tokenizer(str(BUNDLED))
    found = questions(Encyclopedia.generate(BUNDLED_SEED), Split.TEST)
    chosen = found[:: len(found) // QUESTIONS][:QUESTIONS]
    encoded = [prompts.encode(tokenizer, "world", question.question) for question in chosen]
    requests = [Request(ids, (str(row), n)) for row, ids in enumerate(encoded) for n in range(SAMPLES)]
    policy = TransformersPolicy(model, end_ids(model, tokenizer), max_batch=len(requests))

    def ours(seed: int) -> list[int]:
        finished = policy.stream(requests, Sampling(1.0, LENGTH, seed))
        return [len(item.completion.token_ids) for item in finished]

    def theirs(seed: int) -> list[int]:
        return generate(model, tokenizer, encoded, seed)

    rates: dict[str, list[float]] = {"innersearch": [], "model.generate": []}
    lengths: list[int] = []
    for seed in range(ROUNDS + 1):
        for name, sampler in (("innersearch", ours), ("model.generate", theirs)):
            counts, seconds = timed(sampler, seed)
            if seed:  # the first round warms up
                rates[name].append(sum(counts) / seconds)
                lengths += counts if name == "innersearch" else []
    medians = {name: statistics.median(values) for name, values in rates.items()}
    bound = tokens_per_second_bound(model, statistics.fmean(map(len, encoded)), lengths)
    print(f"{QUESTIONS * SAMPLES} sequences, {statistics.fmean(lengths):.1f} tokens on average, "
          f"{torch.get_num_threads()} threads, median of {ROUNDS} rounds")  # fmt: skip
    for name, rate in medians.items():
        spread = f"{min(rates[name]):,.0f} to {max(rates[name]):,.0f}"
        print(f"{name:16s} {rate:8,.0f} tokens/s  ({spread})")
    print(f"{'bound':16s} {bound:8,.0f} tokens/s")
    print(f"ratio to model.generate {medians['innersearch'] / medians['model.generate']:.2f}")
    print(f"share of the bound {medians['innersearch'] / bound:.2f}")


def timed(sampler: Callable[[int], list[int]], seed: int) -> tuple[list[int], float]:
    started = time.perf_counter()
    counts = sampler(seed)
    return counts, time.perf_counter() - started


def generate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, encoded: list[tuple[int, ...]], seed: int
) -> list[int]:
    """`model.generate` as it comes, on the whole batch; only tokens up to the end of each count."""
    torch.manual_seed(seed)
    rows = [list(ids) for ids in encoded for _ in range(SAMPLES)]
    batch = tokenizer.pad({"input_ids": rows}, padding_side="left", return_tensors="pt")
    with torch.inference_mode():
        output = model.generate(**batch, do_sample=True, temperature=1.0, top_k=0, max_new_tokens=LENGTH)
    sampled = output[:, batch["input_ids"].shape[1] :].tolist()
    end = tokenizer.eos_token_id
    return [row.index(end) + 1 if end in row else len(row) for row in sampled]


def tokens_per_second_bound(model: PreTrainedModel, prompt: float, lengths: list[int]) -> float:
    """The larger of two times per token decides: multiply-adds of the weights and of attention at the
    measured matrix rate, or reading keys and values once at the measured memory rate.
    """
    config = model.config
    context = prompt + statistics.fmean(n * n for n in lengths) / (2 * statistics.fmean(lengths))
    weights = sum(p.numel() for name, p in model.named_parameters() if "embed" not in name)
    weights += config.vocab_size * config.hidden_size
    width = config.num_hidden_layers * config.hidden_size
    flops = 2 * weights + 4 * context * width
    share = config.num_key_value_heads / config.num_attention_heads
    bytes_read = 2 * 4 * context * width * share
    return 1 / max(flops / matrix_rate(), bytes_read / memory_rate())


def matrix_rate() -> float:
    """float32 operations per second of a large matrix product."""
    a = torch.randn(2048, 2048)
    seconds = min(timed(lambda _: [(a @ a).numel()], 0)[1] for _ in range(5))
    return 2 * 2048**3 / seconds


def memory_rate() -> float:
    """Bytes per second of reading a tensor far larger than the caches."""
    a = torch.ones(64 * 2**20)
    seconds = min(timed(lambda _: [int(a.sum())], 0)[1] for _ in range(5))
    return a.numel() * 4 / seconds


if __name__ == "__main__":
    main()
