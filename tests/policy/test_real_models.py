"""What users bring: a Qwen2.5 directory with its chat template, FlashRAG and Search-R1 files.

The model has random weights; the tokenizer is a byte-level BPE of 32,000 entries, trained here on the
source text of the installed packages.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from innersearch.cli import main
from innersearch.stored import read_lines
from tests.conftest import local_text

TRIVIA = Path(__file__).parents[1] / "data" / "trivia.jsonl"

CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are Qwen, created by Alibaba "
    "Cloud. You are a helpful assistant.<|im_end|>\n{% endif %}{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The part of Qwen2.5's template that a single user message takes."""


@pytest.fixture(scope="module")
def qwen(tmp_path_factory) -> Path:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        local_text(24_000_000),
        trainers.BpeTrainer(
            vocab_size=32_000,
            special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHATML
    )
    assert len(tokenizer) >= 30_000
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.2,
    )
    path = tmp_path_factory.mktemp("models") / "Qwen2.5-tiny"
    model = Qwen2ForCausalLM(config)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def search_r1_file(folder: Path) -> Path:
    rows = [json.loads(line) for line in TRIVIA.read_text(encoding="utf-8").splitlines()]
    table = [
        {
            "id": row["id"],
            "question": row["question"],
            "golden_answers": row["golden_answers"],
            "data_source": "nq",
            "prompt": [{"role": "user", "content": row["question"]}],
            "reward_model": {"ground_truth": {"target": row["golden_answers"]}, "style": "rule"},
        }
        for row in rows
    ]
    path = folder / "train.parquet"
    parquet.write_table(pa.Table.from_pylist(table), path)
    return path


@pytest.mark.parametrize("form", ["flashrag", "search-r1"])
def test_ssrl_recipe_trains_any_causal_model_on_any_questions(
    qwen: Path, tmp_path: Path, form: str
) -> None:
    data = TRIVIA if form == "flashrag" else search_r1_file(tmp_path)
    output = tmp_path / "run"
    short = (
        "--trainer.steps 2 --trainer.prompts-per-step 4 --trainer.group-size 2 --trainer.micro-batch 4"
    )
    limits = "--sampling.max-new-tokens 24 --trainer.save-every 1"
    arguments = ["train", "recipes/ssrl.toml", "--model", str(qwen), "--data", str(data)]
    assert main([*arguments, "--output", str(output), *short.split(), *limits.split()]) == 0
    metrics = list(read_lines(output / "metrics.jsonl"))
    assert [record["step"] for record in metrics] == [1, 2]
    # With a weight on the divergence TRL measures it against the starting model.
    assert all(record["policy/kl"] >= 0 for record in metrics)
    trajectories = list(read_lines(output / "trajectories.jsonl"))
    assert len(trajectories) == 2 * 4 * 2
    known = {json.loads(line)["question"] for line in TRIVIA.read_text(encoding="utf-8").splitlines()}
    for record in trajectories:
        segment = record["segments"][0]
        assert record["question"]["question"] in known
        sampled = segment["token_ids"][segment["prompt_len"] :]
        assert 1 <= len(sampled) <= 24
    tokenizer = PreTrainedTokenizerFast.from_pretrained(output / "model")
    segment = trajectories[0]["segments"][0]
    prompt = tokenizer.decode(segment["token_ids"][: segment["prompt_len"]])
    assert prompt.startswith("<|im_start|>system\n")
    assert prompt.endswith(
        f"Question: {trajectories[0]['question']['question']}<|im_end|>\n<|im_start|>assistant\n"
    )
    assert "<information> and </information>" in prompt


def test_eval_and_ask_take_the_same_directory(qwen: Path, tmp_path: Path, capsys) -> None:
    short = ["--max-new-tokens", "16"]
    output = tmp_path / "eval"
    evaluation = ["eval", str(qwen), "--data", str(TRIVIA), "-n", "2", "--output", str(output)]
    assert main([*evaluation, *short]) == 0
    assert len(list(read_lines(output / "samples.jsonl"))) == 32
    assert "pass@1" in capsys.readouterr().out
    assert main(["ask", str(qwen), "Who wrote Dune?", *short]) == 0
    assert "cut off by the token budget" in capsys.readouterr().out
