"""The functions that `import innersearch` offers: roll out, score, evaluate, train, read.

Each takes names as the command line does, or objects of one's own in their place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from innersearch.assemble.agents import Agent, open_agent
from innersearch.assemble.anywhere import anywhere
from innersearch.assemble.given import demand_engine, demand_questions
from innersearch.assemble.given import settings as values
from innersearch.assemble.models import rollout_settings, usual_length
from innersearch.assemble.recipes import recipe_with
from innersearch.assemble.sources import load_questions
from innersearch.config import SearchSettings
from innersearch.errors import ConfigError, DataError, did_you_mean
from innersearch.grammar import GRAMMARS, TAGS, Grammar, grammar_of
from innersearch.progress import Progress, silent
from innersearch.rewards import Rubric
from innersearch.trajectories import as_trajectory
from innersearch.trajectories import read_trajectories as records
from innersearch.types import Question, Trajectory

if TYPE_CHECKING:
    from innersearch.config import Recipe
    from innersearch.evaluate.run import EvalSettings
    from innersearch.rewards import GroupMeasure, Measure
    from innersearch.routing.router import Router
    from innersearch.runs import Run
    from innersearch.search.base import Engine
    from innersearch.serve.beside import Server
    from innersearch.tools.base import Tool
    from innersearch.tools.search import SearchTool
    from innersearch.train.start import Watcher


def read_questions(source: str | Path, groups: Sequence[str] = ()) -> list[Question]:
    """Questions of a file (.jsonl, .csv, .parquet and more), of a fetched benchmark by its name, or of
    the embedded world: `world:train`, `world:validation`, `world:test`.

    Raises:
        DataError: There are none, or a row is no question.
    """
    return load_questions(str(source), groups)


def roll_out(
    agent: Agent | str, questions: Iterable[Question | str] | Question | str, **options: Any
) -> Iterator[Trajectory]:
    """Let an agent, or the model of that name, answer questions; see `Agent.roll_out`."""
    return _opened(agent).roll_out(questions, **options)


def _opened(agent: Agent | str) -> Agent:
    if not isinstance(agent, Agent | str):
        raise ConfigError(f"{agent!r:.80} is no agent: give an Agent, or the name of a model")
    return open_agent(agent) if isinstance(agent, str) else agent


def score(
    trajectories: Iterable[Trajectory], reward: str | Rubric, grammar: Grammar | str = "tags"
) -> list[Trajectory]:
    """The trajectories with their rewards, by a rubric or a line such as `0.9*em + 0.1*format:strict`.
    Where a term compares the members of a group, groups are whole and follow one another. `grammar` is
    how they were written; a rubric has one of its own.

    Raises:
        ConfigError: There is no measure or grammar of some name.
        RunError: A measure fails.
    """
    rubric = reward if isinstance(reward, Rubric) else Rubric.read(reward, grammar_of(grammar))
    pairs = ((trajectory, *rubric.score(trajectory)) for trajectory in trajectories)
    return rubric.settle([replace(t, reward=r, components=parts) for t, r, parts in pairs])


@anywhere
def evaluate_agent(
    agent: Agent | str,
    questions: Sequence[Question] | str | Path,
    output: str | Path,
    *,
    engine: Engine | str | None = None,
    router: Router | str = "",
    search: Mapping[str, Any] = MappingProxyType({}),
    tools: Sequence[Tool | str] = (),
    grammar: Grammar | str = "",
    context: str = "",
    metrics: Sequence[str] = (),
    resume: bool = False,
    progress: Progress = silent,
    **settings: Any,
) -> dict[str, Any]:
    """Measure an agent: one greedy trajectory per question, and drawn ones for pass@k.

    Args:
        agent: An agent, or the name of its model.
        questions: Questions, or where they are; see `read_questions`.
        output: Directory of the records, and of `summary.json`.
        engine: Who answers its queries, as for `Agent.roll_out`.
        router: Which queries the engine answers; all of them by default.
        search: Values of `SearchSettings`, such as `k`.
        tools: What else it can use: tools, or names that installed packages offer.
        grammar: How it writes, a grammar or its name; by default as its model was trained, else tags.
        context: What it sees next, such as `shorten:200`; by default likewise, else append.
        metrics: Further measures by name, such as `cover_em` or `judge:URL#MODEL`.
        resume: Go on with what is in `output`.
        progress: Told how far it is.
        settings: Values of `EvalSettings`, such as `samples=16`, `seed` or `rollout={"max_turns": 4}`.

    Returns:
        The summary: every metric by group of questions with its n and 95 % interval.

    Raises:
        ConfigError: A setting is unknown, or a name of something.
        DataError: There are no questions, or two of one id.
        RunError: `output` holds something else.
        SearchError: Too many searches failed; `resume` goes on.
    """
    from innersearch.evaluate.run import evaluate as run

    _demand_known(settings)
    opened = _opened(agent)
    asked = load_questions(str(questions)) if isinstance(questions, str | Path) else questions
    asked = demand_questions(asked)
    tool = opened.search(engine, router, **search)
    settings["metrics"] = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    return run(
        *(opened.policy, opened.tokenizer, asked, Path(output)),
        _settings(opened, tool, settings, _written(grammar, context, tools)),
        search=tool,
        grammar=grammar if isinstance(grammar, Grammar) else None,
        tools=[tool for tool in tools if not isinstance(tool, str)],
        resume=resume,
        progress=progress,
    )


def _demand_known(given: Iterable[str]) -> None:
    from innersearch.evaluate.run import EvalSettings

    known = _names(EvalSettings)
    if unknown := set(given) - known:
        name = min(unknown)
        raise ConfigError(f"unknown setting {name}; {did_you_mean(name, known)}")


def _settings(
    agent: Agent, search: SearchTool, given: dict[str, Any], written: Mapping[str, Any]
) -> EvalSettings:
    from innersearch.evaluate.run import EvalSettings

    text = agent.prompt(given.pop("prompt", ""), search)
    rollout = {**given.pop("rollout", {}), **written}
    writes = rollout_settings(agent.policy.name, rollout, direct=given.get("direct", False))
    return EvalSettings(prompt=text, rollout=writes, **{"max_new_tokens": usual_length(text), **given})


def _written(grammar: Grammar | str, context: str, tools: Sequence[Tool | str]) -> dict[str, Any]:
    """What of these settings can name."""
    name = grammar if isinstance(grammar, str) else grammar.name
    own = not isinstance(grammar, str) and GRAMMARS.get(name) is not grammar
    named = [tool for tool in tools if isinstance(tool, str)]
    given = {"grammar": TAGS.name if own else name, "context": context, "tools": named}
    return {setting: value for setting, value in given.items() if value}


@anywhere
def train_agent(
    recipe: Recipe | str | Path,
    output: str | Path,
    *,
    questions: Sequence[Question] | str | Path | None = None,
    engine: Engine | str | None = None,
    measures: Mapping[str, Measure | GroupMeasure] = MappingProxyType({}),
    resume: bool = False,
    watcher: Watcher | None = None,
    **overrides: Any,
) -> Run:
    """Train a model as a recipe says, and leave it in `output`/model.

    Args:
        recipe: A recipe, a .toml file, or the name of a bundled one such as `ssrl-world`.
        output: Directory of the run.
        questions: What is asked, or where it is; the data of the recipe by default.
        engine: What is searched; that of the recipe by default.
        measures: Measures of one's own, under names that the reward of the recipe may use.
        resume: Go on from the latest checkpoint in `output`.
        watcher: Told how it goes; by default nobody is.
        overrides: Values of the recipe, tables as dictionaries: `seed=1, trainer={"steps": 20}`.

    Returns:
        The run: `.model`, `.metrics` and `.trajectories` are paths.

    Raises:
        ConfigError: A value is unknown or impossible, or something needed is not installed.
        DataError: There are too few questions, or one does not fit.
        RunError: `output` holds something else.
        SearchError: Too many searches failed; `resume` goes on.
        CollapseError: The guard stopped it; `output`/model holds the best checkpoint.
    """
    from innersearch.serve.rollouts import rollouts_of
    from innersearch.train.start import Silent, Training, resolved

    if isinstance(questions, str | Path):
        overrides["data"], questions = str(questions), None
    if isinstance(engine, str):
        overrides["search"] = {**overrides.get("search", {}), "engine": engine}
    chosen = recipe_with(recipe, overrides)
    if questions is not None:
        questions = demand_questions(questions, told_apart=False)
    if engine is not None:
        _demand_asking(chosen)
    own = None if engine is None or isinstance(engine, str) else demand_engine(engine)
    makes = rollouts_of(chosen)
    training = Training(resolved(chosen), own, questions, measures, watcher or Silent(), makes)
    return training.start(Path(output), resume=resume)


def _demand_asking(recipe: Recipe) -> None:
    if not any(values.search.rule.asks for values in (recipe, *recipe.stages())):
        raise ConfigError(
            f"the recipe {recipe.name} never asks an engine, its search.router is "
            f"{recipe.search.router}: add search={{'router': 'always'}}, or leave the engine out"
        )


def _names(settings: Any) -> set[str]:
    return {field.name for field in fields(settings)}


def open_engine(name: str, **search: Any) -> Engine:
    """The engine of a name as on the command line, such as `bm25:DIR` or `world`.

    Args:
        name: The name; several, separated by commas, are fused.
        search: Values of `SearchSettings`, such as `cache` or `max_calls`.

    Raises:
        ConfigError: There is no engine of that name.
        SearchError: It cannot be opened.
    """
    from innersearch.assemble.engines import open_engine as opened

    return opened(values(SearchSettings, router="always", engine=name, **search))


def open_server(
    engine: Engine | str = "world",
    agent: Agent | str | None = None,
    *,
    search: str = "",
    port: int = 0,
    **values: Any,
) -> Server:
    """Serve an engine, and an agent beside it, at 127.0.0.1 from this process; `innersearch serve` does
    the same by itself. Needs the extra `serve`.

        with open_server("world", agent="world") as server:
            print(server.url)

    Args:
        engine: An engine, or the name of one; the server closes it.
        agent: An agent, or the name of its model; nobody answers chat requests without it.
        search: Who answers its queries where a request says nothing: `self`, `always` or `hybrid`.
        port: Port to listen on; 0 takes a free one.
        values: Values of `SearchSettings` for an engine that is named, such as `cache`.

    Returns:
        The server: `.url` is its address, `close()` ends it, and so does the end of a `with` block.

    Raises:
        ConfigError: There is no engine or search mode of that name, or a value is impossible.
        ModelError: There is no such model.
        RunError: Another program listens there, or the server did not start.
        SearchError: The engine cannot be opened.
    """
    from innersearch.serve.beside import serve_beside

    opened = open_engine(engine, **values) if isinstance(engine, str) else demand_engine(engine)
    return serve_beside(opened, agent, search=search, port=port)


def read_trajectories(path: str | Path) -> Iterator[Trajectory]:
    """The trajectories of a run or an evaluation, or of a file of them, one by one.

    Raises:
        DataError: There is no such file, or a line is no record.
        RunError: A record is damaged, or was written by a newer version.
    """
    file = Path(path)
    file = file / "trajectories.jsonl" if file.is_dir() else file
    if not file.is_file():
        raise DataError(f"{file} does not exist: give a run, an evaluation, or a file of trajectories")
    for record, place in records(file):
        yield as_trajectory(record, file.parent, place)
