"""Every verb of the command line: where it stands, under what heading, and what it does in one line.

The module of a verb is imported when it is typed, so that help takes no time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from cyclopts import App, Group
from cyclopts.config import Env


class Verb(NamedTuple):
    """A verb as `innersearch --help` lists it."""

    name: str
    module: str
    """Below `innersearch.cli`; it holds `app`."""
    summary: str


HEADINGS: dict[str, tuple[Verb, ...]] = {
    "Begin": (
        Verb("demo", "demo", "Train the bundled model to search its own memory; --taste without torch."),
        Verb("play", "play", "Be the policy: type thoughts, queries and an answer."),
        Verb("ask", "ask", "Ask a model one question and print its trajectory."),
        Verb("search", "search", "Ask an engine one query and print what it finds."),
        Verb("ls", "ls", "List engines, routers, terms, grammars, recipes and more."),
        Verb("env", "env", "Show versions, extras, keys that are set, and hardware."),
    ),
    "Train": (
        Verb("start", "start", "Teach a model the tags by trajectories that it wrote behind examples."),
        Verb("train", "train", "Train a model by self-search or with an engine, as a recipe says."),
        Verb("config", "config", "Recipes as they are resolved."),
        Verb("simulator", "simulator", "Models that play the search engine."),
        Verb("cost", "cost", "Show what a recipe's searches cost, by who answers them."),
    ),
    "Measure": (
        Verb("eval", "evaluate", "Evaluate a model: exact match, F1, pass@k, with intervals."),
        Verb("compare", "compare", "Compare two evaluations question by question."),
        Verb("sim2real", "sim2real", "Evaluate a model with its first K searches real."),
        Verb("calibrate", "calibrate", "Find out where a model should search, and keep that with it."),
        Verb("hybrid", "hybrid", "Measure what searching only where it is needed costs."),
    ),
    "Serve": (
        Verb("serve", "serve", "Serve an engine as the search APIs that agents already call."),
        Verb("mcp", "mcp", "Serve an engine over the Model Context Protocol (stdio)."),
    ),
    "Look and hand on": (
        Verb("view", "view", "Open the report of a run, or page through it with --term."),
        Verb("export", "export", "Hand on trajectories to Hugging Face, inspect or verifiers."),
        Verb("push", "push", "Hand on a model with its card, to a directory or the hub."),
        Verb("report", "report", "Write report.html from what a run directory holds."),
    ),
    "Data": (
        Verb("data", "data", "Benchmarks by name, and checks of question files."),
        Verb("index", "index", "Make a BM25 or dense index of a corpus."),
        Verb("world", "world", "The embedded world: encyclopedia, questions, model."),
        Verb("real", "real", "Real questions, corpus, a small model, and a demo."),
        Verb("completion", "completion", "Complete verbs and options in a shell."),
    ),
}


ENVIRONMENT = Env("INNERSEARCH_", command=True)
"""Every option as a variable, INNERSEARCH_VERB_OPTION: below what is typed, above what a recipe says."""


def register(app: App) -> None:
    """Give an app all verbs."""
    app.config = (ENVIRONMENT,)
    for number, (heading, verbs) in enumerate(HEADINGS.items()):
        group = Group(heading, sort_key=number)
        for order, verb in enumerate(verbs):
            place = f"innersearch.cli.{verb.module}:app"
            app.command(place, name=verb.name, help=verb.summary, group=group, sort_key=order)


def unfold(app: App, names: Iterable[str]) -> None:
    """Import verbs and give them their whole help, for which the line in the list had stood."""
    known = {verb.name for verbs in HEADINGS.values() for verb in verbs}
    for name in known.intersection(names):
        if (resolved := app[name]).default_command is not None:
            resolved.help = None
