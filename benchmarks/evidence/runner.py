"""Makes what a plan asks for and is not there yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from benchmarks.evidence.claims import claim_tests, read_claims
from benchmarks.evidence.commands import Commands
from benchmarks.evidence.jobs import Job, Step, run_all
from benchmarks.evidence.packing import QUESTIONS, facts, pack, pack_questions
from benchmarks.evidence.plan import Plan, Run, shown
from benchmarks.evidence.stored import target

from innersearch.errors import ConfigError
from innersearch.locks import held
from innersearch.records import write_json
from innersearch.stored import read_json

WORLD = "world.json"
"""Beside the questions of a world: its fingerprint and version."""


def chosen(plan: Plan, only: Sequence[str]) -> list[Run]:
    """The runs that one of the patterns names, as WORLD/ROW-SEED or as ROW; all without any.

    Raises:
        ConfigError: A pattern names none.
    """
    runs = plan.runs()
    for pattern in only:
        if not any(_named(run, pattern) for run in runs):
            names = ", ".join(run.name for run in runs[:4])
            raise ConfigError(f"no run is named {pattern!r}: give a name such as {names}, or a row")
    return [run for run in runs if not only or any(_named(run, pattern) for pattern in only)]


def _named(run: Run, pattern: str) -> bool:
    return fnmatch(run.name, pattern) or run.row.name == pattern


def jobs(plan: Plan, runs: Sequence[Run]) -> list[Job]:
    """What is to be done for runs whose results are not there."""
    missing = [run for run in runs if not target(plan, run).with_suffix(".json").is_file()]
    commands, made = Commands(plan), {}
    for run in missing:
        world = run.world
        folder = plan.folder / world.name
        build = [Step("build", commands.build(world), _output(world.build))] if world.build else []
        name = f"world {world.name}"
        finish = partial(_describe_world, plan, run)
        made[name] = Job(name, folder / "world", build, finish=finish, kind="world")
        for preparation in plan.prepared_for(run.row):
            made[_prepared(run, preparation.name)] = Job(
                _prepared(run, preparation.name),
                folder / "prepared" / f"{preparation.name}.made",
                [
                    Step(f"{preparation.name}-{number}", arguments, _output(arguments))
                    for number, arguments in enumerate(commands.prepare(world, preparation))
                ],
                frozenset({name, *(_prepared(run, other) for other in preparation.needs)}),
                kind=preparation.name,
            )
    return [*made.values(), *(_job(plan, commands, run) for run in missing)]


def _prepared(run: Run, name: str) -> str:
    return f"{run.world.name}/prepared/{name}"


def _output(arguments: Sequence[str]) -> Path | None:
    """The folder that a command writes, as its arguments say."""
    if "--output" in arguments:
        return Path(arguments[list(arguments).index("--output") + 1])
    return Path(arguments[2]) if tuple(arguments[:2]) == ("world", "build") else None


def _job(plan: Plan, commands: Commands, run: Run) -> Job:
    folder = commands.folder(run)
    steps = [] if run.seed is None else [Step("train", commands.train(run), folder / "train")]
    for evaluation in plan.evaluation:
        if evaluation.name in run.row.evaluations:
            # What they are may be known only once everything is prepared.
            arguments = partial(commands.evaluate, run, evaluation)
            steps.append(Step(evaluation.name, arguments, folder / "eval" / evaluation.name))
    steps.append(Step("probe", commands.probe(run)))
    needs = {f"world {run.world.name}", *(_prepared(run, name) for name in run.row.needs)}
    finish = partial(_keep, plan, run, folder, [step.name for step in steps])
    return Job(run.name, folder, steps, frozenset(needs), finish, kind=run.row.name)


def _describe_world(plan: Plan, run: Run) -> None:
    """Write what the questions of a world are, and demand that it is the one in the plan."""
    folder, world = plan.results / run.world.name, run.world
    found = pack_questions(world, folder / QUESTIONS)
    if world.fingerprint not in ("", found):
        raise ConfigError(
            f"world {world.name} has the fingerprint {found}, and the plan wants {world.fingerprint}: "
            "build it anew with this version, or write the new one into the plan and make all runs again"
        )
    if (folder / WORLD).is_file() and (known := read_json(folder / WORLD)["fingerprint"]) != found:
        raise ConfigError(
            f"world {world.name} has the fingerprint {found}, and the results in {shown(folder)} are of "
            f"{known}: delete them and make all runs again"
        )
    write_json(folder / WORLD, {"fingerprint": found, "version": world.version})


def _keep(plan: Plan, run: Run, folder: Path, steps: Sequence[str]) -> None:
    world = read_json(plan.results / run.world.name / WORLD)["fingerprint"]
    tests = claim_tests(read_claims(plan.claims))
    pack(run, folder, target(plan, run), facts(run, folder, steps, world, tests))


def make(plan: Plan, only: Sequence[str], workers: int, say: Callable[[str], None]) -> dict[str, str]:
    """Make the runs that are missing, and return what failed and why.

    Raises:
        ConfigError: `only` names nothing, or the claims cannot be read.
        RunError: Another process makes them.
    """
    read_claims(plan.claims)
    runs = chosen(plan, only)
    with held(plan.folder, "evidence", ".evidence.lock"):
        todo = jobs(plan, runs)
        wanted = sum(job.name in {run.name for run in runs} for job in todo)
        say(f"{len(runs) - wanted} of {len(runs)} runs are there; {wanted} to make, {workers} at once")
        return run_all(todo, workers, say)
