"""Runs an application: on an address until it is told to end, or beside other work in this process."""

from __future__ import annotations

import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from innersearch.errors import ConfigError, RunError
from innersearch.serve.connections import protocol
from innersearch.serve.limits import Limits

_ENDING = (signal.SIGINT, signal.SIGTERM)
_IDLE_S = 75
"""How long a connection without requests stays open."""
_UP_S = 30.0
_DOWN_S = 30.0
"""Longest wait for requests under way when a server ends."""


def serve(app: FastAPI, at: socket.socket, limits: Limits | None = None) -> None:
    """Serve until the process is told to end (SIGINT, SIGTERM); requests under way are finished.

    Args:
        app: What is served.
        at: As made by `bound`.
        limits: Limits of connections.
    """
    _server(app, limits).run(sockets=[at])


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens at an address.

    Raises:
        RunError: Another program does, or the address is none of this machine.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise RunError(
            f"cannot listen at {host}:{port} ({why}): give another --port or --host"
        ) from None
    with listening:
        yield listening


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
    with bound(host, port) as listening:
        server = _server(app, limits)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        end = time.monotonic() + _UP_S
        while not server.started:
            if not thread.is_alive() or time.monotonic() > end:
                raise RunError("the server could not be started: see what it logged")
            time.sleep(0.005)
        try:
            yield f"http://{host}:{listening.getsockname()[1]}"
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


class _Server(uvicorn.Server):
    """A server that ends when it is told to, and does not hand the signal on when it has ended."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take signals, in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in _ENDING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _server(app: FastAPI, limits: Limits | None) -> _Server:
    _allow_connections()
    return _Server(
        uvicorn.Config(
            app,
            http=protocol(limits or Limits()),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            # Agents think for longer than uvicorn's 5 s: they would find many connections just closed.
            timeout_keep_alive=_IDLE_S,
            timeout_graceful_shutdown=int(_DOWN_S),
        )
    )
