"""The kinds of engines that are asked over a network: a `/retrieve` server, and the search APIs."""

from __future__ import annotations

from innersearch.config.names import EngineName
from innersearch.search.base import Engine
from innersearch.search.kinds import EngineKind, Opening
from innersearch.search.remote.dialects import DIALECTS, Dialect
from innersearch.search.remote.places import read_place
from innersearch.search.wrappers.budget import Budgeted
from innersearch.search.wrappers.reliable import Reliable


def _open_remote(name: EngineName, opening: Opening) -> Engine:
    # Imported late: help and errors should not wait for the HTTP client.
    from innersearch.search.remote.retrieve import RemoteEngine

    at = read_place(name)
    calls = at.patience(opening.calls())
    remote = RemoteEngine(at.address, offline=opening.offline, silence_s=calls.deadline_s, **at.remote)
    return Reliable(remote, calls)


def web_kind(dialect: Dialect) -> EngineKind:
    """The kind of engine that a search API is; `NAME:URL` takes another address."""

    def open_web(name: EngineName, opening: Opening) -> Engine:
        from innersearch.search.remote.web import WebEngine

        at = read_place(name)
        calls = at.patience(opening.calls())
        engine = WebEngine(
            dialect,
            base_url=at.address or None,
            offline=opening.offline,
            silence_s=calls.deadline_s,
        )
        return Reliable(Budgeted(engine, opening.budget), calls)

    price = dialect.price.usd
    return EngineKind(dialect.name, dialect.name, open_web, price, network=True, summary="search API")


REMOTE = EngineKind(
    "remote", "remote:URL", _open_remote, network=True, summary="a server of Search-R1's /retrieve"
)
WEB = {name: web_kind(dialect) for name, dialect in DIALECTS.items()}
