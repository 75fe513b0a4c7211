"""`innersearch compare`: whether one evaluation is better than another, or only luckier."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App
from cyclopts.types import NonNegativeInt, PositiveInt

from innersearch.cli.results import AsJson, show
from innersearch.records import write_json
from innersearch.view.tables import difference_table

app = App(name="compare", help_format="plaintext")


@app.default
def compare(
    a: Path,
    b: Path,
    *,
    resamples: PositiveInt = 10_000,
    seed: NonNegativeInt = 0,
    cluster: str = "",
    by: str = "",
    output: Path | None = None,
    as_json: AsJson = False,
) -> None:
    """Compare two evaluations question by question: B − A with a 95 % interval and p.

    Only questions that both have are compared; EM, F1, cover EM and searches per question, and pass@k
    where both were sampled, per group, over all questions, and as mean of the groups. Examples:

        innersearch eval world --data world:test --output runs/before
        innersearch eval runs/demo/model --data world:test --output runs/after
        innersearch compare runs/before runs/after
        innersearch compare runs/before runs/after --output runs/comparison.json
        innersearch compare runs/before runs/after --cluster golden_answers
        innersearch compare runs/before runs/after --by tier --cluster chain.0

    Args:
        a: Directory of an evaluation.
        b: Directory of the evaluation that is held against it.
        resamples: Number of draws, for the intervals and for the randomisation test of p.
        seed: Seed of the draws.
        cluster: Field of the questions; those in which it is the same err together. One of the records,
            such as group or golden_answers, or of the questions' metadata, such as chain.0.
        by: Field of the questions, likewise, whose values are compared apart in place of the groups.
        output: Write the differences to this file, as JSON.
        as_json: Print the result as JSON, in place of text and tables.
    """
    from innersearch.evaluate.compare import compare, read_evaluation

    found = compare(read_evaluation(a), read_evaluation(b), resamples, seed, cluster, by)
    if output:
        write_json(output, found)
    notes = [f"records  {output}"] if output else []
    show(found, difference_table(found), as_json=as_json, notes=notes)
