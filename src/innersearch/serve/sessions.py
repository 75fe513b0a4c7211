"""Sessions: who asks, so that engines that must know it do, and draws depend on nothing else.

    POST /sessions {"question": …, "golden_answers": […], "group": …, "repetition": 0, "step": 0}

Whatever a server answers it also answers below `/s/{id}/…`, where a simulator is told the question and
its gold answers, and a curriculum of noise the step. Quality is drawn by (group, repetition, query, how
often it was asked), not by the order in which requests arrive, so that an agent that searches several
times at once draws the same each time it runs. A header `X-Innersearch-Session: ID` does the same.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import HTTPConnection

from innersearch.search.base import Engine, SearchRequest, SearchResult
from innersearch.types import Question

if TYPE_CHECKING:
    from innersearch.serve.serving import Serving

HEADER = "X-Innersearch-Session"
SCOPE = "innersearch.session"
"""Where the id of the session stands in the scope of a request."""
ENGINE = "innersearch.engine"
"""Where the name of the engine stands that a request is for, if it names one."""
_MOST = 100_000
"""Sessions that are kept; the one that was used longest ago makes room for a new one."""


class UnknownSessionError(LookupError):
    """There is no session of that id."""


class SessionRequest(BaseModel):
    """What a session is about. Everything may be left out."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    question: str = Field("", max_length=20_000)
    """The question that its searches are for."""
    golden_answers: list[str] = Field(default_factory=list, max_length=1_000)
    """Its gold answers, for simulators that are told, and for rewards."""
    id: str = Field("", max_length=500)
    """Id of the question in its data."""
    group: str = Field("", max_length=500)
    """What the repetitions of one question share; by default the id of the question, or its text."""
    repetition: int = Field(0, ge=0)
    """Which of them it is."""
    step: int = Field(0, ge=0)
    """The optimizer step, for curricula of noise; 0 outside of training."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    """Whatever else is known about the question, such as the ids of its gold documents."""


@dataclass
class Session:
    """One run of an agent for one question."""

    id: str
    question: Question | None
    group: str
    repetition: int = 0
    step: int = 0
    searches: int = 0
    """Queries so far."""
    held: dict[str, Any] = field(default_factory=dict)
    """What other modules keep for it, by a name of theirs."""
    listeners: list[Callable[[Engine, str, SearchResult], None]] = field(default_factory=list)
    """Told of each query, who was asked and what came of it."""
    _asked: Counter[str] = field(default_factory=Counter)

    def asks(self, query: str) -> SearchRequest:
        """A query of this session, with all that its draws depend on."""
        line = " ".join(query.split())
        self.searches += 1
        self._asked[line] += 1
        identity = (self.group, self.repetition, line, self._asked[line])
        return SearchRequest(query, self.question, identity, self.step)


class Sessions:
    """The sessions of a server."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self.begun: list[Callable[[Session], None]] = []
        """Told of each session that begins."""
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._likes: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._sessions)

    def begin(self, asked: SessionRequest) -> Session:
        """A new session. Its id follows from what it is about, and from how many like it there were."""
        question = None
        if asked.question:
            identity = asked.id or asked.group or asked.question
            gold = tuple(asked.golden_answers)
            question = Question(identity, asked.question, gold, dict(asked.metadata))
        name = hashlib.blake2b(asked.model_dump_json().encode("utf-8", "replace"), digest_size=12)
        number, start = self._likes[name.hexdigest()], name.hexdigest()
        self._likes[start] += 1
        group = asked.group or asked.id or asked.question
        session = Session(
            f"{start}-{number}" if number else start, question, group, asked.repetition, asked.step
        )
        self._sessions[session.id] = session
        for listener in self.begun:
            listener(session)
        while len(self._sessions) > self._most:
            self._sessions.popitem(last=False)
        return session

    def get(self, name: str) -> Session:
        """The session of that id.

        Raises:
            UnknownSessionError: There is none.
        """
        session = self._sessions.get(name)
        if session is None:
            raise UnknownSessionError(f"no session {name[:60]!r}: begin one with POST /sessions")
        self._sessions.move_to_end(name)
        return session

    def of(self, request: HTTPConnection) -> Session | None:
        """The session that a request is made in; None outside of any.

        Raises:
            UnknownSessionError: It names one that does not exist.
        """
        name = request.scope.get(SCOPE) or request.headers.get(HEADER)
        return self.get(name) if name else None

    def end(self, name: str) -> Session:
        """Forget a session.

        Raises:
            UnknownSessionError: There is none of that id.
        """
        session = self.get(name)
        del self._sessions[name]
        return session


def router(serving: Serving) -> APIRouter:
    """The routes of sessions themselves."""
    routes = APIRouter(tags=["sessions"])

    @routes.post("/sessions", summary="Begin a session")
    async def begin(asked: SessionRequest, request: Request) -> dict[str, Any]:
        session = serving.sessions.begin(asked)
        return {"id": session.id, "url": f"{str(request.base_url).rstrip('/')}/s/{session.id}"}

    @routes.get("/sessions/{session}", summary="What a session is about")
    async def look(session: str) -> dict[str, Any]:
        found = serving.sessions.get(session)
        question = found.question.question if found.question else ""
        return {"id": found.id, "question": question, "searches": found.searches}

    @routes.delete("/sessions/{session}", summary="End a session")
    async def end(session: str) -> dict[str, Any]:
        found = serving.sessions.end(session)
        return {"id": found.id, "searches": found.searches}

    return routes
