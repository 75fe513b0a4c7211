"""Pairs for a simulator: a policy that searches a real engine, opened by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from innersearch import prompts
from innersearch.assemble.models import conventions_of
from innersearch.assemble.plans import open_search
from innersearch.config import SearchSettings
from innersearch.identity import of_model, of_texts
from innersearch.policy.loading import load_tokenizer
from innersearch.progress import Progress, silent
from innersearch.simulator.collecting import collect
from innersearch.simulator.origin import demand_same_origin, without_last_question
from innersearch.simulator.pairs import write_pairs

if TYPE_CHECKING:
    from innersearch.simulator.collecting import Collection
    from innersearch.types import Question


def collect_pairs(
    path: str,
    engine: str,
    k: int,
    questions: Sequence[Question],
    output: Path,
    collection: Collection,
    progress: Progress = silent,
) -> None:
    """Let the model at `path` search an engine, and write its queries with what the engine has for them.

    Args:
        path: Model directory or hub id.
        engine: Name of what is searched.
        k: Documents per page; 0 takes what the model expects.
        questions: What the model is asked; those that `output` holds are not asked again.
        output: File of the pairs.
        collection: Pages, samples and lengths; a length of 0 takes what the model expects.
        progress: Told how many questions are done.

    Raises:
        InnersearchError: The model or the engine cannot be opened, or others wrote the file.
    """
    tokenizer = load_tokenizer(path)
    usual = conventions_of(tokenizer)
    chosen = {**usual.search, "k": k or usual.page}
    settings = SearchSettings(router="always", engine=engine, **chosen)
    length = collection.max_new_tokens or usual.page_tokens
    collection = replace(collection, max_new_tokens=length)
    search = open_search(settings)
    made_of = of_model(path, tokenizer) | of_texts(prompts.render(usual.real, "{question}"))
    made_of |= {"engine": search.identity, "settings": asdict(collection)}
    demand_same_origin(output, made_of, path)
    done = without_last_question(output, questions)
    todo = [question for question in questions if question.id not in done]
    collect(
        path,
        usual.real,
        search,
        todo,
        collection,
        partial(write_pairs, output),
        lambda n: progress("collecting", n, len(todo)),
    )
