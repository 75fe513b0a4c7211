"""From a recipe to a model: questions, engine and stages are put together, and training is started.

What is wrong with any stage is found before the first one begins.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from innersearch.assemble.engines import open_engine
from innersearch.assemble.models import model_path
from innersearch.assemble.pages import demand_tools
from innersearch.assemble.plans import demand_engine
from innersearch.assemble.sources import load_questions
from innersearch.config import Recipe
from innersearch.config.stages import StageSettings
from innersearch.errors import ConfigError, DataError
from innersearch.grammar import grammar_of
from innersearch.metrics import exact_match
from innersearch.readers import with_shuffled_gold
from innersearch.rewards.documents import READ_DOCUMENTS, gold_documents
from innersearch.runs import Run
from innersearch.search.base import Engine
from innersearch.search.curriculum import Curriculum
from innersearch.tools.search import SearchTool, demand_one_query
from innersearch.train.tasks import MakeRollouts, Measures, fitting, rollout_of, rubric_of
from innersearch.types import Question


class Watcher(Protocol):
    """Is told how a training goes."""

    def notice(self, text: str) -> None:
        """Something that whoever started it should know."""

    def begins(self, recipe: Recipe, what: str, steps: int) -> None:
        """A run, or a stage, begins, in so many optimizer steps."""

    def step(self, what: str, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        """An optimizer step is done."""

    def ends(self, run: Run, what: str) -> None:
        """A run, or a stage, is done; its directory holds a model."""


class Silent:
    """Does not care how it goes."""

    def notice(self, text: str) -> None:
        """See `Watcher`."""

    def begins(self, recipe: Recipe, what: str, steps: int) -> None:
        """See `Watcher`."""

    def step(self, what: str, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        """See `Watcher`."""

    def ends(self, run: Run, what: str) -> None:
        """See `Watcher`."""


@dataclass(frozen=True)
class Training:
    """A recipe that is to be trained, with what takes the place of what it names."""

    recipe: Recipe
    """With the directory or hub id of its model."""
    engine: Engine | None = None
    """What is searched."""
    questions: Sequence[Question] | None = None
    """What is asked."""
    measures: Measures = field(default_factory=dict)
    """Measures of one's own that its reward names."""
    watcher: Watcher = field(default_factory=Silent)
    rollouts: MakeRollouts = rollout_of
    """Makes what rolls out."""

    def start(self, path: Path, *, resume: bool = False) -> Run:
        """Train, and leave the result in `path`/model.

        Raises:
            ConfigError: The trainer cannot do what the recipe asks for.
            DataError: There are too few questions, or one does not fit.
            RunError: `path` is in the way, or belongs to something else.
            SearchError: Too many searches failed.
            CollapseError: The guard stopped it; `path`/model holds the best checkpoint.
        """
        # What transformers renames is no business of whoever trains.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|trl")
            run = self._start(path, resume=resume)
        from innersearch.train import processes
        from innersearch.train.spent import note_spent

        if processes.is_first():
            note_spent(run.path)
        return run

    def _start(self, path: Path, *, resume: bool) -> Run:
        asked = self.asked()
        if not self.recipe.stage:
            return self._reinforce(self.recipe, asked[""], path, resume=resume)
        from innersearch.train.stages import train_stages

        def train_one(stage: StageSettings, values: Recipe, folder: Path, number: int) -> Run:
            self.watcher.notice(f"stage {folder.name}")
            questions = asked.get(stage.name, [])
            if stage.kind == "sft":
                return self._imitate(stage, values, questions, folder, number, resume=resume)
            return self._reinforce(values, questions, folder, resume=resume)

        return train_stages(self.recipe, path, train_one, resume=resume)

    def asked(self) -> dict[str, list[Question]]:
        """The questions of each stage that has some, where nothing speaks against any stage; those of a
        recipe without stages under the empty name.

        Raises:
            ConfigError: A stage cannot be learnt, or names a tool or measure that there is not.
            DataError: There are no questions, or none that fits.
        """
        if not self.recipe.stage:
            demand_unbiased(self.recipe)
            return {"": self._questions(self.recipe)}
        asked: dict[str, list[Question]] = {}
        for stage, values in zip(self.recipe.stage, self.recipe.stages(), strict=True):
            searches = stage.kind == "rl"
            if stage.kind == "sft":
                from innersearch.train.imitation import demand_learnable

                searches = demand_learnable(stage, values)
            else:
                demand_unbiased(values)
            if searches:
                self._demand_tools(values)
            if stage.kind == "rl" or stage.samples:
                asked[stage.name] = self._questions(values)
        return asked

    def _demand_tools(self, recipe: Recipe) -> None:
        """Check that what answers in a stage can be opened, before the first one begins."""
        demand_tools(recipe.rollout, recipe.search, engine=self.engine)
        if self.engine is None:
            demand_engine(recipe.search)

    def _questions(self, recipe: Recipe) -> list[Question]:
        labelled = rubric_of(recipe, self.measures).needs_gold
        demand_tools(recipe.rollout, recipe.search, engine=self.engine)
        demand_one_query(recipe.search.rule, grammar_of(recipe.rollout.grammar))
        if self.questions is None:
            found = load_questions(recipe.data, recipe.groups, labelled=labelled)
        else:
            found = list(self.questions)
        demand_documents(recipe, found)
        if recipe.shuffle_gold:
            found = self._shuffled(recipe, found)
        if not recipe.prompt.skip_long:
            return found
        from innersearch.policy.loading import load_tokenizer

        kept = fitting(load_tokenizer(recipe.model), recipe, found)
        left_out = f"{len(found) - len(kept):,} of {len(found):,} questions are left out"
        self.watcher.notice(f"note: {left_out}, their prompts are too long")
        return kept

    def _shuffled(self, recipe: Recipe, questions: Sequence[Question]) -> list[Question]:
        found = with_shuffled_gold(questions, recipe.seed)
        right = sum(
            any(exact_match(answer, one.golden_answers) for answer in other.golden_answers)
            for one, other in zip(questions, found, strict=True)
        )
        self.watcher.notice(
            f"note: shuffle_gold gives each of {len(found):,} questions the gold answers of another; "
            f"{right:,} of them happen to be right"
        )
        return found

    def _reinforce(
        self, recipe: Recipe, questions: Sequence[Question], path: Path, *, resume: bool
    ) -> Run:
        if recipe.trainer.kind == "verl":
            return self._with_verl(recipe, questions, path, resume=resume)
        from innersearch.policy.loading import load_tokenizer
        from innersearch.train import processes
        from innersearch.train.run import train
        from innersearch.train.tokenizer_notices import notices

        processes.join()
        for text in filter(None, [processes.missing(), *notices(load_tokenizer(recipe.model))]):
            self.watcher.notice(f"note: {text}")
        steps = recipe.trainer.steps
        self.watcher.begins(recipe, "training", steps)
        run = train(
            recipe,
            questions,
            path,
            engine=self._opening(recipe, questions, path),
            measures=self.measures,
            resume=resume,
            observer=lambda step, metrics: self.watcher.step("training", step, steps, metrics),
            rollouts=self.rollouts,
        )
        self.watcher.ends(run, "training")
        return run

    def _with_verl(
        self, recipe: Recipe, questions: Sequence[Question], path: Path, *, resume: bool
    ) -> Run:
        from innersearch.train.verl import launch

        if self.engine or self.measures:
            raise ConfigError(
                "verl's workers are other processes, which no object of this one reaches: offer the "
                "engine or the measure by an entry point, and name it in the recipe"
            )
        recipe = with_whole_path(recipe)
        demand_engine(recipe.search)
        steps = recipe.trainer.steps
        self.watcher.begins(recipe, "training", steps)
        run = launch.train(
            recipe,
            questions,
            path,
            resume=resume,
            observer=lambda step, metrics: self.watcher.step("training", step, steps, metrics),
        )
        self.watcher.ends(run, "training")
        return run

    def _imitate(
        self,
        stage: StageSettings,
        recipe: Recipe,
        questions: Sequence[Question],
        path: Path,
        number: int,
        *,
        resume: bool,
    ) -> Run:
        from innersearch.train.imitation import learn

        self.watcher.begins(recipe, stage.name, 1)
        engine = self._opening(recipe, questions, path)
        run = learn(
            stage,
            recipe,
            questions,
            path,
            number=number,
            search=(lambda: SearchTool(engine(), recipe.search.rule, recipe.search)) if engine else None,
            measures=self.measures,
            resume=resume,
            on_step=lambda step, steps, loss: self.watcher.step(stage.name, step, steps, {"loss": loss}),
            on_sample=lambda done, wanted: self.watcher.step(f"{stage.name}: samples", done, wanted, {}),
        )
        self.watcher.ends(run, stage.name)
        return run

    def _opening(
        self, recipe: Recipe, questions: Sequence[Question], path: Path
    ) -> Callable[[], Engine] | None:
        """What opens the engine of a run; None where the policy answers itself."""
        if not recipe.search.rule.asks:
            return None
        return partial(_open, recipe, questions, path, self.engine)


def demand_documents(recipe: Recipe, questions: Sequence[Question]) -> None:
    """Refuse a reward that reads which documents are gold where no question says it.

    Raises:
        DataError: It is one.
    """
    asked = [term.measure for term in recipe.reward if term.measure in READ_DOCUMENTS]
    if asked and questions and not any(gold_documents(question.metadata) for question in questions):
        raise DataError(
            f"the reward reads {asked[0]}, and no question of {recipe.data or 'those given'} names its "
            "documents: put their ids into metadata, under supporting_documents, or take another reward"
        )


def demand_unbiased(recipe: Recipe) -> None:
    """Refuse to reinforce what constants on logits have sampled.

    Raises:
        ConfigError: The recipe has some.
    """
    if recipe.sampling.logit_bias:
        raise ConfigError(
            'sampling.logit_bias is for stages with kind = "sft" and samples: reinforcement would '
            "sample from another policy than it trains, so leave it out; to measure a bias there is "
            "innersearch eval --logit-bias"
        )


def with_whole_path(recipe: Recipe) -> Recipe:
    """The same for processes of a cluster, which have working directories of their own."""
    if not Path(recipe.model).is_dir():
        return recipe
    return recipe.model_copy(update={"model": str(Path(recipe.model).resolve())})


def resolved(recipe: Recipe) -> Recipe:
    """The same with the directory or hub id of its model, which may have a name such as `world`."""
    return recipe.model_copy(update={"model": model_path(recipe.model)})


def _open(recipe: Recipe, questions: Sequence[Question], path: Path, engine: Engine | None) -> Engine:
    from innersearch.train import processes

    return open_engine(
        processes.budget_share(recipe.search),
        path / processes.own_name("budget.json"),
        engine=engine,
        curriculum=Curriculum(recipe.search.noise, recipe.trainer.steps, recipe.seed),
        others=[question.question for question in questions],
    )
