"""`innersearch serve`: an engine behind every search API."""

from __future__ import annotations

import os

from cyclopts import App
from cyclopts.types import PositiveInt

from innersearch.cli.console import stderr
from innersearch.config import SearchSettings
from innersearch.errors import ConfigError

app = App(name="serve", help_format="plaintext")


@app.default
def serve(
    engine: str,
    *,
    host: str = "127.0.0.1",
    port: PositiveInt = 8000,
    token_env: str = "",
) -> None:
    """Serve an engine as the search APIs that agents already call.

    Routes, limits and what it serves stand at /docs. Examples:

        innersearch serve world
        innersearch serve bm25:runs/wiki --port 8001
        innersearch serve bm25:runs/wiki --host 0.0.0.0 --token-env GATEWAY_TOKEN

    Args:
        engine: Engine that is searched: world, bm25:DIR, dense:DIR@MODEL, remote:URL, or a search API
            such as serper; several, separated by commas, are fused.
        host: Address to listen on; any but this machine's own needs a token.
        port: Port to listen on.
        token_env: Environment variable that holds the token that clients must show in place of a key.
    """
    from innersearch.assemble.engines import open_engine
    from innersearch.serve.app import build_app
    from innersearch.serve.server import demand_safe
    from innersearch.serve.server import serve as run
    from innersearch.serve.serving import Serving

    token = os.environ.get(token_env) if token_env else None
    if token_env and not token:
        raise ConfigError(f"the environment variable {token_env} is not set: put the token there")
    demand_safe(host, token)
    app = build_app(Serving(open_engine(SearchSettings(engine=engine)), token=token))
    stderr.print(f"innersearch serves {engine} at http://{host}:{port} (see /docs)")
    run(app, host, port)
