"""Runs an application: on an address until it is told to end, or beside other work in this process."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

from innersearch.errors import ConfigError, RunError
from innersearch.serve.connections import protocol
from innersearch.serve.limits import Limits

_UP_S = 30.0
_DOWN_S = 30.0
"""Longest wait for requests under way when a server ends."""


def serve(app: FastAPI, host: str = "127.0.0.1", port: int = 8000, limits: Limits | None = None) -> None:
    """Serve until the process is told to end; requests under way are finished."""
    _server(app, limits, host=host, port=port).run()


def _allow_connections() -> None:
    """Let the process hold as many connections as the system allows it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def serving_at(
    app: FastAPI, host: str = "127.0.0.1", port: int = 0, limits: Limits | None = None
) -> Iterator[str]:
    """Serve beside the block, in a thread; yields the address, `http://127.0.0.1:PORT`.

    Args:
        app: What is served.
        host: Address to listen on.
        port: 0 takes a free one.
        limits: Limits of connections; see `Limits`.

    Raises:
        RunError: The server did not start.
    """
    server = _server(app, limits, host=host, port=port)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + _UP_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > end:
            raise RunError(f"no server could be started at {host}:{port}: take another port")
        time.sleep(0.005)
    bound = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://{host}:{bound}"
    finally:
        server.should_exit = True
        thread.join(_DOWN_S + _UP_S)


def demand_safe(host: str, token: str | None) -> None:
    """Refuse to listen to other machines without a token.

    Raises:
        ConfigError: The host is not this machine, and there is no token.
    """
    if host not in ("127.0.0.1", "::1", "localhost") and not token:
        raise ConfigError(
            f"--host {host} lets other machines in: give the environment variable of a token with "
            "--token-env, or leave --host out"
        )


def _server(app: FastAPI, limits: Limits | None = None, **settings: Any) -> uvicorn.Server:
    _allow_connections()
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=protocol(limits or Limits()),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=int(_DOWN_S),
            **settings,
        )
    )
