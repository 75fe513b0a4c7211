"""The Model Context Protocol: tools `search` and `fetch`, as OpenAI's connectors and research agents
expect them, over stdio and over HTTP at `/mcp`.

`search` finds documents, each with an id; `fetch` returns the page of an id or an address: from the
pages that are served, else the document as it was found. No session is kept, so that any of several
servers may answer. Without a token only requests to this machine's own names are answered: a page in a
browser could otherwise ask through a name that it points here.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.routing import Route

if TYPE_CHECKING:
    from innersearch.serve.serving import Serving

_OWN_HOSTS = ["127.0.0.1", "127.0.0.1:*", "localhost", "localhost:*", "[::1]", "[::1]:*"]


def router(serving: Serving) -> APIRouter:
    """The route `/mcp`; none where the SDK is not installed."""
    routes = APIRouter(tags=["mcp"])
    if importlib.util.find_spec("mcp") is None:
        return routes
    from mcp.server.transport_security import TransportSecuritySettings

    from innersearch.serve.mcp_tools import mcp_server

    server = mcp_server(serving)

    # The SDK checks nothing where it is told nothing, and lets only its own host in by default.
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=serving.token is None,
        allowed_hosts=_OWN_HOSTS,
        allowed_origins=[f"http://{host}" for host in _OWN_HOSTS],
    )
    app = server.streamable_http_app(
        host="127.0.0.1",
        transport_security=security,
        stateless_http=True,
        json_response=True,
        max_request_body_size=serving.limits.body_bytes,
    )
    serving.during.append(server.session_manager.run)
    routes.routes.append(Route("/mcp", endpoint=app))
    return routes
