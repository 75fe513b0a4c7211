"""Who answers the queries of the policy."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from innersearch.config.base import Settings
from innersearch.config.names import EngineName, engine_names
from innersearch.config.simulator import SimulatorSettings
from innersearch.net.addresses import check_url
from innersearch.routing.router import Router, parse_router


class NoiseSettings(Settings):
    """How many searches are answered badly on purpose: the probability p of a noisy result, per query.

    `exponential` is ZeroSearch's p_i = start + (base^(i/m) − 1)/(base − 1)·(end − start) at step i of m
    (arXiv 2505.04588, section 3.4); `competence` grows with the running EM of training instead.
    """

    curve: Literal["exponential", "linear", "constant", "competence"] = "exponential"
    """How p goes from start to end; constant stays at end."""
    start: float = Field(0.0, ge=0, le=1)
    """Probability p of a noisy result before the first step."""
    end: float = Field(0.0, ge=0, le=1)
    """Probability p of a noisy result at the last step."""
    base: float = Field(4.0, gt=1)
    """Base of the exponential curve: the higher, the later the noise comes."""
    competent: float = Field(0.9, gt=0, le=1)
    """Running EM at which the competence curve reaches its end."""
    distractors: Literal["lower", "other", "removed"] = "lower"
    """What a degraded engine gives instead of its result: lower-ranked documents, those for another
    question, or its own without those that hold a gold answer. Simulators write noise themselves."""

    @model_validator(mode="after")
    def _grows(self) -> NoiseSettings:
        if self.curve != "constant" and self.start > self.end:
            raise ValueError(
                f"start {self.start:g} is above end {self.end:g}: noise grows from start to end; "
                "exchange them, or take curve constant"
            )
        return self


class SearchSettings(Settings):
    """Who answers the queries of the policy, and what it reads of the answers.

    Router and engines are kept as they are written; `rule` and `engines` are what they stand for.
    """

    router: str = "self"
    """Who writes the information: self, always, first:K, entropy-trend, random:RATE,
    gate:SIGNAL:THRESHOLD or learning:SIGNAL:THRESHOLD; see innersearch.routing.router."""
    engine: str = ""
    """What is searched: world, bm25:DIR, dense:DIR@MODEL, remote:URL, simulated:MODEL, or a search API
    such as serper; several, separated by commas, are fused."""
    k: int = Field(3, ge=1)
    """Documents per search."""
    style: Literal["plain", "search-r1", "numbered", "linked", "named", "aligned", "results"] = (
        "search-r1"
    )
    """How documents are written for the policy; see innersearch.rollout.observation."""
    noise: NoiseSettings = NoiseSettings()
    """How many searches are answered badly on purpose."""
    simulator: SimulatorSettings = SimulatorSettings()
    """How simulated:MODEL writes documents."""
    max_searches: int = Field(4, ge=1)
    """Searches per trajectory that the router decides; the query after the last one ends it."""
    max_tokens: int = Field(500, ge=1)
    """Longest content of an information block, in tokens; longer ones are cut."""
    stop_at_answer: bool = False
    """End at the closing answer tag, for models that do not end by themselves."""
    samples: int = Field(4, ge=1)
    """Further samples of its own information, for the signal `consistency`."""
    experience: str = ""
    """A file of what a learning router found out before."""
    timeout_s: float = Field(0.0, ge=0)
    """Seconds a trajectory may take; then it ends with an error and with what it has. 0: no limit."""
    max_error_rate: float = Field(0.2, ge=0, le=1)
    """The run stops when more than this share of all searches failed."""
    in_flight: int = Field(0, ge=0)
    """Calls over the network under way at once; 0: 32, or simulator.max_batch for a simulator."""
    per_second: float = Field(0.0, ge=0)
    """Calls over the network begun per second and process; 0: as many as the server takes."""
    deadline_s: float = Field(0.0, ge=0)
    """Longest call over the network, in seconds; 0: 30, or 180 for a simulator."""
    cache: str = ""
    """A file that keeps all results, so that no query is asked twice."""
    offline: bool = False
    """Answer from the cache only."""
    max_calls: int = Field(0, ge=0)
    """Number of calls to paid engines at most; 0: no limit."""
    max_usd: float = Field(0.0, ge=0)
    """Price of all calls to paid engines at most, in US dollars; 0: no limit."""

    @field_validator("router")
    @classmethod
    def _is_a_router(cls, text: str) -> str:
        parse_router(text)
        return text

    @field_validator("engine")
    @classmethod
    def _names_engines(cls, text: str) -> str:
        engine_names(text)
        return text

    @property
    def rule(self) -> Router:
        """The router."""
        return parse_router(self.router)

    @property
    def engines(self) -> tuple[EngineName, ...]:
        """The engines that are named; several are fused."""
        return engine_names(self.engine)

    @model_validator(mode="after")
    def _experience_is_for_learning(self) -> SearchSettings:
        if self.experience and self.rule.learning is None:
            raise ValueError(
                f"experience {self.experience} has no effect with the router {self.router}: take the "
                "router learning, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _offline_needs_a_cache(self) -> SearchSettings:
        if self.offline and not self.cache:
            raise ValueError("offline answers from the cache only: name its file with cache")
        return self

    def demand_addresses(self) -> None:
        """Check the addresses of engines before these settings are written anywhere.

        Raises:
            SearchError: One holds a user, a password or a query, or cannot be read.
        """
        for found in re.finditer(r"""https?://[^\s"#]*""", self.engine):
            before = self.engine[: found.start()].rpartition(",")[2]
            check_url(found[0].partition(",")[0], before.strip(' :@"') or "the engine")
