"""Why a command of the documentation is not run here, by what stands in it; the first that fits counts.

What none of them fits is run.
"""

from __future__ import annotations

import re
from pathlib import Path

REASONS = {
    r"\b(serper|serpapi|brave|tavily|exa)\b|openai\.com|judge:|chat:https|HOST|OWNER": (
        "a key, and network"
    ),
    r"\b(vllm|verl|ray)\b|accelerate launch": "a GPU, or several",
    r"(http|remote):http": "a server of somebody else",
    r"\bpip\b|\bapt-get\b|\bgit clone\b|-m venv|activate$|\bdata get\b": (
        "network: it installs or fetches"
    ),
    r"(~|^| |:|@|/shared)/?models/(?!agent)": "network: a model that has to be fetched",
    r"\bnq(_hotpotqa_train)?(,\S+)?( |$)|--protocol|sr1-|8b-|zero-3b|7b-wiki": (
        "network: benchmarks or models that have to be fetched"
    ),
    r"train recipes/[\w-]+(?<!-world)(?<!-only)(?<!-single)\.toml (?!.*--dry-run)": (
        "a GPU: settings for models of billions of parameters"
    ),
    r"\b(real|atlas|quiz)\b|ssrl-real|runs/(one|other)\b": (
        "a real model on two cores: tests/real, and `make demo-real` for hours"
    ),
    r"^make |pytest|ruff": "CI does it, or it takes hours",
    r"^python benchmarks/": "an experiment of minutes to hours, whose result is stored",
    r"^python notebooks/": "tests/test_notebooks.py runs them",
    r"\bworld build\b": "15 minutes: `make test-build` does it in CI",
    r"\bdemo runs/": "ten minutes: CI runs `make demo SMALL=1`",
    r"--run runs/zerosearch-world": "it reads a whole run",
    r"\bplay$": "a dialogue: tests/cli holds it",
}


UNTRIED = frozenset(Path(__file__).with_name("untried.txt").read_text(encoding="utf-8").splitlines())
"""Commands that no reason stands against, and that the test has never been seen to run to their end:
take one out once it has."""


def reason(command: str) -> str:
    """Why it is not run; nothing where it is."""
    fitting = (why for pattern, why in REASONS.items() if re.search(pattern, command))
    return next(fitting, "untried" if command in UNTRIED else "")
