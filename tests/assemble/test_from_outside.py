"""What another package adds: one file of its own and an entry point, nothing of ours is touched."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from innersearch import Agent, Question
from innersearch.assemble.engines import ENGINES, open_engine, price_usd
from innersearch.assemble.models import CONVENTIONS, MODELS, conventions_of, model_path
from innersearch.assemble.policies import POLICIES, parse_policy
from innersearch.assemble.recipes import open_recipe
from innersearch.assemble.sources import SOURCES, load_questions
from innersearch.cli import main
from innersearch.config import NoiseSettings, Recipe, SearchSettings
from innersearch.config.names import engine_names
from innersearch.data import catalogue
from innersearch.errors import ConfigError
from innersearch.evaluate.protocols import protocol
from innersearch.extensions import Offers
from innersearch.rollout.episode import Task
from innersearch.routing.router import ROUTERS, Query, parse_router
from innersearch.search.kinds import EngineKind
from innersearch.search.wrappers.degraded import DegradedEngine
from innersearch.testing import ScriptedPolicy
from innersearch.tools.kinds import open_tools
from innersearch.tools.search import SearchTool
from innersearch.types import Source
from innersearch.world_1.bundled import BUNDLED
from tests.search_servers import Answer, LocalServer, ask

ENGINE = """
from innersearch.search.base import SearchResult
from innersearch.search.kinds import EngineKind
from innersearch.types import Document, Source

class Echo:
    source = Source.RETRIEVER

    def __init__(self, place):
        self.name, self.identity = "echo", {"engine": "echo", "place": place}

    async def search(self, queries, k):
        return [SearchResult((Document(query, "Echo", f"{query} says the echo"),)) for query in queries]

    async def close(self):
        pass

KIND = EngineKind("echo", "echo:PLACE", lambda name, opening: Echo(name.place), price_usd=0.5)
"""
DIALECT = """
from innersearch.search.remote.dialects import Dialect, Price
from innersearch.search.remote.kinds import web_kind

LISTED = Price(2.0, "2026, mine")
KIND = web_kind(Dialect("ask", "/find", ("rows",), frozenset({"rows"}), "snippet", LISTED))
"""
ROUTER = """
from innersearch.rollout.episode import Task
from innersearch.routing.router import Route, Router, Rule

def make(values):
    if len(values) != 1 or int(values[0]) < 1:
        return None
    every = int(values[0])
    return Router("every", lambda query: Route("policy" if query.index % every else "engine"))

RULE = Rule("every:N with N >= 1", make)
"""
POLICY = """
from innersearch.policy.kinds import PolicyKind

class Mine:
    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)

def wrap(model, tokenizer, max_batch):
    from innersearch.policy.transformers import TransformersPolicy
    return Mine(TransformersPolicy.of(model, tokenizer, max_batch))

def opened(name, opening):
    from innersearch.policy.loading import load_model
    return wrap(load_model(opening.path), opening.tokenizer, opening.max_batch)

KIND = PolicyKind("mine", "mine", opened, takes=lambda name: not name.urls, here=True, training=wrap)
"""
QUESTIONS = """
from innersearch.data.sources import QuestionSource
from innersearch.types import Question

def few(count):
    return [Question(str(n), f"Who is number {n}?", ("Zoe",)) for n in range(int(count))]

SOURCE = QuestionSource("few:N", few)
"""
BENCHMARK = """
from innersearch.data.catalogue import Benchmark
from innersearch.evaluate.protocols import Protocol

SET = Benchmark("riddles", "https://x.example", {"test": "r.jsonl"}, {"test": 2}, "test", "MIT")
HOW = Protocol("riddling", ("riddles",), 0, "needles", "world", 64, k=2, max_searches=3, max_tokens=99)

def needles(scored):
    return 0.25 if scored.answer is None or "needle" not in scored.answer else 1.0
"""
TOOL = """
from innersearch import Call, Document, Grammar, Kind, Outcome, SearchResult, Source, Tag, ToolSchema
from innersearch.grammar import ANSWER, one
from innersearch.tools.kinds import ToolKind

class Clock:
    schema = ToolSchema("clock", "Tell the time of a town.")

    async def use(self, action, request, state):
        result = SearchResult((Document("t", "", "noon in " + action.inputs[0]),))
        return Outcome((result,), (Call(0, action.inputs[0], Source.RETRIEVER, tool="clock"),))

    async def close(self):
        closed.append(self)

closed = []
KIND = ToolKind(Clock.schema, Clock)
HOW = Grammar(
    "clocked",
    {
        Kind.THINK: Tag("<think>", "</think>"),
        Kind.OPEN: Tag("<clock>", "</clock>"),
        Kind.INFORMATION: Tag("<seen>", "</seen>"),
        Kind.ANSWER: Tag("<answer>", "</answer>"),
    },
    {Kind.OPEN: one("clock"), Kind.ANSWER: one(ANSWER)},
)

def looked(scored):
    return float(len(scored.calls))
"""
MODEL = """
from pathlib import Path
from innersearch.config.conventions import Conventions

HERE = Path("somewhere")
EXPECTS = Conventions(fits=lambda tokenizer: tokenizer.chat_template == "mine", engine="echo:x")
"""


class Install:
    """Puts a distribution of one module on the path."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.modules = folder, []
        monkeypatch.syspath_prepend(folder)

    def __call__(self, module: str, text: str, **offers: str) -> None:
        """`offers`: group to `name = attribute`."""
        (self.folder / f"{module}.py").write_text(text)
        about = self.folder / f"{module}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        lines = []
        for group, offer in offers.items():
            name, _, attribute = offer.partition(" = ")
            lines += [f"[innersearch.{group}]", f"{name} = {module}:{attribute}"]
        (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
        self.modules.append(module)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    installing = Install(tmp_path, monkeypatch)
    yield installing
    for module in installing.modules:
        sys.modules.pop(module, None)
    parse_router.cache_clear()


def test_an_engine(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "echo:here", "nobody"]) == 1
    assert "unknown engine 'echo:here'" in capsys.readouterr().err
    install("echoing", ENGINE, engines="echo = KIND")
    assert main(["search", "echo:here", "nobody"]) == 0
    assert "nobody says the echo" in capsys.readouterr().out
    assert main(["search", "echo", "nobody"]) == 1
    assert "lacks its place: write echo:PLACE" in capsys.readouterr().err
    assert price_usd(engine_names("echo:here")) == 0.5
    settings = SearchSettings(engine="echo:a,echo:b", noise=NoiseSettings(curve="constant", end=0.5))
    fused = open_engine(settings)
    assert isinstance(fused, DegradedEngine)
    assert "echo" in fused.name


def test_an_engine_and_a_kind_of_engine_as_plain_objects(install: Install, tmp_path: Path) -> None:
    install("echoing", ENGINE)
    from echoing import KIND, Echo

    settings = SearchSettings(engine="loud:x", cache=str(tmp_path / "kept.sqlite"))
    kind = EngineKind("loud", "loud:PLACE", lambda name, opening: Echo(name.place))
    [result] = ask(open_engine(settings, kinds=[kind]), "q", k=1)
    assert result.documents[0].text == "q says the echo"
    # The cache that the settings name stands around an engine of one's own as well.
    engine = open_engine(settings.model_copy(update={"engine": ""}), engine=Echo("x"))
    [again] = ask(engine, "q", k=1)
    assert again.documents == result.documents
    assert engine.source is Source.RETRIEVER
    assert (tmp_path / "kept.sqlite").exists()
    assert KIND.name == "echo"


def test_a_web_dialect(install: Install) -> None:
    install("asking", DIALECT, engines="ask = KIND")
    with LocalServer(lambda asked: Answer({"rows": [{"url": "u", "snippet": "s"}]})) as server:
        [result] = ask(open_engine(SearchSettings(engine=f"ask:{server.url}#deadline=9")), "q", k=1)
    assert [document.text for document in result.documents] == ["s"]
    assert server.asked[0].path == "/find"
    assert price_usd(engine_names("ask")) == pytest.approx(0.002)


def test_a_router(install: Install) -> None:
    with pytest.raises(ConfigError, match="unknown router 'every:2'"):
        parse_router("every:2")
    install("everyone", ROUTER, routers="every = RULE")
    router = SearchSettings(router="every:2").rule
    assert [router.route(Query("q", index)).writer for index in range(3)] == [
        "engine",
        "policy",
        "engine",
    ]
    assert str(router) == "every:2"
    with pytest.raises(ConfigError, match="every:N with N >= 1"):
        parse_router("every:0")
    with pytest.raises(ConfigError, match="invalid literal"):
        parse_router("every:other")


def test_a_policy_is_evaluated_and_trained(install: Install) -> None:
    install("mineral", POLICY, policies="mine = KIND")
    from innersearch.policy.loading import load_model, load_tokenizer
    from innersearch.train.run import _rollout
    from innersearch.train.tasks import rollout_of, rubric_of

    tokenizer = load_tokenizer(str(BUNDLED))
    policy = parse_policy("mine").open(str(BUNDLED), tokenizer, max_batch=4)
    assert type(policy).__name__ == "Mine"
    recipe = Recipe.model_validate({"sampling": {"policy": "mine"}})
    makes = partial(rollout_of, rubric=rubric_of(recipe))
    with _rollout(recipe, load_model(str(BUNDLED)), tokenizer, None, makes) as rollout:
        assert type(rollout.policy).__name__ == "Mine"
    with pytest.raises(ConfigError, match="or mine"):
        parse_policy("mine:http://x")


def test_questions(install: Install) -> None:
    install("fewer", QUESTIONS, questions="few = SOURCE")
    assert [q.id for q in load_questions("few:3")] == ["0", "1", "2"]
    assert len(load_questions("few:2,world-1:test")) > 2


def test_a_benchmark_with_a_metric_of_its_own(
    install: Install,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    offers = {
        "benchmarks": "riddles = SET",
        "protocols": "riddling = HOW",
        "measures": "needles = needles",
    }
    install("riddling", BENCHMARK, **offers)
    assert catalogue.find("riddles").n == 2
    assert "riddles" in [benchmark.name for benchmark in catalogue.benchmarks()]
    assert protocol("riddling").sizes() == {"riddles": 2}
    monkeypatch.setenv("INNERSEARCH_DATA", str(tmp_path))
    row = {"question": "What has an eye?", "golden_answers": ["a needle"]}
    (tmp_path / "riddles.jsonl").write_text(json.dumps(row) + "\n")
    assert load_questions("riddles")[0].golden_answers == ("a needle",)
    assert main(["eval", "world-1", "--protocol", "riddling", "--output", str(tmp_path / "out")]) == 0
    head, line = [row for row in capsys.readouterr().out.splitlines() if row.startswith("| ")][:2]
    assert head.split("|")[3].strip() == "needles"
    assert line.split("|")[3].strip().startswith("25.0")


def test_a_tool_a_grammar_and_a_measure_that_a_recipe_names(
    install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "clocked.toml"
    file.write_text(
        'model = "world-1"\ndata = "world-1:train"\nreward = "em + 0.5*looked"\n'
        '[rollout]\ngrammar = "clocked"\ntools = ["clock"]\n'
    )
    assert main(["train", str(file)]) == 1
    assert "unknown grammar 'clocked'" in capsys.readouterr().err
    offers = {"tools": "clock = KIND", "grammars": "clocked = HOW", "measures": "looked = looked"}
    install("clocking", TOOL, **offers)
    assert main(["train", str(file), "--rollout.tools", "clokc"]) == 1
    assert "unknown tool 'clokc'; did you mean 'clock'?" in capsys.readouterr().err
    from clocking import closed

    from innersearch.policy.loading import load_tokenizer
    from innersearch.train.tasks import rollout_of

    recipe, tokenizer = open_recipe(str(file)), load_tokenizer(str(BUNDLED))
    policy = ScriptedPolicy(tokenizer, ["<clock>Lima</clock>", "<answer>noon</answer>"])
    task = Task(Question("q", "What time is it?", ("noon",)), tuple(tokenizer.encode("when")), "q")
    with rollout_of(recipe, policy, tokenizer, SearchTool.itself(recipe.search)) as rollout:
        [trajectory] = rollout.run([task])
    assert [(call.tool, call.input) for call in trajectory.calls] == [("clock", "Lima")]
    text = "".join(span.text for span in trajectory.segments[0].spans)
    assert "<seen> Doc 1(Title: ) noon in Lima\n </seen>" in text
    assert trajectory.reward == 1.5
    assert len(closed) == 1
    agent = Agent(policy, tokenizer)
    [again] = agent.roll_out(["What time is it?"], grammar="clocked", tools=["clock"])
    assert [call.tool for call in again.calls] == ["clock"]
    with pytest.raises(ConfigError, match="two tools are called clock"):
        open_tools(["clock", "clock"])


def test_a_model_and_what_it_expects(install: Install) -> None:
    install("modest", MODEL, models="modest = HERE", conventions="modest = EXPECTS")
    assert model_path("modest") == "somewhere"
    assert model_path("elsewhere") == "elsewhere"
    assert conventions_of(SimpleNamespace(chat_template="mine")).engine == "echo:x"


@pytest.mark.parametrize("offers", [ENGINES, ROUTERS, POLICIES, SOURCES, MODELS, CONVENTIONS])
def test_all_of_ours_can_be_had(offers: Offers) -> None:
    assert [offers.get(name) for name in offers.own]
    assert all(isinstance(offers.get(name), offers.type) for name in offers.own)
    with pytest.raises(ConfigError, match=f"unknown {offers.what} 'nothing'"):
        offers.get("nothing")


def test_what_a_package_offers_wrongly_is_said_in_one_line(install: Install) -> None:
    install("broken", "raise RuntimeError('no way')", engines="sad = KIND")
    install("leaving", "raise SystemExit(3)", engines="gone = KIND")
    install("strange", "KIND = 7", engines="odd = KIND")
    install("one", ENGINE, engines="twice = KIND")
    install("two", ENGINE, engines="twice = KIND")
    install("thief", ENGINE, engines="world = KIND")
    said = {
        "sad": "cannot be loaded from broken:KIND: RuntimeError: no way; mend or uninstall",
        "gone": "cannot be loaded from leaving:KIND: SystemExit: 3; mend or uninstall",
        "odd": "at strange:KIND is of type int: its package must offer a EngineKind",
        "twice": r"several packages offer the engine 'twice' \(one:KIND, two:KIND\)",
    }
    for name, message in said.items():
        with pytest.raises(ConfigError, match=message):
            open_engine(SearchSettings(engine=name))
    # No package changes what one of our names means.
    assert open_engine(SearchSettings(engine="world-1")).name == "bm25"
