"""`innersearch world`: the embedded world, from a seed."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from innersearch.assemble.models import model_path
from innersearch.cli.console import stdout
from innersearch.cli.progress import Display
from innersearch.view.tables import evaluation_table, percent
from innersearch.world.bundled import BUNDLED_SEED, NAME
from innersearch.world.encyclopedia import Encyclopedia, Split

app = App(
    name="world",
    help="The embedded world: encyclopedia, questions, model.",
    help_format="plaintext",
)


@app.command
def build(output: Path = Path("runs/world"), *, seed: int = BUNDLED_SEED, resume: bool = False) -> None:
    """Make a world from a seed: encyclopedia, questions, tokenizer and pre-trained model.

    With the default seed this makes the model that ships with innersearch. About 15 minutes on one
    core. Examples:

        innersearch world build
        innersearch world build runs/worlds/2 --seed 2

    Args:
        output: Directory that the world is written to.
        seed: Seed of names, facts, corpus and initial weights.
        resume: Go on with a build that was interrupted.
    """
    from innersearch.world_making.build import build as build_world

    with Display() as display:
        manifest = build_world(output, seed, resume=resume, progress=display.update)
    stdout.print(evaluation_table(manifest["metrics"]))
    stdout.print(f"model  {output / 'model'}  ({manifest['parameters']:,} parameters)")


@app.command
def probe(model: str = NAME, *, seed: int = BUNDLED_SEED, split: Split = Split.TEST) -> None:
    """Ask a model's weights for the facts of the encyclopedia, by how often pre-training states them.

    The model completes statements of the facts, outside of any trajectory. Examples:

        innersearch world probe
        innersearch world probe runs/demo/model

    Args:
        model: Model directory; `world` is the bundled model.
        seed: Seed of the world whose facts it was taught.
        split: Split of the world whose facts are asked for.
    """
    from innersearch.policy.loading import load_model, load_tokenizer
    from innersearch.world_making.probe import probe as probe_model

    path = model_path(model)
    world = Encyclopedia.generate(seed)
    for tier, known in probe_model(load_model(path), load_tokenizer(path), world, split).items():
        stdout.print(f"{tier:8s} {percent(known._asdict())} % of {known.n} statements")
