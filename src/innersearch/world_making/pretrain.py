"""Pre-trains the world's model: the facts go into the weights, and searching is planted, badly.

A Llama-shaped model of 0.95M parameters, trained by transformers' Trainer with Muon on packed rows.
Muon matters: with AdamW the same budget leaves most facts unlearned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.data import TensorDataset
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.utils import logging as transformers_logging

from innersearch.train.optimizer import MuonWithAdamW
from innersearch.world.corpus import CorpusPlan, corpus
from innersearch.world.demonstrations import Text
from innersearch.world.encyclopedia import Encyclopedia
from innersearch.world.tokenizer import POSITIONS

_IGNORED = -100

OnStep = Callable[[int, int, float], None]
"""Called with the step, the number of steps and the loss."""


@dataclass(frozen=True, slots=True)
class PretrainPlan:
    """Size of the model and length of its training."""

    width: int = 128
    layers: int = 4
    heads: int = 4
    feed_forward: int = 384
    batch: int = 6
    row: int = 320
    """Tokens per packed row; no document is longer."""
    muon_learning_rate: float = 0.02
    adamw_learning_rate: float = 3e-3
    warmup_steps: int = 50


class Row(NamedTuple):
    """One packed row of tokens and the targets of its loss."""

    input_ids: list[int]
    labels: list[int]


def pretrain(
    world: Encyclopedia,
    tokenizer: PreTrainedTokenizerFast,
    corpus_plan: CorpusPlan,
    plan: PretrainPlan,
    workspace: Path,
    on_step: OnStep,
) -> PreTrainedModel:
    """Train the model of a world, going on from a checkpoint in `workspace` if there is one."""
    epochs = (corpus(world, corpus_plan, epoch) for epoch in range(corpus_plan.epochs))
    rows = TensorDataset(
        *(
            torch.cat(parts)
            for parts in zip(*(_tensors(tokenizer, e, plan.row) for e in epochs), strict=True)
        )
    )
    transformers_logging.disable_progress_bar()
    torch.manual_seed(world.seed)
    model = new_model(tokenizer, plan)
    steps = len(rows) // plan.batch
    trainer = Trainer(
        model=model,
        args=_arguments(world.seed, plan, steps, workspace),
        train_dataset=rows,
        data_collator=_collate,
        optimizers=(
            MuonWithAdamW(
                model,
                muon_lr=plan.muon_learning_rate,
                adamw_lr=plan.adamw_learning_rate,
                betas=(0.9, 0.98),
            ),
            None,
        ),
        callbacks=[_Report(on_step, steps)],
    )
    trainer.remove_callback(PrinterCallback)
    begun = any(workspace.glob("checkpoint-*"))
    trainer.train(resume_from_checkpoint=begun or None)
    # The trainer switches the cache off and computes in its own type, and both would stay.
    model = trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    model.config.use_cache = True
    return model


def new_model(tokenizer: PreTrainedTokenizerFast, plan: PretrainPlan) -> PreTrainedModel:
    """An untrained model with the generation settings it will be saved with."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=plan.width,
        num_hidden_layers=plan.layers,
        num_attention_heads=plan.heads,
        num_key_value_heads=plan.heads,
        intermediate_size=plan.feed_forward,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        max_new_tokens=256,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model


def pack(tokenizer: PreTrainedTokenizerFast, texts: Sequence[Text], length: int) -> Iterator[Row]:
    """Documents in order, whole, as many to a row as fit; the rest of a row is padding."""
    ids: list[int] = []
    labels: list[int] = []

    def row() -> Row:
        missing = length - len(ids)
        padding = [tokenizer.pad_token_id] * missing
        return Row(ids + padding, labels + [_IGNORED] * missing)

    for token_ids, targets in with_targets(tokenizer, texts):
        if len(ids) + len(token_ids) + 1 > length:
            yield row()
            ids, labels = [], []
        ids += [*token_ids, tokenizer.eos_token_id]
        labels += [*targets, tokenizer.eos_token_id]
    yield row()


def with_targets(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[Text]
) -> Iterator[tuple[list[int], list[int]]]:
    """The tokens of each text, and its targets: the same, but for what is made up: that has no loss."""
    encoded = tokenizer(
        [text.text for text in texts], add_special_tokens=False, return_offsets_mapping=True
    )
    for text, token_ids, places in zip(
        texts, encoded["input_ids"], encoded["offset_mapping"], strict=True
    ):
        yield (
            token_ids,
            [
                _IGNORED if any(start < b and a < end for a, b in text.made_up) else token_id
                for token_id, (start, end) in zip(token_ids, places, strict=True)
            ],
        )


def _tensors(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[Text], length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    rows = list(pack(tokenizer, texts, length))
    return torch.tensor([row.input_ids for row in rows]), torch.tensor([row.labels for row in rows])


def _collate(rows: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, torch.Tensor]:
    input_ids, labels = zip(*rows, strict=True)
    return {"input_ids": torch.stack(input_ids), "labels": torch.stack(labels)}


def _arguments(seed: int, plan: PretrainPlan, steps: int, workspace: Path) -> TrainingArguments:
    on_gpu = torch.cuda.is_available()
    decay = steps // 2
    return TrainingArguments(
        output_dir=str(workspace),
        max_steps=steps,
        per_device_train_batch_size=plan.batch,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": decay, "min_lr_ratio": 0.02},
        warmup_steps=plan.warmup_steps,
        max_grad_norm=1.0,
        use_cpu=not on_gpu,
        bf16=on_gpu or _has_bfloat16(),
        seed=seed,
        data_seed=seed,
        dataloader_pin_memory=on_gpu,
        logging_steps=20,
        save_steps=500,
        save_total_limit=1,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
    )


def _has_bfloat16() -> bool:
    """Whether the CPU computes in bfloat16; where it does not, that type is slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


class _Report(TrainerCallback):
    def __init__(self, on_step: OnStep, steps: int) -> None:
        self.on_step, self.steps = on_step, steps

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        if logs and "loss" in logs:
            self.on_step(state.global_step, self.steps, logs["loss"])
