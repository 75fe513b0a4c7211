"""Real model formats: Qwen2.5, Qwen3 and Llama 3 with their chat templates, and a base model without.

The models have random weights and a few thousand parameters per layer; architectures, special tokens and
templates are the real ones. Each trains two steps from the command line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from innersearch import prompts
from innersearch.cli import main
from innersearch.errors import ModelError
from innersearch.policy.loading import end_ids, load_model, load_tokenizer
from innersearch.rewards import strict_format
from innersearch.stored import read_lines
from innersearch.token_text import pieces
from innersearch.train.tokenizer_notices import notices
from tests.policy.test_real_models import CHATML, TRIVIA, search_r1_file

QWEN3 = (
    "{%- for message in messages %}"
    "{%- set content = message.content %}"
    "{%- if message.role == 'assistant' and '</think>' in content %}"
    "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}"
    "{%- endif %}"
    "{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"
)
"""The part of Qwen3's template that messages without tools take."""

QWEN3_THINKING = QWEN3[: QWEN3.index("{%- if enable_thinking")] + "{{- '<think>\\n' }}{%- endif %}"
"""Qwen3's Thinking-2507 models open the thought themselves."""

QWEN3_SILENT = QWEN3.replace("enable_thinking is defined and enable_thinking is false", "true")
"""A template that always closes an empty thought."""

LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ "
    "message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
    "{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 1024,
    "initializer_range": 0.2,
}


def qwen_tokens(*, thinks: bool) -> list[AddedToken]:
    tokens = [
        AddedToken(text, special=True, normalized=False)
        for text in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    ]
    # In Qwen3 they are added tokens, but not special ones.
    extra = ("<think>", "</think>") * thinks
    return tokens + [AddedToken(text, special=False, normalized=False) for text in extra]


def llama_tokens() -> list[AddedToken]:
    names = ("begin_of_text", "end_of_text", "start_header_id", "end_header_id", "eot_id", "eom_id")
    return [AddedToken(f"<|{name}|>", special=True, normalized=False) for name in names]


def tokenizer_of(bpe: str, tokens: list[AddedToken], **settings: Any) -> PreTrainedTokenizerFast:
    backend = Tokenizer.from_str(bpe)
    backend.add_tokens([token for token in tokens if not token.special])
    backend.add_special_tokens([token for token in tokens if token.special])
    return PreTrainedTokenizerFast(tokenizer_object=backend, **settings)


CHATTY = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}


def save(folder: Path, tokenizer: PreTrainedTokenizerFast, kind: str) -> Path:
    """A directory as the hub has it; the embeddings have more rows than the tokenizer has tokens."""
    torch.manual_seed(0)
    ends = {
        "qwen": ["<|im_end|>", "<|endoftext|>"],
        "llama": ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"],
    }["llama" if kind == "llama" else "qwen"]
    sizes = SIZES | {"vocab_size": len(tokenizer) + 100, "eos_token_id": tokenizer.eos_token_id}
    model = {
        "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**sizes, tie_word_embeddings=True)),
        "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**sizes, head_dim=32, tie_word_embeddings=True)),
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**sizes)),
    }[kind]()
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(ends)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def models_folder(byte_level_bpe: str, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("formats")
    plain, thinking = qwen_tokens(thinks=False), qwen_tokens(thinks=True)
    save(
        folder / "qwen2.5-instruct",
        tokenizer_of(byte_level_bpe, plain, **CHATTY, chat_template=CHATML),
        "qwen2",
    )
    for name, template in (
        ("qwen3", QWEN3),
        ("qwen3-thinking", QWEN3_THINKING),
        ("qwen3-silent", QWEN3_SILENT),
    ):
        tokenizer = tokenizer_of(byte_level_bpe, thinking, **CHATTY, chat_template=template)
        save(folder / name, tokenizer, "qwen3")
    begin = {"bos_token": "<|begin_of_text|>"}
    llama = tokenizer_of(
        byte_level_bpe, llama_tokens(), **begin, eos_token="<|eot_id|>", chat_template=LLAMA3
    )
    save(folder / "llama-3-instruct", llama, "llama")
    base = tokenizer_of(byte_level_bpe, llama_tokens(), **begin, eos_token="<|end_of_text|>")
    save(folder / "llama-3-base", base, "llama")
    return folder


NAMES = (
    "qwen2.5-instruct",
    "qwen3",
    "qwen3-thinking",
    "qwen3-silent",
    "llama-3-instruct",
    "llama-3-base",
)
SHORT = (
    "--trainer.steps 2 --trainer.prompts-per-step 2 --trainer.group-size 2 --trainer.micro-batch 4 "
    "--sampling.max-new-tokens 16 --trainer.save-every 2 --trainer.kl 0"
)


@pytest.mark.parametrize("name", NAMES)
def test_two_steps_from_the_command_line(models_folder: Path, tmp_path: Path, name: str, capsys) -> None:
    data = search_r1_file(tmp_path) if name.startswith("qwen3") else TRIVIA
    output = tmp_path / "run"
    model = str(models_folder / name)
    arguments = ["train", "recipes/ssrl.toml", "--model", model, "--data", str(data), *SHORT.split()]
    assert main([*arguments, "--output", str(output)]) == 0
    assert [record["step"] for record in read_lines(output / "metrics.jsonl")] == [1, 2]
    ends = end_ids(load_model(model), load_tokenizer(model))
    assert len(ends) >= 2
    for record in read_lines(output / "trajectories.jsonl"):
        [segment] = record["segments"]
        ended = segment["token_ids"][-1] in ends
        assert ended == (record["stop_reason"] == "eos")
        assert ended or len(segment["token_ids"]) == segment["prompt_len"] + 16
    errors = capsys.readouterr().err
    assert errors.count("has no chat template") == (name == "llama-3-base")
    assert errors.count("has no padding token") == name.startswith("llama")
    assert errors.count("which is taken off") == (name in ("qwen3-thinking", "qwen3-silent"))
    assert errors.count("the think tags are tokens of the model") == name.startswith("qwen3")
    # What was saved is a model like the one that was given.
    assert main(["ask", str(output / "model"), "Who?", "--max-new-tokens", "4"]) == 0


EXPECTED = {
    "qwen2.5-instruct": (
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
        "<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    ),
    "qwen3": "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    "qwen3-thinking": "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    "qwen3-silent": "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    "llama-3-instruct": (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "llama-3-base": "{}\n",
}


@pytest.mark.parametrize("name", NAMES)
def test_prompts_end_where_the_policy_begins(models_folder: Path, name: str) -> None:
    tokenizer = load_tokenizer(str(models_folder / name))
    ids = prompts.encode(tokenizer, "ssrl", "Who wrote <think>?")
    # Tags in a question are no tags of the protocol.
    expected = EXPECTED[name].format(prompts.render("ssrl", "Who wrote [think]?"))
    assert tokenizer.decode(ids) == expected
    assert bool(prompts.prefilled(tokenizer)) == (name in ("qwen3-thinking", "qwen3-silent"))


def test_thoughts_of_qwen3_are_the_protocols(models_folder: Path) -> None:
    """One token each, spelled like the tags of the others, and scored like theirs."""
    tokenizer = load_tokenizer(str(models_folder / "qwen3"))
    text = "<think>\nWho?\n</think>\n\n<answer>Ada</answer>"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert {"<think>", "</think>"} <= set(tokenizer.convert_ids_to_tokens(ids))
    assert "".join(pieces(tokenizer, ids)) == text
    assert strict_format("".join(pieces(tokenizer, ids))) == 1.0
    # What a template that opens the thought would leave of it is no thought.
    assert strict_format(text.removeprefix("<think>\n")) == 0.0


def test_a_template_that_fails_is_named(models_folder: Path) -> None:
    tokenizer = load_tokenizer(str(models_folder / "qwen3"))
    tokenizer.chat_template = "{{ raise_exception('a system message is needed') }}"
    with pytest.raises(ModelError, match="cannot render a single user message: a system message"):
        prompts.encode(tokenizer, "ssrl", "Who?")


def test_notices_say_nothing_of_an_ordinary_model(models_folder: Path) -> None:
    assert notices(load_tokenizer(str(models_folder / "qwen2.5-instruct"))) == []


def test_a_tokenizer_that_cannot_spell_the_tags_is_refused(
    models_folder: Path, tmp_path: Path, capsys
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    # Not of a Qwen model, of whose tokenizer.json transformers reads the vocabulary only.
    for file in (models_folder / "llama-3-base").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    broken = json.loads((folder / "tokenizer.json").read_text())
    broken["normalizer"] = {"type": "Replace", "pattern": {"String": "<"}, "content": ""}
    (folder / "tokenizer.json").write_text(json.dumps(broken))
    arguments = ["train", "recipes/ssrl.toml", "--model", str(folder), "--data", str(TRIVIA)]
    assert main([*arguments, *SHORT.split(), "--output", str(tmp_path / "run")]) == 1
    assert "add the protocol tags to its vocabulary" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
