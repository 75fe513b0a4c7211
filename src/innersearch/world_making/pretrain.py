"""Pre-trains the world's model: the facts go into the weights, and searching is planted, badly.

A Llama-shaped model of 0.95M parameters, trained by transformers' Trainer with Muon. Muon matters:
with AdamW the same budget leaves most facts unlearned. A batch holds documents of like length, each in a
row of its own: packed into rows of 320, they attend to others that they have nothing to do with, and
attention takes half of a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.data import Dataset
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
    batch_tokens: int = 1920
    """Tokens of a batch, padding included."""
    muon_learning_rate: float = 0.02
    adamw_learning_rate: float = 3e-3
    warmup_steps: int = 50


class Batch(NamedTuple):
    """Documents of like length, padded on the right, and targets of the loss: both (rows, tokens)."""

    input_ids: torch.Tensor
    labels: torch.Tensor


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
    batches = [batch for e in epochs for batch in batches_of(tokenizer, e, plan.batch_tokens)]
    transformers_logging.disable_progress_bar()
    torch.manual_seed(world.seed)
    model = new_model(tokenizer, plan)
    if not torch.cuda.is_available():
        # On the CPU, the fused kernel's backward pass takes longer for texts as short as these.
        model.set_attn_implementation("eager")
    steps = len(batches)
    trainer = Trainer(
        model=model,
        args=_arguments(world.seed, plan, steps, workspace),
        train_dataset=_Batches(batches),
        data_collator=lambda drawn: drawn[0],
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
    model.set_attn_implementation("sdpa")
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


class _Batches(Dataset[dict[str, torch.Tensor]]):
    """Batches as the trainer draws them, one at a time."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        return self.batches[number]._asdict()


def batches_of(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[Text], tokens: int
) -> Iterator[Batch]:
    """All documents, the short ones first, as many to a batch as fit with their padding."""
    rows: list[tuple[list[int], list[int]]] = []
    for ids, targets in sorted(with_targets(tokenizer, texts), key=lambda found: len(found[0])):
        # The longest comes last; each row ends with the token that ends a document.
        if rows and (len(rows) + 1) * (len(ids) + 1) > tokens:
            yield _padded(tokenizer, rows)
            rows = []
        rows.append(([*ids, tokenizer.eos_token_id], [*targets, tokenizer.eos_token_id]))
    yield _padded(tokenizer, rows)


def _padded(tokenizer: PreTrainedTokenizerFast, rows: Sequence[tuple[list[int], list[int]]]) -> Batch:
    longest = len(rows[-1][0])
    ids = [found + [tokenizer.pad_token_id] * (longest - len(found)) for found, _ in rows]
    labels = [found + [_IGNORED] * (longest - len(found)) for _, found in rows]
    return Batch(torch.tensor(ids), torch.tensor(labels))


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


def _arguments(seed: int, plan: PretrainPlan, steps: int, workspace: Path) -> TrainingArguments:
    on_gpu = torch.cuda.is_available()
    decay = steps // 2
    return TrainingArguments(
        output_dir=str(workspace),
        max_steps=steps,
        per_device_train_batch_size=1,
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
