"""A model that is to be evaluated, once or with several ways to search, with its defaults filled in."""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from innersearch.assemble.models import conventions_of, model_path, rollout_settings, usual_length
from innersearch.assemble.pages import demand_tools
from innersearch.assemble.plans import open_search
from innersearch.assemble.policies import parse_policy
from innersearch.config import SearchSettings
from innersearch.errors import ConfigError
from innersearch.evaluate.run import EvalSettings, demand_scores, evaluate
from innersearch.policy.bias import biased_tokens
from innersearch.policy.kinds import DTYPE
from innersearch.policy.loading import load_tokenizer
from innersearch.progress import Progress, silent
from innersearch.sealed import any_sealed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from innersearch.assemble.choices import SearchChoice
    from innersearch.policy.base import Policy
    from innersearch.routing.router import Router
    from innersearch.types import Question


class Evaluation:
    """A model with its questions. Weights are read late, which takes long, and once.

    Args:
        model: Model directory or hub id, or a name such as `world`.
        questions: What is asked.
        prompt: Prompt text; what the model expects by default.
        choices: Values of `EvalSettings`; `max_new_tokens` 0 takes what the prompt needs, and `dtype`
            auto what this machine is fast with.
        resume: Whether evaluations go on with what is in their directories.
        real: Whether an engine answers every query, so that the model need not play one.
        policy: Who runs the model; see `innersearch.assemble.policies`.
        rollout: Values of `RolloutSettings`; those of the run that trained the model by default.
        published: Values for what neither says.
        logit_bias: Constants on the logits of tokens, each a `TOKEN=CONSTANT`.
        by: Fields of the questions whose values are summed up apart as well.

    Raises:
        ConfigError: There is no such policy, measure or judge, or the policy takes no bias.
        ModelError: There is no such model.
    """

    def __init__(
        self,
        model: str,
        questions: Sequence[Question],
        prompt: str | None,
        choices: dict[str, Any],
        *,
        resume: bool,
        real: bool = False,
        policy: str = "transformers",
        rollout: Mapping[str, Any] = MappingProxyType({}),
        published: Mapping[str, Any] = MappingProxyType({}),
        logit_bias: Sequence[str] = (),
        by: Sequence[str] = (),
    ) -> None:
        demand_scores(choices.get("metrics", ()), questions)
        self.path, self.questions, self.resume = model_path(model), questions, resume
        self._named, self._bias, self._by = parse_policy(policy), logit_bias, by
        self._named.demand_bias(logit_bias)
        self.tokenizer = load_tokenizer(self.path)
        biased_tokens(self.tokenizer, logit_bias)
        # A chat API is not the model whose tokenizer holds its text.
        self.conventions = conventions_of(self.tokenizer if self._named.own else None)
        direct = choices.get("direct", False)
        asks = prompt or self.conventions.asks(direct=direct, real=real)
        tokens = choices.get("max_new_tokens") or usual_length(asks)
        writes = rollout_settings(self.path, rollout, published, direct=direct)
        dtype = self._named.computes(choices.get("dtype", DTYPE), self.path).dtype
        choices = choices | {"max_new_tokens": tokens, "dtype": dtype}
        self.settings = EvalSettings(prompt=asks, rollout=writes, **choices)

    def search_settings(self, choice: SearchChoice | None) -> SearchSettings | None:
        """Who answers queries, with what the model expects where nothing is given; None: itself.

        Raises:
            ConfigError: A cache would keep queries about sealed questions.
        """
        if choice is None:
            return None
        if choice.given.get("cache") and any_sealed(self.questions):
            raise ConfigError(
                "--cache keeps queries, and those about sealed questions must not be written: "
                "leave it out"
            )
        return choice.settings(self.path, self.conventions)

    def run(
        self,
        folder: Path,
        search: SearchSettings | None,
        progress: Progress = silent,
        name: str = "",
        budget_file: Path | None = None,
        router: Router | None = None,
    ) -> dict[str, Any]:
        """Evaluate into a directory and return the summary; errors as `evaluate`.

        Args:
            folder: Where records go.
            search: Who answers queries; None: the model itself.
            progress: Told how far it is.
            name: What stands before it there.
            budget_file: Where calls are counted, for evaluations that share a budget.
            router: Who decides about queries, in place of the one that the settings name.
        """
        begin = f"{name}, " if name else ""
        demand_tools(self.settings.rollout, search or SearchSettings())
        if search and any_sealed(self.questions):
            search = search.model_copy(update={"cache": ""})
        budget_file = budget_file or folder / "budget.json"
        return evaluate(
            self._open,
            self.tokenizer,
            self.questions,
            folder,
            self.settings,
            search=partial(open_search, search, budget_file, router=router),
            by=self._by,
            resume=self.resume,
            progress=lambda what, done, total, note="": progress(begin + what, done, total, note),
        )

    def _open(self) -> Policy:
        return self.policy

    @cached_property
    def policy(self) -> Policy:
        """Who runs the model; opened when it is first asked for."""
        batch, dtype = self.settings.max_batch, self.settings.dtype
        return self._named.open(
            self.path, self.tokenizer, max_batch=batch, dtype=dtype, logit_bias=self._bias
        )
