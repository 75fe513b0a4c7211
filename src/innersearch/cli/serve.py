"""`innersearch serve`: an engine behind every search API."""

from __future__ import annotations

import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.types import NonNegativeFloat, NonNegativeInt, PositiveInt

from innersearch.cli.console import stderr, stdout
from innersearch.config import SearchSettings, SimulatorSettings
from innersearch.errors import ConfigError

if TYPE_CHECKING:
    from socket import socket

    from innersearch.search.base import Engine
    from innersearch.serve.limits import Limits
    from innersearch.serve.serving import Serving

app = App(name="serve", help_format="plaintext")

_SHORTEST_TOKEN = 8


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What is searched, beside the engine itself."""

    also: Annotated[tuple[str, ...], Parameter(name="--with", negative="")] = ()
    """Further engine, NAME=ENGINE, which answers below /with/NAME; can be given several times."""
    pages: str = ""
    """Pages that are read by address: corpus (of the engine), corpus:PATH, web, remote:URL, jina,
    firecrawl, or none; by default the corpus, and the web with a search API."""
    simulator: Literal["tuned", "prompted"] = "tuned"
    """Whether the model of simulated:MODEL was tuned to be one, or is an instruct model that is
    prompted."""
    temperature: NonNegativeFloat | None = None
    """Sampling temperature of a model that writes documents; 0 for self:MODEL by default."""
    cache: Path | None = None
    """Keep the results of the engine in this file, so that nothing is asked twice."""
    offline: bool = False
    """Answer from the cache only."""
    max_calls: NonNegativeInt = 0
    """Number of calls to search APIs at most, over all clients; 0 for no limit."""
    max_usd: NonNegativeFloat = 0.0
    """Price of all calls to search APIs at most, in US dollars; 0 for no limit."""

    def settings(self, engine: str) -> SearchSettings:
        """The settings of one engine."""
        return SearchSettings(
            engine=engine,
            simulator=SimulatorSettings(mode=self.simulator),
            cache=str(self.cache or ""),
            offline=self.offline,
            max_calls=self.max_calls,
            max_usd=self.max_usd,
        )

    @property
    def named(self) -> dict[str, str]:
        """The further engines by name.

        Raises:
            ConfigError: One is not written as it must be.
        """
        found = {}
        for text in self.also:
            name, _, engine = text.partition("=")
            if not name.isidentifier() or not engine:
                raise ConfigError(f"--with {text!r}: write NAME=ENGINE, for example real=serper")
            found[name] = engine
        return found


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TroubleOptions:
    """What is made worse on purpose, drawn by session and query."""

    fail: NonNegativeFloat = 0.0
    """Share of searches that fail on purpose."""
    latency: str = ""
    """How long searches take at least: web (as search APIs do), or seconds."""
    noise: NonNegativeFloat = 0.0
    """Share of searches that are answered badly on purpose; at the last of the steps."""
    noise_start: NonNegativeFloat = 0.0
    """Share of searches that are answered badly before the first of the steps."""
    noise_steps: NonNegativeInt = 0
    """Optimizer steps over which noise grows, by the step of the session."""
    seed: int = 0
    """Seed of what is drawn: failures, latencies, noise."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LimitOptions:
    """What clients may ask of the server."""

    max_k: PositiveInt = 100
    """Documents per query at most."""
    in_flight: PositiveInt = 256
    """Requests worked on at once; further ones are told to come again (HTTP 429)."""
    per_second: NonNegativeFloat = 0.0
    """Requests per second at most; 0 for no limit."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class AgentOptions:
    """An agent beside the engine."""

    agent: str = ""
    """Model of an agent that searches the engine: a directory or hub id, or `world`. It answers at
    /v1/chat/completions and on the page at /; at /s/ID/v1 its model keeps what agents of others let it
    write."""
    policy: str = "transformers"
    """Who runs the model of the agent: transformers, vllm, http:URL,URL or chat:URL#NAME."""
    search: Literal["", "self", "always", "hybrid"] = ""
    """Who answers the queries of the agent where a request says nothing: the model itself, the engine,
    or the engine where the model is unsure, by a calibrated gate; the engine by default."""


@app.default
def serve(
    engine: str = "",
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(alias="-p")] = 8000,
    token_env: str = "",
    record: Path | None = None,
    replay: Path | None = None,
    quiet: bool = False,
    engines: Annotated[EngineOptions, Parameter(name="*")] = EngineOptions(),
    troubles: Annotated[TroubleOptions, Parameter(name="*")] = TroubleOptions(),
    limits: Annotated[LimitOptions, Parameter(name="*")] = LimitOptions(),
    asked: Annotated[AgentOptions, Parameter(name="*")] = AgentOptions(),
) -> None:
    """Serve an engine as the search APIs that agents already call.

    It answers as Search-R1 /retrieve, Serper, SerpAPI, Tavily, Brave, Exa, Perplexity, SearXNG and Open
    WebUI; docs/serving.md has a line for each client. What it serves also stands at /docs. Examples:

        innersearch serve world
        innersearch serve world --agent world
        innersearch serve simulated:runs/simulator --noise 0.75 --noise-steps 200
        innersearch serve self:runs/demo/model --record runs/tape.sqlite
        innersearch serve --replay runs/tape.sqlite
        innersearch serve world --fail 0.05 --latency web --with real=serper
        innersearch serve serper,brave --cache s.sqlite --max-usd 5 --host 0.0.0.0 --token-env TOKEN

    Args:
        engine: Engine that is searched: world, bm25:DIR, dense:DIR@MODEL, remote:URL, simulated:MODEL,
            self:MODEL (what a policy knows), or a search API such as serper; several, separated by
            commas, are fused.
        host: Address to listen on; any but this machine's own needs a token.
        port: Port to listen on; 0 takes a free one.
        token_env: Environment variable that holds the token that clients must show in place of a key.
        record: Keep every answer in this file.
        replay: Answer from this file only, byte for byte as it was recorded.
        quiet: Print no line per request.
        engines: What is searched besides.
        troubles: What is made worse on purpose.
        limits: What clients may ask.
        asked: An agent beside the engine.
    """
    from innersearch.serve.server import bound, demand_safe

    token = _token(token_env)
    demand_safe(host, token)
    with bound(host, port) as listening:
        serving = _open(engine, engines, troubles, record, replay)
        serving.token, serving.limits = token, _limits(limits)
        if asked.agent:
            from innersearch.serve.agent import serve_model

            serve_model(serving, asked.agent, policy=asked.policy, search=asked.search)
        shown = "127.0.0.1" if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listening.getsockname()[1]}"
        _run(serving, listening, url, token_env, quiet=quiet)


def _run(serving: Serving, listening: socket, url: str, token_env: str, *, quiet: bool) -> None:
    from innersearch.serve.app import build_app
    from innersearch.serve.greeting import lines
    from innersearch.serve.server import serve as run

    application = build_app(serving)
    _log(quiet=quiet)
    for line in lines(url, token_env):
        stdout.print(line)
    what = serving.engine.name if serving.engine else f"the record {serving.tape and serving.tape.path}"
    if "agent" in serving.parts:
        stdout.print(f"{'agent':<11}{url}/v1 as OPENAI_BASE_URL, or a page to ask it: {url}/")
    stderr.print(f"innersearch serves {what} at {url}; end it with Ctrl-C")
    run(application, listening, serving.limits)


def _limits(options: LimitOptions) -> Limits:
    from innersearch.serve.limits import Limits

    return Limits(k=options.max_k, in_flight=options.in_flight, per_second=options.per_second)


def _token(variable: str) -> str | None:
    if not variable:
        return None
    token = os.environ.get(variable, "").strip()
    if len(token) < _SHORTEST_TOKEN:
        raise ConfigError(
            f"the environment variable {variable} holds no token: put one of {_SHORTEST_TOKEN} "
            "characters or more there"
        )
    return token


def _open(
    engine: str,
    options: EngineOptions,
    worse: TroubleOptions,
    record: Path | None,
    replay: Path | None,
) -> Serving:
    """What is served: engines, or a record of them."""
    from innersearch.assemble.pages import pages_beside
    from innersearch.serve.opening import Troubles, open_served
    from innersearch.serve.pages import PART
    from innersearch.serve.serving import Serving
    from innersearch.serve.tape import Tape

    if replay is not None:
        if engine or record or options != EngineOptions() or worse != TroubleOptions():
            raise ConfigError(
                "--replay answers from its file alone: leave out the engine and its options"
            )
        return Serving(tape=Tape(replay, "replay"))
    if not engine and not options.offline:
        raise ConfigError(
            "no engine given: name one, for example `innersearch serve world`, or give --replay FILE"
        )
    troubles = Troubles(**asdict(worse))

    def opened(name: str) -> Engine:
        return open_served(options.settings(name), troubles, options.temperature)

    further = {name: opened(other) for name, other in options.named.items()}
    tape = Tape(record, "record") if record else None
    serving = Serving(opened(engine), engines=further, tape=tape)
    serving.parts[PART] = pages_beside(options.pages, options.settings(engine), serving.engine)
    return serving


def _log(*, quiet: bool) -> None:
    """A line per request, and what went wrong, to where errors are printed."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("innersearch.serve")
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR if quiet else logging.INFO)
