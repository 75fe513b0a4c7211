"""`innersearch simulator`: make a model that plays the search engine, and measure how well it does."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.types import NonNegativeInt, PositiveFloat, PositiveInt
from cyclopts.validators import Number

from innersearch.assemble.models import model_path
from innersearch.assemble.sources import load_questions
from innersearch.cli.console import stdout
from innersearch.cli.progress import Display
from innersearch.cli.results import AsJson, show
from innersearch.config import SimulatorSettings, TuningSettings
from innersearch.errors import RunError
from innersearch.locks import locked
from innersearch.records import write_json
from innersearch.simulator.pairs import read_pairs, written_pairs

app = App(name="simulator", help_format="plaintext", help="Models that play the search engine.")


@app.command
def collect(
    model: str,
    *,
    data: str,
    engine: str,
    output: Path,
    k: Annotated[NonNegativeInt, Parameter(alias="-k")] = 0,
    pages: PositiveInt = 8,
    samples: PositiveInt = 2,
    groups: tuple[str, ...] = (),
    max_questions: NonNegativeInt = 0,
    max_new_tokens: NonNegativeInt = 0,
    seed: int = 0,
    resume: bool = False,
) -> None:
    """Let a policy search a real engine, and keep its queries with what the engine has for them.

    Pages below the one that the policy reads are kept as well: on them stands what does not help. Each
    page is labelled useful or noisy by rule; `label` does it with a judge. Examples:

        innersearch simulator collect world --data world:train --engine world --output runs/pairs.jsonl
        innersearch simulator collect ~/models/Qwen2.5-7B-Instruct --data nq.jsonl
            --engine serper --max-questions 2000 --output runs/pairs.jsonl     (one line)

    Args:
        model: Policy that searches: a model directory or hub id; `world` is the bundled model.
        data: Questions: a file or directory, a fetched benchmark, or world:train.
        engine: Engine that is searched: world, bm25:DIR, dense:DIR@MODEL, remote:URL, or a search API.
        output: File of the pairs, JSON lines.
        k: Documents per page; 1 for the world's model and 5 for others by default.
        pages: Pages of results that are kept per query.
        samples: Trajectories per question.
        groups: Groups of questions that are asked; all by default.
        max_questions: Questions at most, the first ones; 0 takes all.
        max_new_tokens: Longest response in tokens; by default 96 for the world's model, else 3000.
        seed: Seed of the trajectories.
        resume: Go on with what is in the output file.
    """
    from innersearch.assemble.collecting import collect_pairs
    from innersearch.simulator.collecting import Collection

    questions = load_questions(data, groups)[: max_questions or None]
    collection = Collection(pages, samples, max_new_tokens, seed)
    with _alone(output):
        _demand_new(output, resume=resume)
        with Display() as display:
            path, show = model_path(model), display.update
            collect_pairs(path, engine, k, questions, output, collection, show)
    _print_counts(output)


@app.command(name="label")
def label_command(
    pairs: Path,
    *,
    output: Path,
    judge: str = "",
    resume: bool = False,
) -> None:
    """Label pairs useful or noisy: by rule, or by a language model that judges every page.

    By rule a page is useful if a document holds a gold answer or is a gold document. Examples:

        innersearch simulator label runs/pairs.jsonl --output runs/labelled.jsonl
        innersearch simulator label runs/pairs.jsonl --output runs/labelled.jsonl
            --judge http://127.0.0.1:8000#Qwen2.5-72B-Instruct     (one line)

    Args:
        pairs: File of the pairs that `collect` wrote.
        output: File of the labelled pairs, JSON lines.
        judge: URL#NAME of a chat endpoint and its model, or a model directory; none labels by rule.
        resume: Go on with what is in the output file.
    """
    from innersearch.simulator.labelling import label_by_model, label_by_rule

    found = list(read_pairs(pairs))
    with _alone(output):
        _demand_new(output, resume=resume)
        if judge:
            with Display() as display:
                label_by_model(found, judge, output, display.update)
        else:
            label_by_rule(found, output)
    _print_counts(output)


@app.command
def train(
    model: str,
    pairs: Path,
    *,
    output: Path,
    gold: Literal["none", "first", "all"] = "first",
    words: PositiveInt = 30,
    held_out: Annotated[float, Parameter(validator=Number(gte=0, lt=1))] = 0.2,
    resume: bool = False,
    settings: Annotated[TuningSettings, Parameter(name="*")] = TuningSettings(),  # noqa: B008
) -> None:
    """Fine-tune a model on labelled pairs, so that it writes useful or noisy documents on demand.

    The loss is on the documents only. Examples:

        innersearch simulator train world runs/pairs.jsonl --output runs/simulator
        innersearch simulator train ~/models/Qwen2.5-3B-Instruct runs/pairs.jsonl
            --output runs/simulator-3b --lora 32 --learning-rate 1e-4     (one line)

    Args:
        model: Model directory or hub id; `world` is the bundled model.
        pairs: File of labelled pairs.
        output: Directory that the simulator is written to.
        gold: Gold answers that the simulator is told: none, the first, or all.
        words: Words per document that the prompt asks for.
        held_out: Share of the questions that `measure` is to use; kept as held-out.jsonl in the output.
        resume: Go on with what is in the output directory.
        settings: How to train; the world's model has defaults of its own.
    """
    from innersearch.train.simulators import tune_simulator

    with Display() as display:
        show = partial(display.update, "training")
        tune_simulator(
            model,
            pairs,
            output,
            settings,
            SimulatorSettings(words=words, gold=gold),
            held_out=held_out,
            resume=resume,
            on_step=lambda step, steps, loss: show(step, steps, f"loss {loss:.3f}"),
        )
    stdout.print(f"simulator  {output}")
    stdout.print(f"next       innersearch simulator measure {output}")


@app.command
def measure(
    simulator: str,
    pairs: Path | None = None,
    *,
    mode: Literal["tuned", "prompted"] = "tuned",
    prompt: str = "",
    gold: Literal["none", "first", "all"] = "first",
    temperature: PositiveFloat = 0.8,
    max_queries: NonNegativeInt = 500,
    max_new_tokens: PositiveInt = 600,
    output: Path | None = None,
    as_json: AsJson = False,
) -> None:
    """Measure a simulator against the real engine, on pairs that it was not trained on.

    For each query that has a useful real page it writes a useful and a noisy one. Examples:

        innersearch simulator measure runs/simulator
        innersearch simulator measure http://127.0.0.1:8000#Qwen2.5-7B pairs.jsonl --mode prompted

    Args:
        simulator: Directory of the simulator, or URL#NAME of a chat endpoint and its model; `world` is
            the bundled model.
        pairs: File of labelled pairs; those held out when it was trained, by default.
        mode: Whether the simulator was tuned for this, or is any instruct model.
        prompt: Name of the prompt text; the simulator's own, or what the model expects, by default.
        gold: Gold answers that the simulator is told, where it is not tuned.
        temperature: Sampling temperature of what the simulator writes.
        max_queries: Queries at most; 0 takes all.
        max_new_tokens: Longest output of the simulator, in tokens.
        output: File of the figures; fidelity.json in the simulator's directory by default.
        as_json: Print the result as JSON, in place of text and tables.
    """
    from innersearch.assemble.simulators import measure_simulator
    from innersearch.view.tables import fidelity_table

    settings = SimulatorSettings(
        mode=mode, prompt=prompt, gold=gold, temperature=temperature, max_new_tokens=max_new_tokens
    )
    with Display() as display:
        figures = measure_simulator(simulator, settings, pairs, max_queries, display.update)
    path = model_path(simulator)
    write_json(output or _beside(path), figures)
    show(figures, fidelity_table({Path(path).name: figures}), as_json=as_json)


def _beside(path: str) -> Path:
    folder = Path(path)
    return folder / "fidelity.json" if folder.is_dir() and folder != Path() else Path("fidelity.json")


def _alone(output: Path) -> AbstractContextManager[None]:
    """Be the only process that writes a file of pairs."""
    return locked(output.with_name(f".{output.name}.lock"), f"the file {output}")


def _demand_new(output: Path, *, resume: bool) -> None:
    if output.exists() and not resume:
        raise RunError(f"{output} exists: add --resume to go on with it, or give another --output")


def _print_counts(output: Path) -> None:
    labels = [pair.label for pair in written_pairs(output)]
    useful, noisy = labels.count("useful"), labels.count("noisy")
    other = len(labels) - useful - noisy
    stdout.print(f"{useful} useful and {noisy} noisy pairs" + (f", {other} unlabelled" if other else ""))
    stdout.print(f"pairs  {output}")
