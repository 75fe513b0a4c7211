"""A server beside other work in this process, such as a notebook: an engine, and an agent."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Self

from innersearch.assemble.agents import Agent
from innersearch.assemble.pages import pages_beside
from innersearch.config import SearchSettings
from innersearch.search.base import Engine
from innersearch.serve.agent import serve_agent, serve_model
from innersearch.serve.app import build_app
from innersearch.serve.pages import PART
from innersearch.serve.server import serving_at
from innersearch.serve.serving import Serving


@dataclass
class Server:
    """A server that runs until it is closed, or the process ends."""

    url: str
    """`http://127.0.0.1:PORT`."""
    _open: ExitStack = field(repr=False)

    def close(self) -> None:
        """Finish requests under way and end; nothing happens where it has ended."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve_beside(
    engine: Engine, agent: Agent | str | None = None, *, search: str = "", port: int = 0
) -> Server:
    """Begin to serve; arguments and errors as `innersearch.open_server`."""
    serving = Serving(engine)
    serving.parts[PART] = pages_beside("", SearchSettings(), engine)
    if isinstance(agent, str):
        serve_model(serving, agent, search=search)
    elif agent is not None:
        serve_agent(serving, agent, search=search)
    with ExitStack() as opened:
        url = opened.enter_context(serving_at(build_app(serving), port=port, limits=serving.limits))
        return Server(url, opened.pop_all())
