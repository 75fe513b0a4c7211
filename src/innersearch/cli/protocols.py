"""What `--protocol` of `innersearch eval` stands for, with the options that are given instead."""

from __future__ import annotations

from dataclasses import dataclass

from cyclopts import Parameter
from cyclopts.types import NonNegativeInt

from innersearch.cli.options import SearchOptions
from innersearch.evaluate.protocols import Choices, follow


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ProtocolOptions:
    """Which questions are asked, how, and what answers are scored by."""

    protocol: str = ""
    """Evaluate as a paper did: ssrl, zerosearch, search-r1, r1-searcher, rag-r1, deepresearcher,
    asearcher or harness-1. It chooses data, subset, prompt, grammar, lengths and limits where they are
    not given, and what is reported first; see docs/reproduce.md."""
    subset: NonNegativeInt | None = None
    """Questions per group, drawn by the hash of their ids; 0 takes all."""
    skip_long: bool = False
    """Leave out questions whose prompt leaves no room in the context of the model, and say which."""

    metrics: str = ""
    """Scores beside em, f1 and cover_em, which are always there: measures such as f1_set or retrieved,
    and judges, judge:URL#MODEL or judge:PROTOCOL:URL#MODEL with simpleqa (by default), frames or
    browsecomp; several are separated by commas: --metrics f1_set,judge:https://HOST/v1#MODEL."""

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
            search=options.choice(),
            groups=groups,
            direct=direct,
            skip_long=self.skip_long,
            metrics=tuple(filter(None, map(str.strip, self.metrics.split(",")))),
        )
        return follow(given, self.protocol) if self.protocol else given
