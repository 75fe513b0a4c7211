"""innersearch: train, measure and serve LLM search agents without paying for a search engine.

    from innersearch import evaluate_agent, read_questions, train_agent

    run = train_agent("ssrl-world", "runs/mine", trainer={"steps": 20})
    summary = evaluate_agent(str(run.model), read_questions("world:test"), "runs/mine-eval")

Everything below is offered here and stays; what is imported from deeper may move.

* open: `open_agent` gives an `Agent`, a policy with its tokenizer; `open_engine`; `open_server`
* do: `roll_out`, `score`, `evaluate_agent`, `train_agent`
* read: `read_questions`, `read_trajectories`
* what flows: `Recipe`, `Question`, `Document`, `Call`, `Source`, `Trajectory`
* to write one's own: `Policy`, `Engine` with `SearchResult`, `Tool` with `ToolSchema`,
  `Outcome` and `State`, `Grammar` with `Tag`, `Kind` and `Action`, `Term` and `Rubric`
* `InnersearchError`: what everything here raises, with one line that says what to do
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from innersearch.openmp import bound_spinning

if TYPE_CHECKING:
    from innersearch.assemble.agents import Agent, open_agent
    from innersearch.config import Recipe
    from innersearch.errors import InnersearchError
    from innersearch.grammar import Action, Grammar, Tag
    from innersearch.policy.base import Policy
    from innersearch.public import (
        evaluate_agent,
        open_engine,
        open_server,
        read_questions,
        read_trajectories,
        roll_out,
        score,
        train_agent,
    )
    from innersearch.rewards import Rubric, Term
    from innersearch.search.base import Engine, SearchResult
    from innersearch.tools.base import Outcome, State, Tool, ToolSchema
    from innersearch.types import Call, Document, Kind, Question, Source, Trajectory

__version__ = "0.2.0"

_ROOMS = {
    "assemble.agents": ("Agent", "open_agent"),
    "config": ("Recipe",),
    "errors": ("InnersearchError",),
    "grammar": ("Action", "Grammar", "Tag"),
    "policy.base": ("Policy",),
    "public": (
        *("evaluate_agent", "open_engine", "open_server", "read_questions", "read_trajectories"),
        *("roll_out", "score", "train_agent"),
    ),
    "rewards": ("Rubric", "Term"),
    "search.base": ("Engine", "SearchResult"),
    "tools.base": ("Outcome", "State", "Tool", "ToolSchema"),
    "types": ("Call", "Document", "Kind", "Question", "Source", "Trajectory"),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "Action",
    "Agent",
    "Call",
    "Document",
    "Engine",
    "Grammar",
    "InnersearchError",
    "Kind",
    "Outcome",
    "Policy",
    "Question",
    "Recipe",
    "Rubric",
    "SearchResult",
    "Source",
    "State",
    "Tag",
    "Term",
    "Tool",
    "ToolSchema",
    "Trajectory",
    "evaluate_agent",
    "open_agent",
    "open_engine",
    "open_server",
    "read_questions",
    "read_trajectories",
    "roll_out",
    "score",
    "train_agent",
]

# Before anything loads torch, which reads it once.
bound_spinning()


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, so that `import innersearch` takes no time."""
    if name not in _HOME:
        raise AttributeError(f"module 'innersearch' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"innersearch.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
