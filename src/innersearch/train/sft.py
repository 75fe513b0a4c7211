"""Fine-tunes a model to play the search engine, with TRL's SFTTrainer; documents alone carry loss.

ZeroSearch publishes the learning rate, 1e-6, and the models, Qwen2.5-3B to 14B-Instruct, and neither
epochs nor batch nor script (section 3.3 of arXiv 2505.04588).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerFast, PrinterCallback, TrainerCallback

from innersearch.checkpoints import Checkpoint, Checkpoints
from innersearch.config import SimulatorSettings, TuningSettings
from innersearch.errors import ConfigError, DataError, installing
from innersearch.identity import demand_same, keep, of_model, of_pairs, of_texts, use_day
from innersearch.locks import held
from innersearch.policy.loading import demand_vocabulary
from innersearch.records import begun, write_json
from innersearch.runs import versions
from innersearch.search.base import SearchRequest
from innersearch.search.curriculum import Label
from innersearch.simulator.engine import gold_answers, simulator_prompt
from innersearch.simulator.loading import TRAINED
from innersearch.simulator.pairs import Pair, as_text, balanced
from innersearch.simulator.writers import encode_prompt
from innersearch.train.optimizer import MuonWithAdamW
from innersearch.train.order import rows_of_epochs
from innersearch.train.trl.saving import NamedDraws, SavesPlainly

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
from trl import SFTConfig, SFTTrainer

IGNORED = -100
"""The target where no token is learnt."""

Row = dict[str, list[int]]
"""`input_ids` of a sequence and their `labels`: the same, or `IGNORED`."""

OnStep = Callable[[int, int, float], None]
"""Called with the step, the number of steps and the loss."""


def tune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    pairs: Sequence[Pair],
    simulator: SimulatorSettings,
    settings: TuningSettings,
    output: Path,
    *,
    resume: bool = False,
    on_step: OnStep = lambda step, steps, loss: None,
) -> Path:
    """Train `model` on labelled pairs, useful and noisy ones alike, and write it to `output`.

    Args:
        model: Trained in place.
        tokenizer: Its tokenizer.
        pairs: Labelled pairs; the larger label is cut to the size of the other.
        simulator: The prompt, and what it says; kept beside the model.
        settings: How to train.
        output: Directory of the simulator.
        resume: Go on from the last epoch that ended.
        on_step: Told about every step.

    Raises:
        DataError: One of the labels has no pairs.
        RunError: `output` is not empty and `resume` is not given, or every checkpoint in it is damaged.
    """
    with held(output, "simulator"):
        return _tune(model, tokenizer, pairs, simulator, settings, output, on_step, resume=resume)


def _tune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    pairs: Sequence[Pair],
    simulator: SimulatorSettings,
    settings: TuningSettings,
    output: Path,
    on_step: OnStep,
    *,
    resume: bool,
) -> Path:
    demand_vocabulary(model, tokenizer, str(model.name_or_path))
    chosen = balanced(pairs, settings.seed)[: settings.max_pairs or None]
    if not chosen:
        raise DataError(
            "no pairs to train on: both labels are needed, label them with `innersearch simulator label`"
        )
    going_on = begun(output, resume=resume, what="simulator")
    path = str(model.name_or_path)
    use_day(output)
    made_of = of_model(path, tokenizer) | of_pairs(map(repr, chosen))
    texts = (simulator_prompt(simulator, label, "", "", (), 1) for label in get_args(Label))
    made_of |= of_texts(*map(repr, texts))
    made_of["settings"] = settings.model_dump() | simulator.model_dump(include={"words", "gold"})
    demand_same(output, made_of, path, "training")
    keep(output, made_of, path, versions())
    if (output / TRAINED).is_file():
        return output
    rows = [row(tokenizer, pair, simulator, numbered=settings.numbered) for pair in chosen]
    checkpoints = Checkpoints(output / "checkpoints")
    latest = checkpoints.latest() if going_on else None
    fit(model, tokenizer, rows, settings, checkpoints, latest, output, on_step)
    kept = {"prompt", "words", "gold"}
    record = {
        "settings": simulator.model_dump(include=kept),
        "training": settings.model_dump(),
        "pairs": len(chosen),
        "versions": versions(),
    }
    write_json(output / TRAINED, record)
    return output


def fit(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    rows: Sequence[Row],
    settings: TuningSettings,
    checkpoints: Checkpoints,
    latest: Checkpoint | None,
    output: Path,
    on_step: OnStep,
    *,
    logged: int = 5,
    save_every: int = 0,
) -> None:
    """Train `model` on rows, from a checkpoint if there is one, and write it to `output`.

    The loss is told every `logged` steps, and what is there is saved after every epoch, or `save_every`
    steps where those are fewer.
    """
    torch.manual_seed(settings.seed)
    epoch = max(1, len(rows) // settings.batch)
    saved = min(epoch, save_every or epoch)
    trainer = _trainer(model, tokenizer, rows, settings, checkpoints, on_step, logged, saved)
    checkpoints.clear(latest)
    trainer.train(resume_from_checkpoint=str(latest.path) if latest else None)
    trained: Any = trainer.model
    if settings.lora:
        trained = trained.merge_and_unload()
    # The trainer switches it off, and it would stay off for whoever loads the model.
    trained.config.use_cache = True
    trained.save_pretrained(output)
    tokenizer.save_pretrained(output)


def row(
    tokenizer: PreTrainedTokenizerFast, pair: Pair, simulator: SimulatorSettings, *, numbered: bool
) -> Row:
    """Tokens of prompt, documents and end of sequence, and the targets of the loss."""
    label: Label = "useful" if pair.label == "useful" else "noisy"
    gold = gold_answers(SearchRequest(pair.query, pair.question), simulator)
    question = pair.question.question
    prompt = simulator_prompt(simulator, label, pair.query, question, gold, len(pair.documents))
    before = list(encode_prompt(tokenizer, prompt))
    written = as_text(pair.documents, numbered=numbered)
    ids = [*tokenizer.encode(written, add_special_tokens=False), tokenizer.eos_token_id]
    return {"input_ids": before + ids, "labels": [IGNORED] * len(before) + ids}


def _trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    rows: Sequence[Row],
    settings: TuningSettings,
    checkpoints: Checkpoints,
    on_step: OnStep,
    logged: int,
    saved: int,
) -> SFTTrainer:
    on_gpu = torch.cuda.is_available()
    optimizer = None
    if settings.optimizer == "muon":
        optimizer = MuonWithAdamW(
            model, muon_lr=settings.muon_learning_rate, adamw_lr=settings.learning_rate
        )
    order = rows_of_epochs(settings.seed, len(rows), settings.epochs)
    trainer = _Trainer(
        model=model,
        args=SFTConfig(
            output_dir=str(checkpoints.folder),
            # The epochs are laid end to end, in the order of each.
            num_train_epochs=1,
            train_sampling_strategy="sequential",
            per_device_train_batch_size=settings.batch,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=10,
            max_length=None,
            use_cpu=not on_gpu,
            bf16=on_gpu,
            gradient_checkpointing=on_gpu,
            dataloader_pin_memory=on_gpu,
            seed=settings.seed,
            data_seed=settings.seed,
            logging_steps=logged,
            save_strategy="steps",
            save_steps=saved,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([rows[number] for number in order]),
        processing_class=tokenizer,
        peft_config=_adapters(settings.lora) if settings.lora else None,
        optimizers=(optimizer, None),
        callbacks=[NamedDraws(settings.seed), _Marks(checkpoints), _Report(on_step)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _adapters(rank: int) -> Any:
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise ConfigError(f"low-rank adapters need peft: {installing('lora')}") from error
    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")


class _Trainer(SavesPlainly, SFTTrainer):
    pass


class _Marks(TrainerCallback):
    """Declares checkpoints complete."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.checkpoints.mark_complete(state.global_step, 0.0)


class _Report(TrainerCallback):
    def __init__(self, on_step: OnStep) -> None:
        self.on_step = on_step

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        if logs and "loss" in logs:
            self.on_step(state.global_step, state.max_steps, logs["loss"])
