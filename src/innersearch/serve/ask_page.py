"""The page at `/`: somebody asks the agent and sees what it writes, in colour, as it is written.

One file without anything from elsewhere. `/?q=QUESTION` asks at once.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.responses import HTMLResponse

if TYPE_CHECKING:
    from innersearch.serve.agent import AgentEndpoint
    from innersearch.serve.serving import Serving

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def router(serving: Serving) -> APIRouter:
    """The route of the page, where an agent is served."""
    routes = APIRouter(tags=["agent"])
    agent: AgentEndpoint | None = serving.parts.get("agent")
    if agent is None:
        return routes
    setup = {
        "model": agent.name,
        "modes": agent.modes,
        "mode": agent.search,
        "token": serving.token is not None,
    }
    text = _page().replace("SETUP", json.dumps(setup).replace("<", "\\u003c"), 1)

    @routes.get("/", summary="A page to ask the agent", response_class=HTMLResponse)
    async def page() -> HTMLResponse:
        return HTMLResponse(text, headers=_HEADERS)

    return routes


@cache
def _page() -> str:
    return (files("innersearch.serve") / "ask_page.html").read_text(encoding="utf-8")
