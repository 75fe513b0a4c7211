"""What `--protocol` of `innersearch eval` stands for, with the options that are given instead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cyclopts import Parameter
from cyclopts.types import NonNegativeInt

from innersearch.cli.options import HYBRID, SELF, SearchOptions
from innersearch.config import SearchSettings
from innersearch.errors import ConfigError
from innersearch.evaluate.protocols import Protocol, draw, protocol
from innersearch.routing.router import is_router
from innersearch.types import Question


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ProtocolOptions:
    """Which questions are asked, and how."""

    protocol: str = ""
    """Evaluate as a paper did: ssrl, zerosearch or search-r1. It chooses data, subset, prompt, lengths
    and limits where they are not given, and what is reported first; see docs/reproduce.md."""
    subset: NonNegativeInt | None = None
    """Questions per group, drawn by the hash of their ids; 0 takes all."""
    skip_long: bool = False
    """Leave out questions whose prompt leaves no room in the context of the model, and say which."""

    def choices(
        self,
        data: str,
        prompt: str | None,
        max_new_tokens: int,
        options: SearchOptions,
        *,
        groups: tuple[str, ...] = (),
        direct: bool = False,
    ) -> Choices:
        """What is given, with what the protocol says where it is not.

        Raises:
            ConfigError: There is no such protocol, or it searches and no engine is given.
        """
        given = Choices(
            data=data,
            prompt=prompt,
            max_new_tokens=max_new_tokens,
            subset=self.subset,
            options=options,
            groups=groups,
            direct=direct,
            skip_long=self.skip_long,
        )
        return _filled(given, self.protocol) if self.protocol else given


@dataclass(frozen=True, kw_only=True)
class Choices:
    """How an evaluation is to be done, before its model is known."""

    data: str
    prompt: str | None
    max_new_tokens: int
    subset: int | None
    """Questions per group; 0 takes all."""
    options: SearchOptions
    groups: tuple[str, ...] = ()
    """Only questions of these groups."""
    direct: bool = False
    """Ask for the answer without search tags."""
    skip_long: bool = False
    """Leave out questions that are too long."""
    protocol: Protocol | None = None
    departures: str = ""

    def select(self, questions: Sequence[Question]) -> list[Question]:
        """The questions that are asked."""
        if self.protocol is None:
            return draw(questions, self.subset or 0)
        return self.protocol.select(questions, self.subset)

    def counted(self, questions: Sequence[Question]) -> Choices:
        """The same, with every set of the protocol named that is not as large as published."""
        if self.protocol is None or self.data != ",".join(self.protocol.sets):
            return self
        asked = Counter(question.group for question in questions)
        sizes = self.protocol.sizes(self.subset)
        missing = [
            f"{name} {asked[name]:,} of {size:,} questions"
            for name, size in sizes.items()
            if asked[name] != size and name in (self.groups or sizes)
        ]
        return replace(self, departures=", ".join(filter(None, [self.departures, *missing])))

    def limit(self, settings: SearchSettings | None) -> SearchSettings | None:
        """The search settings with what has no option of its own."""
        if self.protocol is None or settings is None:
            return settings
        return settings.model_copy(update={"max_tokens": self.protocol.max_tokens})

    @property
    def record(self) -> dict[str, Any]:
        """What the settings of the evaluation keep of the protocol."""
        named = {"protocol": self.protocol.name if self.protocol else "", "departures": self.departures}
        return named | ({"skip_long": True} if self.skip_long else {})

    @property
    def metric(self) -> str:
        """What is reported first."""
        return self.protocol.metric if self.protocol else "em"


def _filled(given: Choices, name: str) -> Choices:
    """The choices with those of a protocol where nothing is given."""
    preset, options = protocol(name), given.options
    if preset.engine and options.search == SELF and not given.direct:
        raise ConfigError(
            f"protocol {name} asks an engine for every query (published: {preset.engine}): name "
            "yours with --search, for example bm25:DIR or remote:URL; for self-search there is protocol "
            "ssrl"
        )
    of_sets = ",".join(preset.sets)
    return replace(
        given,
        data=given.data or of_sets,
        prompt=given.prompt or preset.prompt,
        max_new_tokens=given.max_new_tokens or preset.max_new_tokens,
        options=replace(
            options,
            k=options.k or preset.k,
            max_searches=options.max_searches or preset.max_searches,
        ),
        protocol=preset,
        departures=", ".join(_departures(given, preset)),
    )


def _departures(given: Choices, preset: Protocol) -> Iterator[str]:
    """What is given and not the protocol's, in words."""
    options = given.options
    if given.data not in ("", ",".join(preset.sets)):
        yield f"data {given.data}"
    if given.groups and set(given.groups) != set(preset.sets):
        yield f"groups {','.join(given.groups)}"
    if given.direct:
        yield "direct"
    yield from preset.departures(
        prompt=given.prompt,
        max_new_tokens=given.max_new_tokens or None,
        subset=given.subset,
        k=options.k or None,
        max_searches=options.max_searches or None,
    )
    is_rule = options.search in (SELF, HYBRID) or is_router(options.search)
    rule, engine = (options.search, options.engine) if is_rule else ("always", options.search)
    if not given.direct and rule != ("always" if preset.engine else SELF):
        yield f"search {rule}"
    if engine and not engine.startswith(preset.engines):
        yield f"engine {engine}"
    if options.noise:
        yield f"noise {options.noise:g}"
