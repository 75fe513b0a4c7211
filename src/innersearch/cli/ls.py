"""`innersearch ls`: everything that has a name."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

from innersearch.cli.console import stdout
from innersearch.cli.results import AsJson, show_rows

app = App(name="ls", help_format="plaintext")

Topic = Literal[
    "engines",
    "routers",
    "terms",
    "tools",
    "grammars",
    "recipes",
    "benchmarks",
    "protocols",
    "policies",
    "pages",
    "models",
    "prompts",
    "exports",
]


@app.default
def ls(topic: Topic | None = None, *, as_json: AsJson = False) -> None:
    """List what recipes and the command line can name, that of installed packages included.

    Without a topic, the topics and how many there are of each. Examples:

        innersearch ls
        innersearch ls engines
        innersearch ls recipes
        innersearch ls terms --json

    Args:
        topic: Sort of things.
        as_json: Print the result as JSON, in place of text and tables.
    """
    from innersearch.view.listing import TOPICS, listing

    if topic is not None:
        show_rows(*listing(topic), as_json=as_json)
        return
    counts = [(name, len(listing(name).rows)) for name in TOPICS]
    show_rows(("topic", "how many"), counts, as_json=as_json)
    if not as_json:
        stdout.print("next  innersearch ls TOPIC")
