"""A model becomes a simulator: tuned on labelled pairs, some of which are held out to measure it."""

from __future__ import annotations

from pathlib import Path

from innersearch.assemble.models import conventions_of, model_path
from innersearch.config import SimulatorSettings, TuningSettings
from innersearch.policy.loading import load_model, load_tokenizer
from innersearch.simulator.pairs import HELD_OUT, read_pairs, split, write_pairs
from innersearch.train.sft import OnStep, tune


def tune_simulator(
    model: str,
    pairs: Path,
    output: Path,
    settings: TuningSettings,
    simulator: SimulatorSettings,
    *,
    held_out: float,
    resume: bool,
    on_step: OnStep,
) -> None:
    """Fine-tune a model into `output`, and keep the pairs there that are for measuring it.

    Args:
        model: Model directory or hub id; `world` is the bundled model.
        pairs: File of labelled pairs.
        output: Directory of the simulator.
        settings: How it is trained; what is not set is as the model expects.
        simulator: What it is told, in the prompt that the model expects.
        held_out: Share of the questions that are not trained on.
        resume: Go on with what is in `output`.
        on_step: Told of each step: its number, how many there are, and the loss.

    Raises:
        InnersearchError: The model cannot be loaded or trained, or the pairs cannot be read.
    """
    path = model_path(model)
    training, measuring = split(read_pairs(pairs), held_out)
    tokenizer = load_tokenizer(path)
    usual = conventions_of(tokenizer)
    given = settings.model_dump(include=settings.model_fields_set)
    tune(
        load_model(path),
        tokenizer,
        training,
        simulator.model_copy(update={"prompt": usual.simulator_prompt}),
        TuningSettings(**{**usual.tuning, **given}),
        output,
        resume=resume,
        on_step=on_step,
    )
    (output / HELD_OUT).unlink(missing_ok=True)
    write_pairs(output / HELD_OUT, measuring)
