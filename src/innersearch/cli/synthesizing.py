"""`innersearch data synthesize`: hard questions made of the pages of a corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.types import PositiveInt

from innersearch.assemble.engines import open_engine
from innersearch.cli.console import stdout
from innersearch.cli.progress import Display
from innersearch.config import SearchSettings, SimulatorSettings

if TYPE_CHECKING:
    from innersearch.train.synthesis import Made

_MOST_TOKENS = 4096
"""Of a reply, thoughts included."""


def synthesize_command(
    engine: str,
    *,
    writer: str,
    n: Annotated[PositiveInt, Parameter(alias="-n")] = 100,
    edits: PositiveInt = 8,
    samples: PositiveInt = 8,
    temperature: float = 0.6,
    seed: int = 0,
    in_flight: PositiveInt = 16,
    output: Path | None = None,
    records: Path | None = None,
    resume: bool = False,
) -> None:
    """Make questions of the pages of a corpus, and edit them until a model does not know the answer.

    A model writes a question about a page. Names in it are replaced by what other pages say of them, and
    details made vaguer; an edit counts if the model, shown the facts, finds exactly one answer. Kept is
    what it never answers rightly without a page. A killed run goes on with --resume. Examples:

        innersearch data synthesize bm25:runs/wiki --writer http://127.0.0.1:8000#qwq-32b -n 1000
        innersearch data synthesize world --writer http://127.0.0.1:8000#qwq-32b -n 20 --edits 16
        innersearch data synthesize bm25:runs/wiki --writer ~/models/Qwen3-32B --resume

    Args:
        engine: Engine with a corpus on this machine, such as bm25:DIR or world.
        writer: Model that writes and verifies: URL#NAME of a chat API, or a directory or hub id.
        n: Number of pages to begin with.
        edits: Number of edits that are tried for a question at most.
        samples: Number of answers without a page, none of which may be right.
        temperature: Sampling temperature of the model.
        seed: Seed of the pages and of everything that the model writes.
        in_flight: Number of questions that are in the making at once.
        output: File of the questions; <engine>-synthetic.jsonl by default.
        records: Directory of what came of every page; runs/synthesize-<engine> by default.
        resume: Go on with what is in that directory; pages at which the model failed are tried again.
    """
    from innersearch.cli.evaluate import default_folder
    from innersearch.pages.kinds import corpus_of, documents_of
    from innersearch.simulator.loading import open_writer
    from innersearch.train.making import demand_corpus, make_all
    from innersearch.train.synthesis import Effort, Synthesis

    name = engine.replace("/", "-").replace(":", "-")
    opened = open_engine(SearchSettings(engine=engine))
    documents = demand_corpus(documents_of(opened), engine)
    how = SimulatorSettings(mode="prompted", temperature=temperature, max_batch=in_flight, seed=seed)
    model = open_writer(writer, how.model_copy(update={"max_new_tokens": _MOST_TOKENS}))
    synthesis = Synthesis(model, opened, corpus_of(opened), Effort(edits, samples, seed))
    folder = records or default_folder("synthesize", name)
    with Display() as display:
        asked = (synthesis, documents, n, folder, in_flight)
        made = make_all(*asked, resume=resume, progress=display.update)
    _tell(made, output or Path(f"{name}-synthetic.jsonl"), seed)
    stdout.print(f"records  {folder}")


def _tell(made: Sequence[Made], path: Path, seed: int) -> None:
    """Write what is kept, and say what came of the pages."""
    from innersearch.records import replace_text

    lines = [line for one in made if (line := one.row(seed))]
    replace_text(path, "".join(f"{line}\n" for line in lines))
    outcomes = Counter(one.outcome for one in made)
    rejected = sum((Counter(one.rejected) for one in made), Counter[str]())
    stdout.print(f"{path}  {len(lines):,} questions of {len(made):,} pages: {_counted(outcomes)}")
    stdout.print(f"rejected edits  {_counted(rejected) or 'none'}")


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())
