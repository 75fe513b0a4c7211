"""Evaluation: one greedy trajectory per question, and n sampled ones for pass@k.

Records go to disk as questions finish, so that a killed evaluation resumes and memory does not grow
with the number of samples: `greedy.jsonl` and `samples.jsonl` hold one line per question,
`trajectories.jsonl` the trajectories themselves (all greedy ones, the first sample of each question).
Texts of sealed benchmarks are sealed in records, and their trajectories are not written at all.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from innersearch import prompts
from innersearch.config import RolloutSettings
from innersearch.errors import ConfigError, RunError
from innersearch.evaluate.clusters import demand_fields
from innersearch.evaluate.judge import PREFIX, Judge, judge_all, parse_judge, with_verdicts
from innersearch.evaluate.learnt import learn_again, with_parts
from innersearch.evaluate.rows import of_question, of_trajectory
from innersearch.evaluate.scores import ALWAYS, Score, find_measures, score, summarise
from innersearch.evaluate.stored import Answered, Attempt, Repeated, Scored
from innersearch.evaluate.writing import Writing
from innersearch.grammar import Grammar, grammar_of
from innersearch.identity import (
    Parts,
    demand_same,
    demand_same_model,
    keep,
    name_of,
    of_model,
    of_prompts,
    of_served,
    use_day,
)
from innersearch.locks import held
from innersearch.policy.base import Policy, demand_room, too_long
from innersearch.progress import Progress, silent
from innersearch.readers import fingerprint
from innersearch.records import LineWriter, begun, claim, keep_lines, write_json
from innersearch.rollout.episode import Task
from innersearch.rollout.journal import TURNS, Journal
from innersearch.rollout.run import Rollout
from innersearch.runs import versions
from innersearch.sealed import any_sealed, is_sealed, seal_record, unseal_record
from innersearch.stored import Record, read_records, read_unique
from innersearch.tools.base import Tool
from innersearch.tools.search import SearchTool
from innersearch.types import Question, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BEGUN = "samples-begun.jsonl"
"""One line per sample of questions that are not complete yet, so that a kill loses none of them."""
_KINDS = {"greedy": Answered, "samples": Repeated}
_PARTS = [part.name for part in fields(Score)]
KS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True, slots=True)
class EvalSettings:
    """How a model is evaluated."""

    prompt: str = "ssrl"
    direct: bool = False
    """Take the whole response for the answer: the baseline without search."""
    samples: int = 0
    """Sampled trajectories per question, for pass@k."""
    sample_questions: int = 0
    """Questions per group that are sampled, drawn with the seed; 0 takes all."""
    temperature: float = 1.0
    max_new_tokens: int = 256
    max_batch: int = 384
    dtype: str = "float32"
    """What the weights are computed in, where this process runs the model."""
    seed: int = 0
    protocol: str = ""
    """The published protocol that was followed; see innersearch.evaluate.protocols."""
    departures: str = ""
    """Where it was not, in words."""
    skip_long: bool = False
    """Leave out questions whose prompt leaves no room in the context; the summary names them."""
    metrics: tuple[str, ...] = ()
    """What is measured beside em, cover_em and f1, as measures of rewards are named; a judge is named
    judge:URL#MODEL, see innersearch.evaluate.judge."""
    rollout: RolloutSettings = field(default_factory=RolloutSettings)
    """How the model writes, what it sees next, and when a trajectory ends."""

    @property
    def measures(self) -> tuple[str, ...]:
        """The metrics that each trajectory is measured by as it ends."""
        return tuple(n for n in self.metrics if n not in ALWAYS and not n.startswith(PREFIX))

    @property
    def judges(self) -> list[Judge]:
        """Who is asked about the answers once all are there."""
        return [parse_judge(name) for name in self.metrics if name.startswith(PREFIX)]

    def record(self) -> dict[str, Any]:
        """The settings as records have them; what came later only where it is given."""
        found = asdict(self) | {"rollout": self.rollout.model_dump(mode="json", exclude_defaults=True)}
        return {name: v for name, v in found.items() if v or name not in ("metrics", "rollout")}


def demand_scores(metrics: Sequence[str], questions: Sequence[Question]) -> None:
    """Check what is to be measured before anything is opened.

    Raises:
        ConfigError: There is no such measure or judge, or a judge would be sent a sealed question.
        SearchError: The address of a judge holds what must not be recorded.
    """
    settings = EvalSettings(metrics=tuple(metrics))
    find_measures(settings.measures)
    if settings.judges and any_sealed(questions):
        raise ConfigError(
            "a judge would be sent the texts of sealed questions, which must not leave this machine: "
            "leave the judge out, or the sealed set"
        )


def evaluate(
    policy: Policy | Callable[[], Policy],
    tokenizer: PreTrainedTokenizerFast,
    questions: Sequence[Question],
    path: Path,
    settings: EvalSettings,
    *,
    search: SearchTool | Callable[[], SearchTool] = SearchTool.itself,
    grammar: Grammar | None = None,
    tools: Sequence[Tool] = (),
    by: Sequence[str] = (),
    resume: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Evaluate `policy` on `questions`, write records to `path` and return the summary.

    Args:
        policy: Who answers, or what opens it once `path` is held.
        tokenizer: Its tokenizer.
        questions: The questions.
        path: Directory of the records.
        settings: How to evaluate.
        search: Who answers queries, or what opens them once `path` is held, for what they open may lie
            there; by default the policy searches its own memory.
        grammar: How it writes, in place of the grammar that the settings name.
        tools: What else it can use.
        by: Fields of the questions or of their metadata, whose values are summed up apart as well.
        resume: Go on with what is in `path`.
        progress: Told how far it is.

    Raises:
        RunError: `path` is not empty and `resume` is not given, or other settings wrote it, or another
            process does.
        SearchError: Too many searches failed; `resume` goes on from what is written.
        DataError: A question leaves no room in the model's context.
        ConfigError: As `demand_scores`, or no question has a field of `by`.
    """
    demand_scores(settings.metrics, questions)
    demand_fields(questions, by)
    with held(path, "evaluation"):
        begun(path, resume=resume, what="evaluation")
        use_day(path)
        policy = policy() if callable(policy) else policy
        writing = Writing(grammar or grammar_of(settings.rollout.grammar), tools)
        writing = writing.using(settings.rollout)
        work = policy, tokenizer, questions, path, settings, search, writing, progress
        return with_parts(_evaluate(*work, resume=resume), path, questions, by)


def _evaluate(
    policy: Policy,
    tokenizer: PreTrainedTokenizerFast,
    questions: Sequence[Question],
    path: Path,
    settings: EvalSettings,
    search: SearchTool | Callable[[], SearchTool],
    writing: Writing,
    progress: Progress,
    *,
    resume: bool,
) -> dict[str, Any]:
    prompt_ids = writing.prompts(tokenizer, settings.prompt, questions)
    asked = len(questions)
    questions, left_out = _with_room(questions, prompt_ids, policy, settings)
    search = search() if callable(search) else search
    writing = writing.opened(settings.rollout, search)
    of_search = {"search": search.identity} if search.router.asks else {}
    identity = _identity(policy, questions, settings) | of_search | writing.identity
    model = _of_model(policy, tokenizer)
    identity["model"] = name_of(path, model, policy.name)
    demand_same_model(path, model, policy.name, "evaluation")
    made_of = model | _of_questions(settings, questions, prompt_ids, search)
    otherwise, later = "was written with other settings, questions or model", {"dtype": "float32"}
    if claim(path, identity, resume=resume, what="evaluation", otherwise=otherwise, later=later):
        demand_same(path, made_of, policy.name, "evaluation")
        _demand_of(path, prompt_ids)
        _forget_unfinished(path, settings)
    keep(path, made_of, policy.name, versions())
    learn_again(path, search, questions)
    sampling = Sampling(0.0, settings.max_new_tokens, settings.seed)
    with_records = _Records(path, settings, prompt_ids, writing.grammar, progress)
    with Rollout(
        *(policy, tokenizer, sampling),
        search=search,
        tools=writing.open,
        settings=settings.rollout,
        written_in=writing.grammar,
        in_flight=2 * settings.max_batch,
        journal=_journal(path, settings, questions),
    ) as greedy:
        with_records.run("greedy", greedy, questions, 1)
        if settings.samples:
            drawn = replace(sampling, temperature=settings.temperature)
            sampled = replace(greedy, sampling=drawn, learns=False)
            with_records.run("samples", sampled, _choose(questions, settings), settings.samples)
    of_greedy, of_samples = (_in_order(path, name, questions) for name in _KINDS)
    for judge in settings.judges:
        judge_all(judge, of_greedy, path, progress)
    ks = sorted({*(k for k in KS if k <= settings.samples), settings.samples} - {0})
    summary: dict[str, Any] = {"model": policy.name, "settings": settings.record()}
    summary["retokenised"] = "tokens" not in policy.provides
    summary |= of_search | _bias(policy) | _not_taken(policy)
    summary |= {"left_out": {"ids": left_out, "of": asked}} if settings.skip_long else {}
    of_greedy, judged = with_verdicts(of_greedy, path, settings.judges)
    summary |= summarise(of_greedy, of_samples, ks) | judged
    write_json(path / "summary.json", summary)
    for name in (BEGUN, TURNS):
        (path / name).unlink(missing_ok=True)
    return summary


def _journal(path: Path, settings: EvalSettings, questions: Sequence[Question]) -> Journal | None:
    """Where prompts are made anew, trajectories are long, and a kill should not cost what was done of
    them; texts of sealed questions are not written.
    """
    if settings.rollout.context == "append" or any_sealed(questions):
        return None
    return Journal(path / TURNS)


def _in_order(path: Path, name: str, questions: Sequence[Question]) -> list[Record]:
    """The records of a kind in the order of the questions."""
    place = {question.id: index for index, question in enumerate(questions)}
    found = map(unseal_record, read_unique(path / f"{name}.jsonl", _KINDS[name]))
    return sorted(found, key=lambda record: place[record["id"]])


def _with_room(
    questions: Sequence[Question],
    prompt_ids: dict[str, tuple[int, ...]],
    policy: Policy,
    settings: EvalSettings,
) -> tuple[Sequence[Question], list[str]]:
    """The questions that are asked, and the ids of those that are left out."""
    long = too_long(prompt_ids, policy.context - 1) if settings.skip_long else []
    if len(long) < len(questions):
        kept = {identity: ids for identity, ids in prompt_ids.items() if identity not in set(long)}
        questions = [question for question in questions if question.id in kept]
        prompt_ids = kept
    demand_room(prompt_ids, policy.context, policy.name)
    return questions, long


def _identity(policy: Policy, questions: Sequence[Question], settings: EvalSettings) -> dict[str, Any]:
    """What the records in a directory belong to."""
    told = {"model": policy.name, "tells": sorted(policy.provides), **_bias(policy)}
    given = settings.record() | ({"metrics": list(settings.measures)} if settings.measures else {})
    if not settings.measures:
        # Judges are asked about what is written; another one may come later.
        given.pop("metrics", None)
    if not settings.skip_long:
        # Records from before there was this choice go on.
        del given["skip_long"]
    return given | told | {"questions_sha256": fingerprint(questions)}


def _not_taken(policy: Policy) -> dict[str, Any]:
    """The parameters that a chat API does not take."""
    parameters = getattr(policy, "parameters", None)
    return {"not_taken": parameters.left_out} if parameters and parameters.left_out else {}


def _bias(policy: Policy) -> dict[str, Any]:
    """The constants on the logits of tokens, by their ids, where there are any."""
    found = getattr(policy, "logit_bias", {})
    return {"logit_bias": {str(token): constant for token, constant in found.items()}} if found else {}


def _of_model(policy: Policy, tokenizer: PreTrainedTokenizerFast) -> Parts:
    served = getattr(policy, "served", False)
    if not served:
        return of_model(policy.name, tokenizer)
    return of_served(policy.name, tokenizer, getattr(policy, "stated", ""))


def _of_questions(
    settings: EvalSettings,
    questions: Sequence[Question],
    prompt_ids: dict[str, tuple[int, ...]],
    search: SearchTool,
) -> Parts:
    asked = of_prompts(settings.prompt, prompt_ids.values()) | {"questions": fingerprint(questions)}
    return asked | ({"engine": dict(search.engine.identity)} if search.engine else {})


def _demand_of(path: Path, ids: Collection[str]) -> None:
    """Refuse records that no evaluation of these questions can have left."""
    for file, kind in _files(path):
        for record in read_records(file, kind):
            if record["id"] not in ids:
                raise RunError(
                    f"{path} is damaged: {file.name} has a record of {record['id']!r}, which is none of "
                    "the questions: evaluate anew into another directory"
                )


def _files(path: Path) -> list[tuple[Path, type]]:
    """The records of an evaluation that goes on, and what their lines are."""
    return [*((path / f"{name}.jsonl", kind) for name, kind in _KINDS.items()), (path / BEGUN, Scored)]


def _forget_unfinished(path: Path, settings: EvalSettings) -> None:
    """Trajectories are written as they end, questions once all of theirs have ended. What ended by an
    error is done again.
    """
    for file, kind in _files(path):
        _drop_failed(file, kind)
    # Of a sample its trajectory is written first, so one that is there belongs to a sample that is.
    done = {
        (_kept(0.0 if kind is Answered else settings.temperature), record["id"])
        for file, kind in _files(path)
        for record in read_records(file, kind)
    }
    keep_lines(
        path / "trajectories.jsonl",
        Attempt,
        lambda record: (_kept(record["sampling"]["temperature"]), record["question"]["id"]) in done,
    )


def _drop_failed(file: Path, kind: type) -> None:
    failed = {record["id"] for record in read_records(file, kind) if record["unfinished"]}
    if failed:
        keep_lines(file, kind, lambda record: record["id"] not in failed)


def _kept(temperature: float) -> float:
    """As far as records keep it."""
    return round(temperature, 4)


def _choose(questions: Sequence[Question], settings: EvalSettings) -> list[Question]:
    if not settings.sample_questions:
        return list(questions)
    groups: dict[str, list[Question]] = {}
    for question in questions:
        groups.setdefault(question.group, []).append(question)
    rng = random.Random(f"sample-{settings.seed}")
    return [
        question
        for members in groups.values()
        for question in rng.sample(members, min(settings.sample_questions, len(members)))
    ]


@dataclass(frozen=True)
class _Records:
    path: Path
    settings: EvalSettings
    prompt_ids: dict[str, tuple[int, ...]]
    grammar: Grammar
    progress: Progress

    def run(self, name: str, rollout: Rollout, questions: Sequence[Question], repetitions: int) -> None:
        """Roll out what is not on disk yet; a question is written once all its repetitions are in."""
        file = self.path / f"{name}.jsonl"
        done = {record["id"] for record in read_unique(file, _KINDS[name])}
        measures = find_measures(self.settings.measures)
        under_way = self._begun(done) if name == "samples" else {}
        records, trajectories = LineWriter(file), LineWriter(self.path / "trajectories.jsonl")
        samples = LineWriter(self.path / BEGUN) if name == "samples" else None

        def complete(question: Question) -> None:
            record = of_question(question, under_way.pop(question.id), sampled=name == "samples")
            records.write(seal_record(record, question))
            done.add(question.id)

        # A kill may fall between the last sample of a question and its record.
        for question in questions:
            if len(under_way.get(question.id, ())) == repetitions:
                complete(question)
        # Made one by one: a hundred thousand tasks at once would cost memory for nothing.
        tasks = (
            Task(
                question,
                self.prompt_ids[question.id],
                question.id,
                repetition,
                message=prompts.render(self.settings.prompt, question.question, self.grammar),
                system=prompts.system(self.settings.prompt),
            )
            for question in questions
            if question.id not in done
            for repetition in range(len(under_way.get(question.id, ())), repetitions)
        )
        self.progress(name, len(done), len(questions))
        for trajectory in rollout.stream(tasks):
            question = trajectory.question
            direct = self.settings.direct
            entry = score(trajectory, self.grammar, direct=direct, measures=measures)
            if trajectory.repetition == 0 and not is_sealed(question):
                trajectories.write(of_trajectory(trajectory, entry))
            if samples:
                sample = {"id": question.id} | entry.record()
                samples.write(seal_record(sample, question))
            scores = under_way.setdefault(question.id, [])
            scores.append(entry)
            if len(scores) == repetitions:
                complete(question)
                self.progress(name, len(done), len(questions))
        for writer in filter(None, (records, trajectories, samples)):
            writer.close()

    def _begun(self, done: Collection[str]) -> dict[str, list[Score]]:
        """The samples so far of questions that are not complete, in the order of their repetitions."""
        scores: dict[str, list[Score]] = {}
        for line in map(unseal_record, read_records(self.path / BEGUN, Scored)):
            if line["id"] not in done:
                given = {name: line[name] for name in _PARTS if name in line}
                scores.setdefault(line["id"], []).append(Score(**given))
        return scores
