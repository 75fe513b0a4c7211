"""`innersearch world`: the embedded world, from a seed."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from innersearch.assemble.models import model_path
from innersearch.cli.progress import Display
from innersearch.cli.results import AsJson, show
from innersearch.view.tables import evaluation_table, percent
from innersearch.world.bundled import BUNDLED_SEED, NAME
from innersearch.world.encyclopedia import Encyclopedia, Split

app = App(
    name="world",
    help="The embedded world: encyclopedia, questions, model.",
    help_format="plaintext",
)


@app.command
def build(
    output: Path = Path("runs/world"),
    *,
    seed: int = BUNDLED_SEED,
    resume: bool = False,
    as_json: AsJson = False,
) -> None:
    """Make a world from a seed: encyclopedia, questions, tokenizer and pre-trained model.

    With the default seed this makes the model that ships with innersearch. About 15 minutes on one
    core. Examples:

        innersearch world build
        innersearch world build runs/worlds/2 --seed 2

    Args:
        output: Directory that the world is written to.
        seed: Seed of names, facts, corpus and initial weights.
        resume: Go on with a build that was interrupted.
        as_json: Print the result as JSON, in place of text and tables.
    """
    from innersearch.world_making.build import build as build_world

    with Display() as display:
        manifest = build_world(output, seed, resume=resume, progress=display.update)
    notes = [f"model  {output / 'model'}  ({manifest['parameters']:,} parameters)"]
    show(manifest, evaluation_table(manifest["metrics"]), as_json=as_json, notes=notes)


@app.command
def probe(
    model: str = NAME,
    *,
    seed: int = BUNDLED_SEED,
    split: Split = Split.TEST,
    as_json: AsJson = False,
) -> None:
    """Ask a model's weights for the facts of the encyclopedia, by how often pre-training states them.

    The model completes statements of the facts, outside of any trajectory. Examples:

        innersearch world probe
        innersearch world probe runs/demo/model

    Args:
        model: Model directory; `world` is the bundled model.
        seed: Seed of the world whose facts it was taught.
        split: Split of the world whose facts are asked for.
        as_json: Print the result as JSON, in place of text and tables.
    """
    from innersearch.policy.loading import load_model, load_tokenizer
    from innersearch.world_making.probe import probe as probe_model

    path = model_path(model)
    world = Encyclopedia.generate(seed)
    probed = probe_model(load_model(path), load_tokenizer(path), world, split)
    found = {tier: known._asdict() for tier, known in probed.items()}
    lines = [f"{tier:8s} {percent(known)} % of {known['n']} statements" for tier, known in found.items()]
    show(found, "\n".join(lines), as_json=as_json)
