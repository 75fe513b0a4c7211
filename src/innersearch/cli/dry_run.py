"""`innersearch train --dry-run`: all that a run would be, without starting it or writing a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from innersearch.assemble.models import model_path
from innersearch.assemble.plans import demand_engine
from innersearch.assemble.recipes import read_recipe
from innersearch.cli.cost import forecast_table
from innersearch.cli.options import announce_calls
from innersearch.config import Recipe
from innersearch.config.reward import written
from innersearch.config.stages import StageSettings
from innersearch.readers import balanced
from innersearch.runs import Run, dotted
from innersearch.types import Question
from innersearch.view.tables import markdown

if TYPE_CHECKING:
    from innersearch.train.memory import Shape

_SIZES = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def dry_run(
    recipe: Path, settings: Recipe, questions: Sequence[Question], output: Path, *, resume: bool = False
) -> str:
    """What training would be, as text: settings and where they come from, work, memory, searches, cost.

    Raises:
        InnersearchError: What training would refuse before it starts.
    """
    from innersearch.policy.loading import load_tokenizer
    from innersearch.train import processes
    from innersearch.train.memory import Shape, outline
    from innersearch.train.run import check
    from innersearch.train.tokenizer_notices import notices

    resolved = settings.model_copy(update={"model": model_path(settings.model)})
    tokenizer = load_tokenizer(resolved.model)
    rows = balanced(questions) if settings.balance_groups else questions
    encoded = check(resolved, rows, tokenizer, output, resume=resume)
    demand_engine(processes.budget_share(resolved.search))
    lengths = [len(ids) for ids in encoded]
    _, given = read_recipe(str(recipe))
    shape = Shape.of(outline(resolved.model))
    parts = [
        markdown(["setting", "value", "from"], settings_rows(settings, given)),
        "\n".join(work_lines(resolved, lengths, output, shape.context)),
        memory_text(resolved, shape, max(lengths)),
        forecast_table(resolved),
    ]
    announce_calls(resolved)
    return "\n\n".join([*parts, *notices(tokenizer), "nothing was started and nothing written"])


def settings_rows(settings: Recipe, given: Mapping[str, Any]) -> list[list[str]]:
    """Name, value and source of every setting; one that the command line repeats is the recipe's."""
    defaults = _flat(Recipe())
    from_recipe = _flat(Recipe.model_validate(given), given=True)
    rows = []
    for name, value in _flat(settings).items():
        if name in from_recipe and from_recipe[name] == value:
            source = "recipe"
        elif name not in from_recipe and defaults[name] == value:
            source = "default"
        else:
            source = "command line"
        rows.append([name, _shown(value), source])
    return rows


def _flat(recipe: Recipe, *, given: bool = False) -> dict[str, Any]:
    """All values by dotted names, or only those that were given; a reward is one line."""
    values = recipe.model_dump(exclude_unset=given, exclude={"stage"})
    return dotted(values | ({"reward": written(recipe.reward)} if "reward" in values else {}))


def _shown(value: Any) -> str:
    if value is None:
        return "where there is a GPU"
    if isinstance(value, tuple):
        return ", ".join(value) or "–"
    return str(value).lower() if isinstance(value, bool) else str(value) if value != "" else "–"


def work_lines(recipe: Recipe, lengths: Sequence[int], output: Path, context: int) -> Iterator[str]:
    """Steps, trajectories, tokens of a model with that context, and where the run would go."""
    from innersearch.train import processes

    plan, most = recipe.trainer, min(recipe.sampling.max_new_tokens, context - min(lengths))
    group = plan.prompts_per_step * plan.group_size
    mean = sum(lengths) / len(lengths)
    epochs = plan.steps * plan.prompts_per_step / len(lengths)
    yield (
        f"{plan.steps:,} steps of {plan.prompts_per_step} questions × {plan.group_size} trajectories = "
        f"{plan.steps * group:,} trajectories; {len(lengths):,} questions, {epochs:.2g} epochs"
    )
    yield (
        f"tokens per step: {group * mean:,.0f} of prompts ({mean:.0f} each, the longest {max(lengths)}) "
        f"and at most {group * most:,} sampled ({most:,} each)"
    )
    share = group // processes.count() // plan.micro_batch
    yield f"{processes.count()} process(es), {share} passes of {plan.micro_batch} trajectories in each"
    yield f"run directory {output}{_state(output)}"


def _state(output: Path) -> str:
    latest = Run(output).latest()
    return f", where it goes on from step {latest.step}" if latest else ""


def sft_text(recipe: Recipe, stage: StageSettings, questions: int) -> str:
    """What a stage learns by heart, and how much of it; `questions` are those that it may ask."""
    chosen = f"what fulfils {stage.keep}" if stage.keep else "all of them"
    learnt = f"{chosen} is learnt in {stage.epochs} epochs, {stage.batch} at once\n"
    if not stage.samples:
        rows = f"{stage.questions:,} rows" if stage.questions else "all rows"
        return f"{recipe.name}: {rows} of {recipe.data}; {learnt}"
    asked = stage.questions or questions
    total = stage.rounds * asked * stage.samples
    return (
        f"{recipe.name}: {stage.rounds} rounds of {asked:,} questions × {stage.samples} trajectories = "
        f"{total:,} trajectories; {learnt}"
    )


def memory_text(recipe: Recipe, shape: Shape, prompt_tokens: int) -> str:
    """The estimated memory of one process."""
    from innersearch.train.memory import estimate
    from innersearch.train.trl.trainer import recomputes, uses_bf16

    memory = estimate(recipe, shape, prompt_tokens)
    lora = recipe.trainer.lora
    trained = shape.adapted(lora) if lora.rank else shape.parameters
    names = {
        "weights": memory.weights,
        "bfloat16 copies": memory.copies,
        "reference model": memory.reference,
        "weights of rollouts": memory.sampled_from,
        f"optimizer ({recipe.trainer.optimizer})": memory.optimizer,
        "gradients": memory.gradients,
        "activations": memory.activations,
        "log-probabilities": memory.logprobs,
        "keys and values of rollouts": memory.keys_and_values,
        "logits of rollouts": memory.logits,
        "peak of a training step": memory.training,
        "peak of rollouts": memory.rollouts,
    }
    rows = [[name, size(number)] for name, number in names.items() if number]
    how = "bf16" if uses_bf16(recipe) else "float32"
    again = "recomputed" if recomputes(recipe) else "kept"
    return (
        f"{shape.parameters:,} parameters, {trained:,} trained, {how}, activations {again}; estimated "
        f"memory of one process (formulae: innersearch.train.memory)\n{markdown(['for', 'bytes'], rows)}"
    )


def size(number: int) -> str:
    """Bytes for people.

    >>> size(12_340_000_000), size(999), size(50_000)
    ('12.3 GB', '999 B', '50.0 kB')
    """
    for unit, worth in _SIZES:
        if number >= worth:
            return f"{number / worth:.1f} {unit}"
    return f"{number} B"
