"""What one server serves: the value that every module of this room makes its routes from."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from innersearch.search.base import Engine
from innersearch.serve.limits import Limits
from innersearch.serve.metrics import Metrics
from innersearch.serve.sessions import Sessions
from innersearch.serve.tape import Tape

Refuse = Callable[[int, str], tuple[int, Any]]
"""Status and message → status and JSON body of an error, as the API in question gives them. The statuses
that come in are 400 and 422 (a request that is wrong), 401 (the token), 404, 408, 413, 429, 402 (a
budget is used up), 500, 502 (the engine failed) and 504."""


class UnknownEngineError(LookupError):
    """No engine of that name is served."""


@dataclass
class Serving:
    """An engine, the sessions that ask it, and everything that modules put beside them.

    A module adds its routes by a function `router(serving) -> APIRouter` in `app.ROUTERS`. Every route
    is also answered below `/s/{id}/…`, for the session of that id: `serving.sessions.of(request)` is the
    session of a request, or None outside of any.
    """

    engine: Engine | None = None
    """Who answers queries; None in a replay, where the record does."""
    engines: dict[str, Engine] = field(default_factory=dict)
    """Further engines by name; one answers whatever stands below `/with/{name}/…`."""
    tape: Tape | None = None
    """Where answers are kept, or come from."""
    sessions: Sessions = field(default_factory=Sessions)
    limits: Limits = field(default_factory=Limits)
    metrics: Metrics = field(default_factory=Metrics)
    token: str | None = None
    """What clients show in place of a key; None lets everybody in."""
    refusals: dict[str, Refuse] = field(default_factory=dict)
    """How errors are written, by the beginning of the path; the longest that fits counts."""
    during: list[Callable[[], AbstractAsyncContextManager[Any]]] = field(default_factory=list)
    """Entered before the first request and left after the last one, such as pools and other apps."""
    parts: dict[str, Any] = field(default_factory=dict)
    """What other modules serve, by a name of theirs, such as `agent` or `pages`."""

    def searched(self, name: str = "") -> Engine | None:
        """The engine of a name, or the one that answers where no name is given.

        Raises:
            UnknownEngineError: There is none of that name.
        """
        if name and name not in self.engines:
            known = f"; known: {', '.join(sorted(self.engines))}" if self.engines else ""
            raise UnknownEngineError(f"no engine {name[:60]!r} is served below /with{known}")
        return self.engines[name] if name else self.engine

    def refuse(self, path: str, status: int, message: str) -> tuple[int, Any]:
        """Status and body of an error at a path, as the API gives them that the path belongs to."""
        fitting = [start for start in self.refusals if path.startswith(start)]
        write = self.refusals[max(fitting, key=len)] if fitting else _plain
        return write(status, message)


def _plain(status: int, message: str) -> tuple[int, Any]:
    return status, {"detail": message}
