"""An engine as it is served: opened by its name, noisy, slow or failing as somebody wants it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from innersearch.assemble.engines import open_engine
from innersearch.config import NoiseSettings, SearchSettings, SimulatorSettings
from innersearch.errors import ConfigError
from innersearch.search.base import Engine
from innersearch.search.curriculum import Curriculum
from innersearch.search.wrappers.failing import Failing
from innersearch.search.wrappers.slow import Latency, Slow


@dataclass(frozen=True, kw_only=True)
class Troubles:
    """What is made worse on purpose, each drawn by session and query."""

    noise: float = 0.0
    """Share of searches that are answered badly; at the last step where there are steps."""
    noise_start: float = 0.0
    """The same before the first step."""
    noise_steps: int = 0
    """Optimizer steps over which noise grows with the step of the session; 0: it is always the same."""
    fail: float = 0.0
    """Share of searches that fail."""
    latency: str = ""
    """How long searches take at least: `web`, or seconds."""
    seed: int = 0
    """Seed of all these draws."""

    @property
    def curriculum(self) -> Curriculum:
        """When results are noisy.

        Raises:
            ConfigError: A share is none, or noise is to grow over no steps.
        """
        if not self.noise_steps and self.noise_start:
            raise ConfigError("noise grows over steps: give their number with --noise-steps")
        for name, share in (("--noise", self.noise), ("--noise-start", self.noise_start)):
            if not 0 <= share <= 1:
                raise ConfigError(f"{name} is a share from 0 to 1, given {share:g}")
        curve: Literal["exponential", "constant"] = "exponential" if self.noise_steps else "constant"
        settings = NoiseSettings(curve=curve, start=self.noise_start, end=self.noise)
        return Curriculum(settings, max(1, self.noise_steps), self.seed)


def open_served(
    settings: SearchSettings, troubles: Troubles | None = None, temperature: float | None = None
) -> Engine:
    """The engine that `settings` names, with what is made worse on purpose around it.

    Args:
        settings: Names the engine, its cache and its limits.
        troubles: Noise, failures, latency.
        temperature: Of models that write documents; by default 0 for a policy that searches itself.

    Raises:
        InnersearchError: As `open_engine`; or a share or a latency is impossible.
    """
    troubles = troubles or Troubles()
    curriculum, slow = troubles.curriculum, Latency.parse(troubles.latency or "0")
    if temperature is None and any(name.kind == "self" for name in settings.engines):
        temperature = 0.0
    if temperature is not None:
        changed = settings.simulator.model_dump() | {"temperature": temperature}
        settings = settings.model_copy(update={"simulator": SimulatorSettings(**changed)})
    settings = settings.model_copy(update={"noise": curriculum.settings})
    engine = open_engine(settings, curriculum=curriculum)
    if troubles.fail:
        engine = Failing(engine, troubles.fail, troubles.seed)
    return Slow(engine, slow, troubles.seed) if slow.p99_s else engine
