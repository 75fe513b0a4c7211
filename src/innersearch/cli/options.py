"""What the search options of commands stand for: who answers queries, and with what.

Besides those that the help names, `--search` takes every router (entropy-trend, random:RATE,
gate:SIGNAL:THRESHOLD), and `--engine` every engine; several, separated by commas, are fused.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.types import NonNegativeFloat, NonNegativeInt
from cyclopts.validators import Number

from innersearch.assemble.choices import SearchChoice
from innersearch.cli.console import stderr
from innersearch.config import NoiseSettings, Recipe, SearchSettings
from innersearch.errors import ConfigError
from innersearch.routing.router import Router, always, is_router, parse_router

SELF, HYBRID, LEARNING = "self", "hybrid", "learning"

Dtype = Literal["auto", "float32", "bfloat16", "float16", "stored"]
"""What weights can be computed in; see `innersearch.policy.dtype`."""
_CALLS = ("max_calls", "max_usd", "in_flight", "per_second", "deadline_s")
"""Options that limit calls."""
_LATER = ("max_error_rate", "experience", "noise")
"""Further options of searches."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Who answers the queries of a model."""

    search: str = SELF
    """Who answers the queries: self (the model's own memory), always (an engine), first:K, hybrid (the
    gate that was calibrated for the model), learning (that gate, which finds out in use where memory is
    out of date), or the name of an engine."""
    engine: str = ""
    """Engine that is searched: world, bm25:DIR, dense:DIR@MODEL, remote:URL, or a search API such as
    serper; several, separated by commas, are fused."""
    k: Annotated[NonNegativeInt, Parameter(alias="-k")] = 0
    """Documents per search; 1 for the world's model and 3 for others by default."""
    max_searches: NonNegativeInt = 0
    """Searches of a trajectory that are answered; the next one ends it. 4 by default."""
    cache: Path | None = None
    """File that keeps all results, so that nothing is asked twice."""
    offline: bool = False
    """Answer from the cache only."""
    max_calls: NonNegativeInt = 0
    """Number of calls to search APIs at most; 0 for no limit."""
    max_usd: NonNegativeFloat = 0.0
    """Price of all calls to search APIs at most, in US dollars; 0 for no limit."""
    in_flight: NonNegativeInt = 0
    """Calls over the network under way at once; 32 by default."""
    per_second: NonNegativeFloat = 0.0
    """Calls over the network begun per second at most; 0 for as many as the server takes."""
    deadline_s: NonNegativeFloat = 0.0
    """Longest call over the network, in seconds; 30 by default, and 180 for a simulator."""
    max_error_rate: Annotated[float | None, Parameter(validator=Number(gte=0, lte=1))] = None
    """Stop when more than this share of all searches failed, wholly or in part; 0.2 by default."""
    experience: Path | None = None
    """File of what --search learning found out before, such as experience.json of an evaluation; ask
    goes on in it, other commands leave it as it is."""
    noise: Annotated[float, Parameter(validator=Number(gte=0, lte=1))] = 0.0
    """Share of searches that are answered badly on purpose."""

    def choice(self) -> SearchChoice | None:
        """What was chosen; None where the model answers itself.

        Raises:
            ConfigError: An option has no effect, two engines are given, or there is no such rule.
        """
        if self.search == SELF:
            self._refuse_unused()
            return None
        rule, engine = self._rule_and_engine()
        given: dict[str, Any] = {"offline": self.offline, "cache": str(self.cache or "")}
        given |= {"experience": str(self.experience)} if self.experience else {}
        limits = ("k", "max_searches", *_CALLS)
        given |= {name: getattr(self, name) for name in limits if getattr(self, name)}
        if self.max_error_rate is not None:
            given["max_error_rate"] = self.max_error_rate
        if self.noise:
            given["noise"] = NoiseSettings(curve="constant", end=self.noise)
        learns = self.search == LEARNING
        return SearchChoice(rule=rule, learning=learns, engine=engine, given=given)

    def _rule_and_engine(self) -> tuple[Router | None, str]:
        if self.search in (HYBRID, LEARNING):
            return None, self.engine
        if is_router(self.search):
            return parse_router(self.search), self.engine
        if self.engine:
            raise ConfigError(
                f"two engines given, --search {self.search} and --engine {self.engine}: write "
                "--search always or another rule, or leave one out"
            )
        return always(), self.search

    def _refuse_unused(self) -> None:
        """Self-search asks no engine; whoever names one meant something else."""
        given = [
            name
            for name in ("engine", "cache", "offline", *_CALLS, *_LATER)
            if getattr(self, name) != getattr(SearchOptions, name)
        ]
        if given:
            option = given[0].replace("_", "-")
            raise ConfigError(
                f"--{option} without a search: add --search always, hybrid or another rule"
            )

    def for_rule(self, rule: str) -> SearchOptions:
        """The same with a rule of the command's own.

        Raises:
            ConfigError: --search was given.
        """
        if self.search != SELF:
            raise ConfigError(
                f"--search {self.search} has no place here, the command tries rules of its own: "
                "name the engine with --engine"
            )
        return replace(self, search=rule) if rule != SELF else SearchOptions()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RolloutOptions:
    """How a model writes, what it sees next, and when a trajectory ends. What is not given is as in the
    run that trained the model, if it lies in the directory of one.
    """

    grammar: str | None = None
    """How the model writes: tags, r1-searcher, rag-r1, rag-r1-single, tool-call, tool-calls,
    deepresearcher, deepresearcher-plain, asearcher or harness; tags by default, or what the model was
    trained with."""
    pages: str | None = None
    """Pages that it may open: corpus (of the engine), corpus:PATH, web, remote:URL, jina or firecrawl;
    none by default, or as it was trained."""
    reader: str | None = None
    """What it sees of a page: whole:TOKENS, parts:CHARACTERS:MOST, passages:NUMBER or model:MODEL."""
    only_seen: Literal["yes", "last", "no"] | None = None
    """Pages that it may open: yes takes those that a search found, last those that the last search
    found, no opens all; yes by default, or as it was trained."""
    context: str | None = None
    """What it sees next: append (everything), shorten:CHARACTERS, shorten-pages:CHARACTERS or
    render:TURNS; append by default, or what the model was trained with."""
    prompt_budget: NonNegativeInt | None = None
    """Longest prompt of a context that is not append, in tokens; 0 for what the model takes."""
    max_turns: NonNegativeInt | None = None
    """Replies per trajectory at most; 0 for no limit."""
    max_tokens_per_turn: NonNegativeInt | None = None
    """Longest reply, in tokens; 0 for whatever is left."""
    last_turn: Literal["end", "answer"] | None = None
    """What happens when there are no turns or searches left: the trajectory ends, or one more reply may
    answer."""

    @property
    def given(self) -> dict[str, Any]:
        """What was given, as values of `RolloutSettings`."""
        names = {field.name: field.name for field in fields(self)} | {"prompt_budget": "budget"}
        found = ((setting, getattr(self, name)) for name, setting in names.items())
        given = {setting: value for setting, value in found if value is not None}
        seen = {"yes": True, "no": False, "last": "last"}
        return given | ({"only_seen": seen[self.only_seen]} if self.only_seen else {})


def announce_cost(settings: SearchSettings | None, trajectories: int) -> None:
    """Say what the calls to search APIs may cost, before the first one."""
    from innersearch.assemble.engines import price_usd
    from innersearch.search.wrappers.budget import forecast

    if settings is None:
        return
    price = price_usd(settings.engines)
    if price and not settings.offline:
        asked = sum(settings.rule.listens(index) for index in range(settings.max_searches))
        most = forecast(price, trajectories * asked)
        limits = [f"{settings.max_calls:,} calls"] * bool(settings.max_calls)
        limits += [f"${settings.max_usd:,.2f}"] * bool(settings.max_usd)
        limit = " and ".join(limits) or "none: --max-calls, --max-usd"
        stderr.print(
            f"searches without retries: at most {most} at ${1000 * price:g} per 1,000 (limit: {limit})"
        )


def announce_calls(recipe: Recipe) -> None:
    """The same for a training run."""
    plan = recipe.trainer
    if recipe.search.rule.asks:
        announce_cost(recipe.search, plan.steps * plan.prompts_per_step * plan.group_size)
