"""`innersearch eval`: how good a model is, with intervals."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from cyclopts.types import NonNegativeInt, PositiveFloat

from innersearch.assemble.choices import cached_in
from innersearch.assemble.sources import load_questions
from innersearch.cli.options import SELF, Dtype, RolloutOptions, SearchOptions, announce_cost
from innersearch.cli.progress import Display
from innersearch.cli.protocols import ProtocolOptions
from innersearch.cli.results import AsJson, show
from innersearch.errors import ConfigError
from innersearch.view.tables import evaluation_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from innersearch.evaluate.evaluation import Evaluation
    from innersearch.evaluate.protocols import Choices
    from innersearch.types import Question

app = App(name="eval", help_format="plaintext")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PolicyOptions:
    """Who runs the model."""

    policy: str = "transformers"
    """Who runs the model: transformers, vllm, http:URL,URL or chat:URL#NAME."""
    dtype: Dtype = "auto"
    """What the weights are computed in: float32, bfloat16, float16, stored (as they are), or auto, which
    takes bfloat16 for models of some size on a CPU that is measured to be faster with it."""
    logit_bias: tuple[str, ...] = ()
    """Constants on the logits of tokens, for example " answer=-0.8", where the blank is part of the
    token; #17=0.5 is on the token of that number."""


@app.default
def evaluate_command(
    model: str,
    *,
    data: str = "",
    n: Annotated[NonNegativeInt, Parameter(alias="-n")] = 0,
    sample_questions: NonNegativeInt = 0,
    prompt: str | None = None,
    direct: bool = False,
    groups: tuple[str, ...] = (),
    by: tuple[str, ...] = (),
    temperature: PositiveFloat = 1.0,
    max_new_tokens: NonNegativeInt = 0,
    seed: int = 0,
    output: Path | None = None,
    resume: bool = False,
    as_json: AsJson = False,
    options: Annotated[SearchOptions, Parameter(name="*")] = SearchOptions(),  # noqa: B008
    asked: Annotated[ProtocolOptions, Parameter(name="*")] = ProtocolOptions(),  # noqa: B008
    writes: Annotated[RolloutOptions, Parameter(name="*")] = RolloutOptions(),  # noqa: B008
    runs: Annotated[PolicyOptions, Parameter(name="*")] = PolicyOptions(),
) -> None:
    """Evaluate a model: greedy exact match and F1, and pass@k from n samples per question.

    Every value is printed with its n and 95 % interval, and records go to disk. Examples:

        innersearch eval world --data world:test -n 64 --sample-questions 16
        innersearch eval ~/models/Qwen2.5-1.5B-Instruct --data bamboogle.jsonl -n 8
        innersearch eval runs/demo/model --data world:test --search hybrid
        innersearch eval ~/models/agent --data nq.jsonl --search bm25:runs/wiki --policy vllm
        innersearch eval world --data world:test --logit-bias " answer=-0.8"
        innersearch eval ~/models/agent --protocol search-r1 --search bm25:runs/wiki --subset 500

    Args:
        model: Model directory or hub id; `world` is the bundled model.
        data: A file or directory of questions, a benchmark that `innersearch data get` fetched, or
            world:train, world:validation, world:test; several are separated by commas.
        n: Sampled trajectories per question, for pass@k up to k = n.
        sample_questions: Questions per group that are sampled; 0 takes all.
        prompt: Name of the prompt text; what the model expects by default.
        direct: Ask for the answer without search tags: the baseline.
        groups: Groups of questions that are asked; all by default.
        by: Field of the questions, such as tier, for whose values there is a table; or several.
        temperature: Sampling temperature of the n trajectories.
        max_new_tokens: Longest response in tokens; by default 256 for the world's model, else 4096.
        seed: Seed of the sampled trajectories.
        output: Directory of the records; runs/eval-<model>-<data> by default.
        resume: Go on with what is in the directory of the records.
        as_json: Print the result as JSON, in place of text and tables.
        options: Who answers the queries.
        asked: Which questions, by which protocol, and how they are scored.
        writes: How the model writes, what it sees next, and when a trajectory ends.
        runs: Who runs the model.
    """
    _demand_use(options, n, sample_questions)
    chosen = asked.choices(data, prompt, max_new_tokens, options, groups=groups, direct=direct)
    rows, used = _selected(chosen, writes)
    sampled = _sampled(n, sample_questions, seed, temperature, direct=direct)
    evaluation = _evaluation(model, rows, used, sampled, writes, runs, by=by, resume=resume)
    folder = output or _named(model, data, asked.protocol, options, runs.logit_bias)
    _run(evaluation, used, folder, n, as_json=as_json)


def _sampled(
    n: int, sample_questions: int, seed: int, temperature: float, *, direct: bool
) -> dict[str, Any]:
    given = {"samples": n, "sample_questions": sample_questions, "seed": seed}
    return given | {"temperature": temperature, "direct": direct}


def _selected(used: Choices, writes: RolloutOptions) -> tuple[list[Question], Choices]:
    """The questions that are asked, and the choices with what is missing of them or other named."""
    used = used.departing(writes.given)
    rows = used.select(load_questions(used.data, used.groups, allow_sealed=True))
    return rows, used.counted(rows)


def _evaluation(
    model: str,
    rows: Sequence[Question],
    used: Choices,
    given: dict[str, Any],
    writes: RolloutOptions,
    runs: PolicyOptions,
    *,
    by: Sequence[str],
    resume: bool,
) -> Evaluation:
    from innersearch.evaluate.evaluation import Evaluation

    given = {**used.record, **given, "dtype": runs.dtype, "max_new_tokens": used.max_new_tokens}
    how: dict[str, Any] = {"real": used.only_real, "rollout": writes.given, "resume": resume}
    how |= {"published": used.protocol.rollout} if used.protocol and not used.direct else {}
    how |= {"policy": runs.policy, "logit_bias": runs.logit_bias, "by": by}
    return Evaluation(model, rows, used.prompt, given, **how)


def _demand_use(options: SearchOptions, n: int, sample_questions: int) -> None:
    """Refuse options that would change nothing."""
    if options.search == SELF and (options.k or options.max_searches):
        option = "-k" if options.k else "--max-searches"
        raise ConfigError(f"{option} without a search: add --search always, hybrid or another rule")
    if sample_questions and not n:
        raise ConfigError("--sample-questions without samples: add -n")


def _named(
    model: str, data: str, protocol: str, options: SearchOptions, logit_bias: Sequence[str]
) -> Path:
    """The folder of an evaluation for which none is given."""
    parts = [protocol, Path(data).stem, "" if options.search == SELF else options.search]
    parts += [f"noise-{options.noise:g}"] if options.noise else []
    parts += [f"bias-{one}" for one in logit_bias]
    return default_folder("eval", model, *filter(None, parts))


def _run(evaluation: Evaluation, used: Choices, folder: Path, samples: int, *, as_json: bool) -> None:
    settings = used.limit(evaluation.search_settings(used.search))
    announce_cost(settings, len(evaluation.questions) * (1 + samples))
    with Display() as display:
        summary = evaluation.run(folder, cached_in(settings, folder), display.update)
    notes = []
    if left_out := summary.get("left_out"):
        ids = left_out["ids"]
        some = f"  ({', '.join(ids[:3])}{', …' if len(ids) > 3 else ''})" if ids else ""
        notes = [f"left out, too long  {len(ids):,} of {left_out['of']:,} questions{some}"]
    table = evaluation_table(summary, first=used.metric)
    show(summary, table, as_json=as_json, notes=[*notes, f"records  {folder}"])


def default_folder(verb: str, model: str, *parts: str) -> Path:
    """runs/<verb>-<model>-<parts>, where the model of a run has the name of its run."""
    path = Path(model)
    name = path.absolute().parent.name if path.name == "model" else path.name
    return Path("runs") / re.sub(r"[^\w.=-]+", "-", "-".join([verb, name, *parts]))
