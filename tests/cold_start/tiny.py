"""A model of a few thousand numbers that has learnt to go on with examples: lines of all kinds."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from innersearch.cold_start.examples import Example

THINGS = "ant bee cat dog eel fox gnu hen ibis jay kiwi lion".split()
COLOURS = "red blue green grey white black".split()
CONTEXT = 640


def colour(thing: str) -> str:
    return COLOURS[THINGS.index(thing) % len(COLOURS)]


def example(thing: str, searches: int) -> Example:
    step = {
        "thought": "Look.",
        "search": f"the {thing}",
        "information": f"The {thing} is {colour(thing)}.",
    }
    given = {
        "question": asked(thing),
        "steps": [step] * searches,
        "thought": "So.",
        "answer": colour(thing),
    }
    return Example.model_validate(given)


def asked(thing: str) -> str:
    return f"What colour is the {thing}?"


def write_examples(folder: Path) -> str:
    file = folder / "examples.jsonl"
    rows = [example(thing, n).model_dump() for n in range(3) for thing in ("ant", "bee")]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def write_questions(folder: Path, name: str, things: list[str]) -> str:
    """Each asked twice, as a question of one hop and as one of two."""
    rows = [
        {
            "id": f"{group}:{thing}",
            "question": asked(thing),
            "golden_answers": [colour(thing)],
            "metadata": {"group": group},
        }
        for group in ("one_hop", "two_hop")
        for thing in things
    ]
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def _text(draw: random.Random) -> str:
    searches = draw.randrange(3)
    chosen = draw.sample(THINGS, 3)
    if draw.random() < 0.3:
        return "".join(f"Search: the {x}\nResult: The {x} is {colour(x)}.\n\n" for x in chosen)
    return "".join(example(x, searches).lines() + "\n" for x in chosen)


@cache
def tiny_model() -> str:
    """The directory of the model."""
    draw = random.Random(0)
    texts = [_text(draw) for _ in range(240)]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<eos>", "<pad>"]
    backend.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=420, initial_alphabet=alphabet, special_tokens=special, show_progress=False
        ),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", pad_token="<pad>")
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=CONTEXT,
            eos_token_id=0,
            pad_token_id=1,
            tie_word_embeddings=True,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3)
    ids = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=112).input_ids
    for step in range(130):
        batch = ids[torch.randperm(len(ids))[:12]]
        labels = batch.masked_fill(batch == 1, -100)
        model(input_ids=batch, labels=labels).loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * (1 - step / 130)
        optimizer.step()
        optimizer.zero_grad()
    folder = mkdtemp()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
