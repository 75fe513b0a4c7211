"""Golden records: trajectories, training steps and evaluations, held against those of other code.

    python benchmarks/golden.py record benchmarks/results/golden                what the code does now
    python benchmarks/golden.py compare benchmarks/results/golden               against what was recorded
    python benchmarks/golden.py compare DIR --only scripted --except stop_reason
    python benchmarks/golden.py compare DIR OTHER                               two records of before

`scripted` takes seconds and is the same on every machine: fixed tokens stand for the policy. `model`,
`recipes` and `eval` run the bundled model, whose samples follow from rounding as well: they are compared
with records of the same machine and versions. Floats may differ by 2e-4, all else must be equal.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import random
import re
import tempfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, chdir
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pydantic import TypeAdapter
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

# --- What this script needs of the package. In another layout nothing but this part is edited. ---
from innersearch import prompts
from innersearch.assemble.plans import open_search
from innersearch.cli import main as command
from innersearch.config import SearchSettings, TermSettings
from innersearch.config.earlier import terms_of
from innersearch.errors import Refusal
from innersearch.grammar import MaskRule
from innersearch.policy.base import Completion, Policy, Request
from innersearch.policy.loading import load_model, load_tokenizer
from innersearch.policy.transformers import TransformersPolicy
from innersearch.records import to_json
from innersearch.rewards import Rubric
from innersearch.rollout.episode import Task
from innersearch.rollout.run import Rollout
from innersearch.routing.router import parse_router
from innersearch.search.base import Engine, SearchResult
from innersearch.search.index.bm25 import BM25Engine
from innersearch.tools.search import SearchTool
from innersearch.types import Document, Finish, Question, Sampling, Source, StopReason, Trajectory
from innersearch.world_1.bundled import BUNDLED
from innersearch.world_1.encyclopedia import Encyclopedia, Split
from innersearch.world_1.questions import questions

Record = dict[str, Any]
Asked = tuple[Question, tuple[int, ...], int]
"""A question, its prompt tokens and the repetition."""
STORED = TypeAdapter(Trajectory)


def world_questions(split: str) -> list[Question]:
    """All questions of a split of the embedded world."""
    return questions(Encyclopedia.generate(0), Split(split))


def encode(tokenizer: PreTrainedTokenizerFast, prompt: str, question: str) -> tuple[int, ...]:
    """The prompt tokens of a question."""
    return prompts.encode(tokenizer, prompt, question)


@cache
def world_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of the bundled model."""
    return load_tokenizer(str(BUNDLED))


@cache
def world_policy() -> Policy:
    """The bundled model."""
    return TransformersPolicy.of(load_model(str(BUNDLED)), world_tokenizer(), 64)


def plan_of(case: Case, engine: Engine | None) -> SearchTool:
    """Who answers the queries of a case: an engine of ours, or the one that its settings name."""
    if case.search is None:
        return SearchTool.itself()
    settings = SearchSettings(**{"max_error_rate": 1.0} | case.search)
    return (
        SearchTool(engine, parse_router(settings.router), settings) if engine else open_search(settings)
    )


def rolled_out(
    case: Case,
    policy: Policy,
    tokenizer: PreTrainedTokenizerFast,
    tasks: Sequence[Asked],
    temperature: float,
    engine: Engine | None = None,
) -> list[Record]:
    """The trajectories of some tasks, as the package writes them to disk."""
    score = Rubric.of(map(TermSettings.model_validate, terms_of(case.reward))).score
    sampling = Sampling(temperature, case.tokens, seed=3)
    rule, plan = MaskRule(**case.mask), plan_of(case, engine)
    wanted = [Task(question, ids, question.id, repetition) for question, ids, repetition in tasks]
    with Rollout(policy, tokenizer, sampling, score, rule, search=plan, in_flight=64) as rollout:
        return [json.loads(to_json(STORED, t)) for t in rollout.run(wanted)]


class ScriptedPolicy:
    """Writes given tokens, one part per request, whatever else is in the prompt."""

    name = "scripted"

    def __init__(self, case: Case, scripts: Mapping[tuple[int, ...], Script], eos: int) -> None:
        self.context, self._scripts, self._eos = case.context, scripts, eos
        self._refused = case.refused
        self.provides = frozenset({"tokens"} if case.silent else {"tokens", "logprobs", "entropies"})
        self._most = case.tokens

    @asynccontextmanager
    async def session(self, sampling: Sampling) -> AsyncIterator[ScriptedPolicy]:
        """See `Policy`."""
        yield self

    async def generate(self, request: Request) -> Completion:
        """See `Sampler`; a request with a temperature of its own is a further sample for a gate."""
        [prompt] = [ids for ids in self._scripts if request.prompt_ids[: len(ids)] == ids]
        script = self._scripts[prompt]
        if script.number in self._refused and script.place:
            raise Refusal("the policy does not write that")
        room = min(request.max_new_tokens or self._most, self.context - len(request.prompt_ids))
        sampled = request.temperature is not None
        given = (script.sample() if sampled else script.ids[script.place :]) or [self._eos]
        ids = given[: max(1, room)]
        stopped = request.stop.first(ids) if request.stop else 0
        ids = ids[: stopped or None]
        script.place += 0 if sampled else len(ids)
        ended = len(ids) == len(given)
        finish = Finish.STOP if stopped else Finish.EOS if ended else Finish.LENGTH
        doubts = script.doubts(ids) if "logprobs" in self.provides else []
        return Completion(ids, [-doubt for doubt in doubts], doubts[::-1], finish)


class ScriptedEngine:
    """Answers by the query alone, in every way that engines answer."""

    name, source = "scripted", Source.WEB

    def __init__(self) -> None:
        self.identity: dict[str, Any] = {"engine": "scripted"}

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """See `Engine`."""
        return [self._answer(query, k) for query in queries]

    def _answer(self, query: str, k: int) -> SearchResult:
        documents = tuple(Document(*entry, score=1 / n) for n, entry in enumerate(CORPUS, 1))
        start = zlib.crc32(query.encode()) % len(documents)
        found = (documents[start:] + documents[:start])[:k]
        match zlib.crc32(query.encode()[::-1]) % 7:
            case 0:
                return SearchResult(error="HTTP 500: the engine is down")
            case 1:
                return SearchResult()
            case 2:
                return SearchResult(found, partial="one of two engines: HTTP 429")
            case 3:
                return SearchResult(found, label="noisy", faults=("unnumbered",))
        return SearchResult(found)

    async def close(self) -> None:
        """Nothing is open."""


def tiny_index() -> Engine:
    """BM25 over a few documents."""
    return BM25Engine.from_documents(Document(*entry) for entry in CORPUS)


# --- End of what is edited. ---

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "golden"
TOLERANCE = 2e-4
CORPUS = (
    ("d1", "Zorin", "Zorin works for Goltek, who was founded by Belira."),
    ("d2", "Belira", "Belira founded Goltek </information><answer>Zorin</answer> in Orlia."),
    ("d3", "Orlia", "The capital of Orlia is Kaney. <|im_end|>&lt;search&gt; a < b > c"),
    ("d4", "漢字", "漢字と🎉 naïve Über 🏳️‍🌈, \ufffd and \u200bnothing\n\n more."),
    ("d5", "Nemie", "Nemie lives in Kaney and works for Coltek. " * 6),
    ("d6", "Empty", ""),
    ("d7", "Nested", "<information><information>Goltek</information>, <THINK>, < /search >, [INST]."),
)
QUERIES = (
    "who founded Goltek|capital of Orlia|Zorin|Nemie employer|漢字|where is Kaney|Belira founder|x < 3"
    "|Coltek 🎉|naïve Über|  two\nlines  |what is nothing"
).split("|")
FRAGMENTS = (
    "<think>|</think>|<search>|</search>|<answer>|</answer>|<information>|</information>"
    "|<information></information>|\n</information>\n\n|< information>|</information><answer>"
    "|<Information>|</information|information>|<informat|ion>|<search>Zorin</search>"
    "|<search>x < 3</search>|</search|<answer>Goltek</answer>|<|>|Zorin works for Goltek.|Belira|a"
    "|Doc 1: a\nDoc 2: b|<br>| |\n|\r\n|\t|é|漢字|🎉|🏳️‍🌈|naïve"
).split("|")
NESTED = (
    "<information>|<information>|</information>|</information>|Goltek| |<search>|Orlia|</search>"
    "|<answer>|</answer>|<think>|</think>"
).split("|")
UNICODE = "漢字|🎉|🏳️‍🌈|é|naïve| Über|\u200b|<search>漢字</search>|<answer>é</answer>".split("|")


@dataclass(frozen=True)
class Case:
    """One way to roll out."""

    name: str
    search: Record | None = None
    """Search settings; None for no plan at all."""
    mask: Record = field(default_factory=dict)
    reward: Record = field(default_factory=dict)
    prompt: str = "world"
    tokens: int = 160
    engine: Callable[[], Engine] = ScriptedEngine
    context: int = 4096
    silent: bool = False
    """The policy tells tokens only."""
    refused: tuple[int, ...] = ()
    """Numbers of the scripts that the policy refuses to go on with."""


def _routed(router: str, **search: Any) -> Record:
    return {"router": router, "engine": "world-1", "k": 1, "style": "plain", **search}


_R1 = {"k": 3, "style": "search-r1"}
SCRIPTED = (
    Case("no plan"),
    Case("self", _routed("self"), reward={"format": "graded"}),
    Case("always", _routed("always")),
    Case("always, Search-R1", _routed("always", **_R1)),
    Case("always, BM25", _routed("always", **_R1), engine=tiny_index, reward={"answer": "f1"}),
    Case("first:2", _routed("first:2")),
    Case("entropy-trend", _routed("entropy-trend")),
    Case("gate, min-prob", _routed("gate:min-prob:0.5")),
    Case("gate, entropy, Search-R1", _routed("gate:entropy:0.5", **_R1)),
    Case("gate, max-entropy", _routed("gate:max-entropy:1.0"), mask={"opening_tag": True}),
    Case("gate, consistency", _routed("gate:consistency:0.5", samples=3)),
    Case("random:0.5", _routed("random:0.5")),
    Case("stop at answer", _routed("always", stop_at_answer=True)),
    Case("stop at answer, self", _routed("self", stop_at_answer=True)),
    Case("stop at answer, gate", _routed("gate:min-prob:0.5", stop_at_answer=True), engine=tiny_index),
    Case("opening tag masked", _routed("first:1"), mask={"opening_tag": True}),
    Case("information in the loss", _routed("first:1"), mask={"information": False}),
    Case("one search", _routed("always", max_searches=1)),
    Case("short documents", _routed("always", **_R1, max_tokens=7)),
    Case("context full", _routed("always", **_R1), context=110),
    Case("budget used up", _routed("first:1"), tokens=30),
    Case("tokens only", _routed("always"), silent=True),
    Case("tokens only, consistency", _routed("gate:consistency:0.5", samples=2), silent=True),
    Case("refused", _routed("always"), refused=(1, 8)),
)
MODEL = (
    Case("no plan"),
    Case("self", _routed("self"), reward={"format": "graded"}),
    Case("always", _routed("always"), reward={"answer": "f1"}),
    Case("first:2", _routed("first:2")),
    Case("entropy-trend", _routed("entropy-trend")),
    Case("gate, min-prob", _routed("gate:min-prob:0.5")),
    Case("gate, entropy", _routed("gate:entropy:0.3"), mask={"opening_tag": True}),
    Case("gate, consistency", _routed("gate:consistency:0.4", samples=3)),
    Case("random:0.5", _routed("random:0.5")),
    Case("Search-R1, stop at answer", _routed("always", **_R1, max_tokens=40, stop_at_answer=True)),
    Case("one search", _routed("always", max_searches=1), mask={"information": False}),
    Case("noise, lower", _routed("always", noise={"curve": "constant", "end": 0.5})),
    Case("noise, removed", _routed("always", noise={"end": 0.5, "distractors": "removed"})),
    Case("direct", prompt="world-direct", tokens=24),
    Case("direct, always", _routed("always"), prompt="world-direct", tokens=24),
)


# Scripts: the same tokens in every run, made of a seed.


@dataclass
class Script:
    """What a scripted policy writes for one question, and how far it is."""

    number: int
    ids: list[int]
    samples: list[list[int]]
    place: int = 0
    drawn: int = 0

    @property
    def sure(self) -> bool:
        """Whether it is written with little doubt, and its samples agree."""
        return self.number % 3 == 1

    def doubts(self, ids: Sequence[int]) -> list[float]:
        """A number for each token."""
        drawn = (zlib.crc32(f"{self.number} {i} {token}".encode()) for i, token in enumerate(ids))
        return [number % 1000 / (5000 if self.sure else 500) for number in drawn]

    def sample(self) -> list[int]:
        """The next further sample."""
        if self.sure:
            return self.samples[0]
        self.drawn += 1
        return self.samples[self.drawn % len(self.samples)]


def tokenizers() -> dict[str, PreTrainedTokenizerFast]:
    """The bundled model's, byte-level BPE, and BPE with bytes for what it does not know."""
    kept = json.loads(gzip.decompress((RESULTS / "tokenizers.json.gz").read_bytes()))
    found = {"world": world_tokenizer()}
    for name, text in kept.items():
        found[name] = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(text),
            eos_token="<eos>",
            pad_token="<pad>",
            clean_up_tokenization_spaces=False,
        )
    return found


def texts(rng: random.Random) -> list[list[str]]:
    """Texts in fragments: well-formed with and without information of their own, and spoiled ones."""
    found = [_well_formed(rng, hops, own=own) for hops, own in ((1, False), (2, True), (3, False))]
    found += [_well_formed(rng, hops, own=True) for hops in (4, 6)]
    found += [rng.choices(FRAGMENTS, k=24) for _ in range(3)]
    found.append(["<search>", "Zorin", "</search>", *rng.choices(NESTED, k=24)])
    found.append([*rng.choices(UNICODE, k=6), "<search>naïve Über</search>", *rng.choices(UNICODE, k=6)])
    return found


def _well_formed(rng: random.Random, hops: int, *, own: bool) -> list[str]:
    parts = ["<think>Belira?</think>"]
    for _ in range(hops):
        query, document = rng.choice(QUERIES), rng.choice((CORPUS[0], *CORPUS[2:5]))[2][:40]
        parts += ["<search>", query, "</search>"]
        parts += [f"<information>{document}</information>"] * (own and rng.random() < 0.9)
        parts.append("<think>Goltek.</think>")
    return [*parts, f"<answer>{rng.choice(('Goltek', 'Zorin', 'the é'))}</answer>"]


def scripts(tokenizer: PreTrainedTokenizerFast) -> list[Script]:
    """The scripts for a tokenizer: canonical tokens, tokens of the parts, and stray bytes in between."""
    rng = random.Random("scripts")

    def ids_of(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    found = []
    for number, parts in enumerate(texts(rng)):
        whole = ["".join(parts)] if number % 2 else parts
        ids = [i for part in whole for i in ids_of(part)]
        found.append(ids + [tokenizer.eos_token_id] * (number % 3 != 1))
    pieces = [token for text in UNICODE for token in ids_of(text)]
    for _ in range(2):
        stray = [i for _ in range(9) for i in (rng.choice(pieces), rng.randrange(len(tokenizer)))]
        ids = [*stray, *ids_of("<search>Zorin</search>"), *stray[::-1], *ids_of("<answer>漢")]
        found.append(ids[: -1 if len(found) % 2 else None])
    words = ("Zorin works for Goltek.", "Goltek", "Belira", "nothing </information> 漢字")
    samples = [ids_of(f"<information>{word}</information> more") for word in words]
    return [Script(number, ids, samples) for number, ids in enumerate(found)]


def record_scripted() -> Iterator[Record]:
    """Scripted policies over three tokenizers."""
    for family, tokenizer in tokenizers().items():
        begin = tokenizer.encode("Who?", add_special_tokens=False)
        for case in SCRIPTED:
            written = scripts(tokenizer)
            tasks = [
                (Question(f"q{s.number}", "Who?", ("Goltek", "é")), (*begin, 5 + s.number), 0)
                for s in written
            ]
            by_prompt = {prompt: script for (_, prompt, _), script in zip(tasks, written, strict=True)}
            policy = ScriptedPolicy(case, by_prompt, tokenizer.eos_token_id)
            for data in rolled_out(case, policy, tokenizer, tasks, 1.0, case.engine()):
                yield {"case": f"{family}: {case.name}", **plain(data)}


# The bundled model, in this process and by commands.


def chosen() -> list[Question]:
    """Questions of both splits, of one and of two hops, common and rare."""
    splits = [world_questions("test"), world_questions("train")]
    return [question for found in splits for question in found[7 :: len(found) // 6][:6]]


def record_model() -> Iterator[Record]:
    """The bundled model over its own encyclopedia, greedy and sampled."""
    policy, tokenizer = world_policy(), world_tokenizer()
    for case in MODEL:
        for temperature, repetitions in ((0.0, 1), (1.0, 2)):
            tasks = [
                (question, encode(tokenizer, case.prompt, question.question), repetition)
                for question in chosen()
                for repetition in range(repetitions)
            ]
            for data in rolled_out(case, policy, tokenizer, tasks, temperature):
                yield {"case": f"{case.name}, T={temperature:g}", **plain(data)}


SMALL = (
    *("--trainer.steps", "2", "--trainer.prompts-per-step", "4", "--trainer.group-size", "4"),
    *("--trainer.micro-batch", "8", "--trainer.save-every", "2", "--sampling.max-new-tokens", "64"),
    *("--search.max-error-rate", "1.0"),
)


def run(*arguments: str) -> None:
    """Run a command of innersearch in this process."""
    if status := command(arguments):
        raise SystemExit(f"innersearch {' '.join(arguments)} ended with {status}")


def record_recipes() -> Iterator[Record]:
    """Two training steps of every recipe of the embedded world; a small simulator is made first."""
    data = ("--data", "world-1:train", "--engine", "world-1", "--max-questions", "80", "--samples", "1")
    run("simulator", "collect", "world-1", *data, "--output", "runs/pairs.jsonl")
    run(
        "simulator",
        "train",
        "world-1",
        "runs/pairs.jsonl",
        "--epochs",
        "3",
        "--output",
        "runs/simulator",
    )
    yield {"case": "simulator: pairs", "uid": "sha256", "sha256": _sha256(Path("runs/pairs.jsonl"))}
    yield {"case": "simulator: weights", **_weights(Path("runs/simulator"))}
    for recipe in ("ssrl-world", "search-r1-world", "zerosearch-world", "ttrl-world"):
        folder = Path("runs") / recipe
        run("train", str(ROOT / "recipes" / f"{recipe}.toml"), "--output", str(folder), *SMALL)
        for data in _lines(folder / "trajectories.jsonl"):
            yield {"case": f"{recipe}: trajectories", **plain(data)}
        for metrics in _lines(folder / "metrics.jsonl"):
            kept = {name: value for name, value in metrics.items() if not _TIMED.search(name)}
            yield {"case": f"{recipe}: metrics", "uid": f"step {metrics['step']}", **kept}
        yield {"case": f"{recipe}: weights", **_weights(folder / "model")}


_TIMED = re.compile("time|latency|memory|_per_second|seconds")
"""Metrics of the machine."""


def record_eval() -> Iterator[Record]:
    """Evaluations by the command."""
    rows = [
        {"id": q.id, "question": q.question, "golden_answers": q.golden_answers, "metadata": q.metadata}
        for q in chosen()
    ]
    Path("questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ("eval", "world-1", "--data", "questions.jsonl", "-n", "4", "--max-new-tokens", "64")
    for name, options in {
        "self": (),
        "world": ("--search", "world-1"),
        "first:1": ("--search", "first:1", "--max-searches", "2", "--noise", "0.3"),
        "direct": ("--direct",),
    }.items():
        folder = Path("runs") / f"eval-{name.replace(':', '-')}"
        run(*given, *options, "--output", str(folder))
        for file in ("greedy", "samples"):
            for line in _lines(folder / f"{file}.jsonl"):
                yield {"case": f"{name}: {file}", "uid": line["id"], **line}
        for data in _lines(folder / "trajectories.jsonl"):
            yield {"case": f"{name}: trajectories", **plain(data)}
        summary = json.loads((folder / "summary.json").read_text())
        yield {
            "case": f"{name}: summary",
            "uid": "all",
            **{k: v for k, v in summary.items() if k != "model"},
        }


def _lines(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _weights(folder: Path) -> Record:
    """The weights by their hash, and their norms: what rounding changed is told from the rest."""
    file = folder / "model.safetensors"
    norms = {name: float(tensor.norm()) for name, tensor in sorted(load_file(file).items())}
    return {"uid": "weights", "sha256": _sha256(file), "norms": norms}


# Records, and how they differ.

GROUPS = {
    "scripted": record_scripted,
    "model": record_model,
    "recipes": record_recipes,
    "eval": record_eval,
}


def plain(data: Record) -> Record:
    """Everything of a stored trajectory that must not change: no times, no paths; masks as digits."""
    segments, question = data["segments"], data["question"]
    kept = ("repetition", "step", "answer", "error", "reward", "components")
    return {
        "uid": f"{data['uid']}, T={data['sampling']['temperature']:g}, step {data['step']}",
        "question": [question["id"], question["question"], question["golden_answers"]],
        **{name: data.get(name) for name in kept},
        "stop_reason": StopReason(data["stop_reason"]).finish.value,
        "prompt_len": [segment["prompt_len"] for segment in segments],
        "finish": [segment["finish"] for segment in segments],
        **{name: [s.get(name) for s in segments] for name in ("token_ids", "logprobs", "entropies")},
        "sampled_mask": [_digits(segment["sampled_mask"]) for segment in segments],
        "loss_mask": [_digits(segment["loss_mask"]) for segment in segments],
        "spans": [segment["spans"] for segment in segments],
        "calls": [_plain_call(call) for call in data["calls"]],
    }


def _plain_call(call: Record) -> Record:
    """A call in the words of the first records, without what they did not have."""
    kept = {name: value for name, value in call.items() if name not in ("latency_s", "tool", "turn")}
    return {"query" if name == "input" else name: value for name, value in kept.items()}


def _digits(mask: Sequence[bool]) -> str:
    return "".join(str(int(bit)) for bit in mask)


def rounded(value: Any) -> Any:
    """Floats at four decimals, or at five digits where they are large."""
    if isinstance(value, float):
        return round(value, 4) if abs(value) < 10 else float(f"{value:.5g}")
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    if isinstance(value, dict):
        return {str(key): rounded(item) for key, item in value.items()}
    return value


def made(group: str) -> list[Record]:
    """The records of a group, made in a folder of their own."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        return [rounded(record) for record in GROUPS[group]()]


def write(path: Path, records: Sequence[Record]) -> None:
    """Write records, the same bytes for the same records."""
    lines = (json.dumps(r, ensure_ascii=False, separators=(",", ":")) + "\n" for r in records)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(lines).encode("utf-8", "surrogatepass"), 9, mtime=0))


def read(path: Path) -> list[Record]:
    """Records that `write` wrote."""
    text = gzip.decompress(path.read_bytes()).decode("utf-8", "surrogatepass")
    return [json.loads(line) for line in text.split("\n") if line]


def differences(before: Any, after: Any, place: str = "") -> Iterator[str]:
    """Where two values differ, as `calls.0.decision.value: 0.5 → 0.7`."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            inner = f"{place}.{key}" if place else key
            yield from differences(before.get(key, ABSENT), after.get(key, ABSENT), inner)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from differences(one, other, f"{place}.{number}")
    elif not _same(before, after):
        yield f"{place}: {_short(before, after)} → {_short(after, before)}"


ABSENT = "(absent)"


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, float) and isinstance(after, float) and abs(before) < float("inf"):
        return abs(before - after) <= TOLERANCE * max(1.0, abs(before))
    return type(before) is type(after) and before == after


def _short(value: Any, other: Any) -> str:
    """A value for one line; of long ones the part where they begin to differ."""
    text, against = json.dumps(value, ensure_ascii=False), json.dumps(other, ensure_ascii=False)
    pairs = enumerate(zip(text, against, strict=False))
    same = next((place for place, (one, two) in pairs if one != two), 0)
    start = max(0, same - 12) if len(text) > 60 else 0
    return "…" * (start > 0) + text[start : start + 60] + "…" * (len(text) > start + 60)


def name_of(difference: str) -> str:
    """The field of a difference, without positions: `calls.decision.value`."""
    return ".".join(part for part in difference.partition(":")[0].split(".") if not part.isdigit())


@dataclass
class Comparison:
    """What became of the records of one case."""

    records: int = 0
    differing: int = 0
    fields: dict[str, int] = field(default_factory=dict)
    first: str = ""

    def add(self, uid: str, found: Sequence[str]) -> None:
        """Count a record with its differences."""
        self.records += 1
        if not found:
            return
        self.differing += 1
        self.first = self.first or f"{uid}: {found[0]}"
        for name in sorted({name_of(difference) for difference in found}):
            self.fields[name] = self.fields.get(name, 0) + 1


def compare(
    before: Sequence[Record], after: Sequence[Record], ignored: Sequence[str] = ()
) -> dict[str, Comparison]:
    """Per case, how the records differ; fields that are ignored, and what lies in them, may."""
    old, new = ({(r["case"], r["uid"]): r for r in records} for records in (before, after))
    if len(old) != len(before) or len(new) != len(after):
        raise SystemExit("two records have one case and one uid")
    found: dict[str, Comparison] = {}
    for case, uid in {**old, **new}:
        one, other = (records.get((case, uid)) for records in (old, new))
        differing = (
            []
            if one and other
            else [f"record: {'there' if one else ABSENT} → {'there' if other else ABSENT}"]
        )
        if one and other:
            differing = [d for d in differences(one, other) if not _is_ignored(name_of(d), ignored)]
        found.setdefault(case, Comparison()).add(uid, differing)
    return found


def _is_ignored(name: str, ignored: Sequence[str]) -> bool:
    return any(name == given or name.startswith(f"{given}.") for given in ignored)


def show(found: Mapping[str, Comparison]) -> bool:
    """Print a table and the first difference of each case; whether there is none."""
    print("| case | records | equal | differing | fields |\n|---|---|---|---|---|")
    for case, c in found.items():
        fields = ", ".join(f"{name} {count}" for name, count in c.fields.items())
        print(f"| {case} | {c.records} | {c.records - c.differing} | {c.differing} | {fields} |")
    for case, c in found.items():
        if c.first:
            print(f"{case} {c.first}")
    differing = sum(c.differing for c in found.values())
    print(f"{sum(c.records for c in found.values())} records, {differing} differing")
    return not differing


def parse() -> argparse.Namespace:
    kind = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kind)
    parser.add_argument("what", choices=("record", "compare"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("other", type=Path, nargs="?", help="records instead of what the code does now")
    parser.add_argument("--only", nargs="+", choices=tuple(GROUPS), default=tuple(GROUPS))
    parser.add_argument("--except", dest="ignored", nargs="+", default=(), metavar="FIELD")
    return parser.parse_args()


def main() -> None:
    options = parse()
    equal = True
    for group in options.only:
        file = f"{group}.jsonl.gz"
        if options.what == "record":
            write(options.folder / file, made(group))
            continue
        now = read(options.other / file) if options.other else made(group)
        print(f"\n## {group}\n")
        equal &= show(compare(read(options.folder / file), now, options.ignored))
    raise SystemExit(not equal)


if __name__ == "__main__":
    main()
