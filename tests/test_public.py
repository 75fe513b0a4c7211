"""What `import innersearch` offers, from outside: names, examples, and objects of one's own."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import runpy
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import innersearch
from innersearch import (
    Action,
    Agent,
    Call,
    Document,
    Grammar,
    Kind,
    Outcome,
    Question,
    SearchResult,
    Source,
    Tag,
    ToolSchema,
    Trajectory,
)
from innersearch.errors import ConfigError, DataError, InnersearchError
from innersearch.grammar import ANSWER, one
from innersearch.policy.loading import load_tokenizer
from innersearch.testing import (
    ScriptedEngine,
    ScriptedPolicy,
    check_engine,
    check_grammar,
    check_policy,
)
from innersearch.world_1.bundled import BUNDLED

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
NOTEBOOKS = ROOT / "notebooks"


def test_every_name_is_there_documented_and_used() -> None:
    """In the module's own text, and in an example, a notebook or a page of the docs."""
    texts = [*EXAMPLES.glob("*.py"), *NOTEBOOKS.glob("*.py"), *(ROOT / "docs").glob("*.md")]
    shown = "".join(text.read_text() for text in texts)
    for name in innersearch.__all__:
        thing = getattr(innersearch, name)
        assert thing.__doc__, name
        assert f"`{name}`" in innersearch.__doc__, name
        assert re.search(rf"\b{name}\b", shown), f"{name} stands in no document"
    assert 20 <= len(innersearch.__all__) <= 30


def test_what_the_documents_import_is_offered() -> None:
    """Nothing that people are shown may move; their own parts need a few names from deeper."""
    deeper = {"innersearch.world_1.encyclopedia", "innersearch.testing", "innersearch.grammar"}
    for path in [*EXAMPLES.glob("*.py"), *NOTEBOOKS.glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "innersearch":
                assert {alias.name for alias in node.names} <= set(innersearch.__all__), path
            elif isinstance(node, ast.ImportFrom) and node.module.startswith("innersearch"):
                assert node.module in deeper, path


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, innersearch; dir(innersearch); from innersearch import Grammar, Term, Recipe; "
        "print([m for m in ('torch', 'transformers', 'datasets', 'fastapi') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert (ROOT / "src" / "innersearch" / "py.typed").is_file()


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        innersearch.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("example", "arguments", "said"),
    [
        ("train.py", ["1"], "trajectories; the model is in"),
        ("evaluate.py", ["12"], "searching all: EM"),
        ("own_engine_and_term.py", ["1"], "found something"),
    ],
)
def test_examples_run_as_they_stand(
    example: str,
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    first = ["world"] if example == "evaluate.py" else []
    given = [str(EXAMPLES / example), *first, str(tmp_path / "out"), *arguments]
    monkeypatch.setattr(sys, "argv", given)
    runpy.run_path(given[0], run_name="__main__")
    shown = capfd.readouterr()
    assert said in shown.out
    assert not shown.err
    assert len((EXAMPLES / example).read_text().splitlines()) <= (
        12 if first or "train" in example else 45
    )


def test_the_examples_of_the_architecture_run_as_they_stand() -> None:
    """An engine, a tool, a grammar and a term of one's own."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 5
    exec("\n".join(blocks), {"__name__": "architecture"})


def agent(*replies: str) -> Agent:
    tokenizer = load_tokenizer(str(BUNDLED))
    return Agent(ScriptedPolicy(tokenizer, list(replies)), tokenizer)


FACT = "Lima is the capital of Peru."
QUESTION = Question("q", "What is the capital of Peru?", ("Lima",))


def test_an_engine_and_a_term_of_ones_own() -> None:
    engine = ScriptedEngine({"capital of Peru": [FACT]})
    writes = agent("<search>capital of Peru</search>", "<answer>Lima</answer>")
    [written] = writes.roll_out([QUESTION], engine=engine, temperature=0.0)
    assert [call.documents[0].text for call in written.calls] == [FACT]
    assert engine.asked == ["capital of Peru"]

    def short(scored: object) -> float:
        return float(len(scored.answer) < 5)

    rubric = innersearch.Rubric([innersearch.Term("em", 0.5), innersearch.Term(short, 0.25)])
    [scored] = innersearch.score([written], rubric)
    assert (scored.reward, scored.components["short"]) == (0.75, 1.0)
    with pytest.raises(ConfigError, match="unknown measure 'emm'"):
        innersearch.score([written], "emm")


class Clock:
    """A tool of one's own, with what it remembers of each trajectory."""

    schema = ToolSchema("clock", "Tell the time of a town.")

    async def use(self, action: Action, request: object, state: object) -> Outcome:
        seen = state.memory.setdefault("clock", [])
        seen += action.inputs
        results = tuple(SearchResult((Document(t, "", f"{len(seen)} o'clock"),)) for t in action.inputs)
        calls = tuple(
            Call(0, text, Source.RETRIEVER, list(result.documents), tool="clock")
            for text, result in zip(action.inputs, results, strict=True)
        )
        return Outcome(results, calls)

    async def close(self) -> None:
        pass


CLOCKED = Grammar(
    "clocked",
    tags={
        Kind.THINK: Tag("<think>", "</think>"),
        Kind.SEARCH: Tag("<search>", "</search>"),
        Kind.OPEN: Tag("<clock>", "</clock>"),
        Kind.INFORMATION: Tag("<seen>", "</seen>"),
        Kind.ANSWER: Tag("<answer>", "</answer>"),
    },
    reads={Kind.SEARCH: one("search"), Kind.OPEN: one("clock"), Kind.ANSWER: one(ANSWER)},
)


def test_a_tool_and_a_grammar_of_ones_own() -> None:
    check_grammar(CLOCKED)
    writes = agent("<clock>Lima</clock>", "<clock>Cusco</clock>", "<answer>2</answer>")
    [written] = writes.roll_out(
        [QUESTION], engine=ScriptedEngine(), tools=[Clock()], grammar=CLOCKED, style="plain"
    )
    assert [(call.tool, call.input, call.turn) for call in written.calls] == [
        ("clock", "Lima", 0),
        ("clock", "Cusco", 1),
    ]
    text = "".join(span.text for span in written.segments[0].spans)
    assert "<seen> 1 o'clock </seen>" in text
    assert "<seen> 2 o'clock </seen>" in text


def test_checks_find_what_breaks_a_contract() -> None:
    class Shifting(ScriptedEngine):
        async def search(self, queries: list[str], k: int) -> list[SearchResult]:
            return (await super().search(queries, k))[:-1]

    class Generous(ScriptedEngine):
        async def search(self, queries: list[str], k: int) -> list[SearchResult]:
            return [SearchResult(tuple(Document(str(i), "", "x") for i in range(k + 1)))] * len(queries)

    check_engine(ScriptedEngine({"capital of Peru": [FACT]}))
    with pytest.raises(AssertionError, match="one result per query"):
        check_engine(Shifting())
    with pytest.raises(AssertionError, match="4 documents, k is 3"):
        check_engine(Generous())
    tokenizer = load_tokenizer(str(BUNDLED))
    policy = ScriptedPolicy(tokenizer, ["<answer>Lima</answer>"])
    check_policy(policy, tokenizer)
    with pytest.raises(AssertionError, match="at most 0"):
        check_policy(replace(policy, logprob=0.5), tokenizer)


def test_trajectories_of_an_evaluation_are_read_back(tmp_path: Path) -> None:
    writes = agent("<answer>Lima</answer>")
    summary = innersearch.evaluate_agent(writes, [QUESTION], tmp_path / "eval")
    [read] = innersearch.read_trajectories(tmp_path / "eval")
    assert isinstance(read, Trajectory)
    assert read.answer == "Lima"
    assert next(iter(summary["em"].values()))["value"] == 1.0


ASKED = [Question("q", "Who founded Coltek?", ("Belira",)), Question("r", "Where is Lima?", ("Peru",))]


def both(*replies: str) -> list[str]:
    return ["<search>capital of Peru</search>", "<answer>Lima</answer>", *replies]


class Quiet:
    name, source, identity = "quiet", Source.RETRIEVER, {"engine": "quiet"}

    async def search(self, queries: list[str], k: int) -> list[SearchResult]:
        raise asyncio.CancelledError

    @staticmethod
    async def broken(queries: list[str], k: int) -> list[SearchResult]:
        raise KeyError("x")

    @staticmethod
    async def nothing(queries: list[str], k: int) -> None:
        return None

    async def close(self) -> None:
        pass


class Unclosed:
    name, source, identity = "unclosed", Source.RETRIEVER, {"engine": "unclosed"}

    def search(self, queries: list[str], k: int) -> list[SearchResult]:
        return []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"k": 0}, "k: Input should be greater than or equal to 1, given 0"),
        ({"fuel": 1}, "unknown setting fuel; known: "),
        ({"context": "forget"}, "context: no context 'forget': write append"),
        ({"repetitions": 0}, "repetitions is a number of at least 1, given 0"),
        ({"repetitions": "2"}, "repetitions is a number of at least 1, given '2'"),
        ({"temperature": -1.0}, "temperature is a number of at least 0, given -1.0"),
        ({"temperature": float("nan")}, "temperature is a number of at least 0, given nan"),
        ({"max_new_tokens": -5}, "max_new_tokens is a number of at least 0, given -5"),
        ({"reward": "nothing"}, "unknown measure 'nothing'"),
        ({"engine": Unclosed()}, "type Unclosed lacks async search, async close"),
        ({"engine": 3}, "type int lacks name, source, identity, async search, async close"),
    ],
)
def test_what_cannot_be_rolled_out_is_told_in_a_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        list(agent(*both()).roll_out(ASKED, **given))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_questions_are_told_apart() -> None:
    one = agent(*both())
    with pytest.raises(DataError, match="2 questions have the id 'q'"):
        list(one.roll_out([ASKED[0], ASKED[0]]))
    with pytest.raises(DataError, match="3 is no Question"):
        list(one.roll_out([3]))  # type: ignore[list-item]
    for alone in (ASKED[0], ASKED[0].question):
        assert [found.question.question for found in one.roll_out(alone)] == [ASKED[0].question]
    assert list(one.roll_out([])) == []


def test_a_reward_reads_what_was_written_in_its_grammar() -> None:
    grammar = innersearch.grammar.GRAMMARS["r1-searcher"]
    replies = ["<|begin_of_query|>Lima<|end_of_query|> so", "</think><answer>Peru</answer>"]
    found = ScriptedEngine({"Lima": ["Lima is in Peru."]})
    rubric = innersearch.Rubric.read("violates:r1-searcher")
    chosen = {"engine": found, "grammar": grammar, "reward": rubric}
    [trajectory] = agent(*replies).roll_out(ASKED[1], **chosen)
    again = innersearch.score([trajectory], "violates:r1-searcher", grammar)
    assert trajectory.reward == again[0].reward
    assert trajectory.reward == rubric.written_in(grammar).score(trajectory)[0]


def test_an_engine_that_lets_a_cancellation_out_failed() -> None:
    found = list(agent(*both()).roll_out(ASKED, engine=Quiet(), max_error_rate=1.0))
    assert [[call.error for call in one.calls] for one in found] == [["CancelledError"]] * 2


def test_everything_works_where_an_event_loop_is_running(tmp_path: Path) -> None:
    """As in a notebook."""
    one = agent(*both())
    alone = [written.segments[0].token_ids for written in one.roll_out(ASKED)]

    async def inside() -> list[list[int]]:
        check_engine(ScriptedEngine({"capital of Peru": [FACT]}))
        innersearch.evaluate_agent(one, ASKED, tmp_path / "eval")
        first, *others = one.roll_out(ASKED)
        return [written.segments[0].token_ids for written in (first, *others)]

    assert asyncio.run(inside()) == alone
    assert len(list(innersearch.read_trajectories(tmp_path / "eval"))) == len(ASKED)


def test_errors_reach_who_asked_where_an_event_loop_is_running() -> None:
    async def inside() -> None:
        list(agent(*both()).roll_out(ASKED, k=0))

    with pytest.raises(ConfigError, match="k: Input should be greater"):
        asyncio.run(inside())


def test_a_server_runs_beside_other_work_until_it_is_closed() -> None:
    def asked(url: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(url, json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    engine = ScriptedEngine({"capital of Peru": [FACT]})
    with innersearch.open_server(engine, agent(*both()), search="always") as server:
        found = asked(f"{server.url}/retrieve", {"queries": ["capital of Peru"], "topk": 1})
        said = asked(
            f"{server.url}/v1/chat/completions",
            {"model": "m", "messages": [{"role": "user", "content": "What is the capital of Peru?"}]},
        )
    assert [row["text"] for row in found["result"][0]] == [FACT]
    assert said["choices"][0]["message"]["content"] == "Lima"
    assert engine.asked == ["capital of Peru"] * 2
    server.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{server.url}/healthz")


def test_what_cannot_be_evaluated_leaves_nothing_behind(tmp_path: Path) -> None:
    one = agent(*both())
    for questions, settings, said in (
        ([], {}, "there are no questions"),
        ([ASKED[0]] * 2, {}, "2 questions have the id 'q'"),
        (["who?"], {}, "'who\\?' is no Question"),
        (ASKED, {"sample": 3}, "unknown setting sample; did you mean 'samples'"),
        (ASKED, {"metrics": "nothing"}, "unknown measure 'nothing'"),
    ):
        with pytest.raises(InnersearchError, match=said):
            innersearch.evaluate_agent(one, questions, tmp_path / "out", **settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="3 is no agent"):
        innersearch.evaluate_agent(3, ASKED, tmp_path / "out")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_an_engine_that_would_never_be_asked_is_refused(tmp_path: Path) -> None:
    for engine in (ScriptedEngine({}), "world-1"):
        with pytest.raises(ConfigError, match="never asks an engine"):
            innersearch.train_agent("ssrl-world", tmp_path / "out", engine=engine)
    with pytest.raises(DataError, match="there are no questions"):
        innersearch.train_agent("ssrl-world", tmp_path / "out", questions=[])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"reward": [{"mesure": "em"}]}, "unknown setting reward.0.mesure; did you mean 'measure'"),
        ({"trainer": {"step": 1}}, "unknown setting trainer.step; did you mean 'steps'"),
    ],
)
def test_unknown_keys_of_recipes_have_a_hint(values: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        innersearch.train_agent("ssrl-world", tmp_path, **values)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"name": ""}, "name is a text that is not empty, given ''"),
        ({"source": "web"}, "source is a Source, given 'web'"),
        ({"identity": {"key": object()}}, "identity is a table that JSON can hold"),
        ({"close": None}, "it has a method close"),
        ({"search": lambda queries, k: []}, "search is an async function"),
        ({"search": Quiet.broken}, "a failed search is a result with an error, raised KeyError: 'x'"),
        ({"search": Quiet.nothing}, "search returns a list, given None"),
    ],
)
def test_a_check_says_what_is_wrong_with_an_engine(parts: dict[str, Any], said: str) -> None:
    engine = SimpleNamespace(
        name="e", source=Source.WEB, identity={}, search=Quiet.nothing, close=Quiet().close
    )
    vars(engine).update(parts)
    with pytest.raises(AssertionError) as error:
        check_engine(engine)
    assert said in str(error.value)


def test_a_document_that_no_record_could_hold_is_a_failed_search(tmp_path: Path) -> None:
    found = ScriptedEngine(lambda query: SearchResult((Document(1, None, 3),)))  # type: ignore[arg-type]
    chosen = {"engine": found, "search": {"max_error_rate": 1.0}}
    innersearch.evaluate_agent(agent(*both()), ASKED, tmp_path / "out", **chosen)
    again = list(innersearch.read_trajectories(tmp_path / "out"))
    assert [[call.error for call in one.calls] for one in again] == [["TypeError"]] * 2
