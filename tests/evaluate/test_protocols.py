from __future__ import annotations

from pathlib import Path

import pytest

from innersearch.assemble.sources import load_questions
from innersearch.cli import main
from innersearch.cli.options import SearchOptions
from innersearch.cli.protocols import ProtocolOptions
from innersearch.config import RolloutSettings
from innersearch.data.catalogue import BENCHMARKS
from innersearch.evaluate.protocols import PROTOCOLS, draw, protocol
from innersearch.intervals import generator, mean_of_groups
from innersearch.prompts import names
from innersearch.rewards import find_measure
from innersearch.stored import read_json, read_lines
from innersearch.types import Question
from tests.cli.test_cli import fails
from tests.data.test_data import write_jsonl

pytestmark = pytest.mark.usefixtures("in_empty_folder")

SHORT = ("--prompt", "world", "--max-new-tokens", "24")


def asked(size: int, group: str) -> list[Question]:
    return [Question(f"{group}:{n}", f"Who is {n}", ("x",), {"data_source": group}) for n in range(size)]


def fetched(**sizes: int) -> None:
    for name in PROTOCOLS["search-r1"].sets:
        rows = [
            {"id": q.id, "question": q.question, "golden_answers": ["Kaney"], "data_source": name}
            for q in asked(sizes.get(name, 2), name)
        ]
        write_jsonl(f"data/{name}.jsonl", *rows)


def test_protocols_name_what_exists() -> None:
    for preset in PROTOCOLS.values():
        assert set(preset.sets) <= set(BENCHMARKS)
        assert preset.prompt in names()
        assert find_measure(preset.metric)
        assert RolloutSettings(**preset.rollout)


def test_the_subset_is_500_of_each_set_and_all_of_bamboogle() -> None:
    everything = [*asked(700, "nq"), *asked(125, "bamboogle")]
    chosen = protocol("ssrl").select(everything)
    groups = [question.group for question in chosen]
    assert (groups.count("nq"), groups.count("bamboogle")) == (500, 125)
    assert {q.id for q in chosen} == {q.id for q in protocol("ssrl").select(everything[::-1])}
    assert len(protocol("search-r1").select(everything)) == 825
    assert chosen == [question for question in everything if question in chosen]
    nested = {q.id for q in draw(everything, 100)}
    assert nested <= {q.id for q in chosen}


def test_the_subset_is_of_each_file() -> None:
    rows = [{"question": f"Who is {n}?", "golden_answers": ["x"]} for n in range(5)]
    files = [write_jsonl(f"{name}/test.jsonl", *rows) for name in ("nq", "hotpotqa")]
    chosen = draw(load_questions(",".join(files)), 2)
    assert sorted(question.group for question in chosen) == [*["hotpotqa/test"] * 2, *["nq/test"] * 2]


def test_search_r1_appends_question_marks_once() -> None:
    questions = [Question("1", "who is it", ("x",)), Question("2", "Who is it?", ("x",))]
    assert [q.question for q in protocol("search-r1").select(questions)] == [
        *("who is it?", "Who is it?")
    ]
    assert protocol("ssrl").select(questions) == questions


def test_a_protocol_chooses_its_sets_and_scores_every_item(capsys) -> None:
    fetched(bamboogle=5)
    assert main(["eval", "world-1", "--protocol", "ssrl", "--output", "out", *SHORT]) == 0
    summary = read_json(Path("out/summary.json"))
    assert summary["settings"]["protocol"] == "ssrl"
    missing = [f"{name} 2 of 500 questions" for name in ("nq", "triviaqa", "hotpotqa", "musique")]
    missing += ["2wikimultihopqa 2 of 500 questions", "bamboogle 5 of 125 questions"]
    departures = ", ".join(["prompt world, max_new_tokens 24", *missing])
    assert summary["settings"]["departures"] == departures
    assert {name: e["n"] for name, e in summary["em"].items()} == {
        **{"nq": 2, "triviaqa": 2, "hotpotqa": 2, "musique": 2, "2wikimultihopqa": 2},
        **{"bamboogle": 5, "all": 15},
    }
    printed = capsys.readouterr().out
    assert f"protocol ssrl, but {departures}; greedy, every question" in printed
    assert "mean of groups" in printed


def test_zerosearch_reports_containment_under_its_own_name_and_first(capsys) -> None:
    fetched()
    arguments = ("--protocol", "zerosearch", "--search", "world-1", "--data", "nq,popqa", "-k", "2")
    assert main(["eval", "world-1", *arguments, "--subset", "1", "--output", "out", *SHORT]) == 0
    header = capsys.readouterr().out.splitlines()[0]
    assert header.index("cover EM") < header.index(" EM ", header.index("cover EM") + 9)
    summary = read_json(Path("out/summary.json"))
    assert summary["search"]["k"] == 2
    assert summary["search"]["max_searches"] == 5
    assert summary["search"]["max_tokens"] == 2048
    assert summary["settings"]["departures"] == (
        "data nq,popqa, prompt world, max_new_tokens 24, subset 1, k 2, engine world-1"
    )
    assert len(list(read_lines(Path("out/greedy.jsonl")))) == 2


@pytest.mark.parametrize(
    ("name", "options", "more", "departures"),
    [
        ("ssrl", {}, {}, ""),
        ("ssrl", {}, {"direct": True}, "direct"),
        ("ssrl", {}, {"groups": ("nq",)}, "groups nq"),
        ("ssrl", {}, {"groups": PROTOCOLS["ssrl"].sets[::-1]}, ""),
        (
            *("ssrl", {"search": "first:3", "engine": "serper"}, {}),
            "search first:3, engine serper",
        ),
        ("search-r1", {}, {"direct": True}, "direct"),
        ("search-r1", {"search": "dense:wiki@e5"}, {}, ""),
        ("search-r1", {"search": "always", "engine": "remote:http://localhost"}, {}, ""),
        ("search-r1", {"search": "bm25:wiki"}, {}, "engine bm25:wiki"),
        ("search-r1", {"search": "first:1", "engine": "dense:wiki"}, {}, "search first:1"),
        (
            *("search-r1", {"search": "random:0.1", "engine": "dense:wiki", "noise": 0.5}, {}),
            "search random:0.1, noise 0.5",
        ),
        ("zerosearch", {"search": "serpapi", "k": 5, "max_searches": 2}, {}, "max_searches 2"),
    ],
)
def test_every_departure_is_named(name: str, options: dict, more: dict, departures: str) -> None:
    asked = ProtocolOptions(protocol=name)
    chosen = asked.choices("", None, 0, SearchOptions(**options), **more)
    assert chosen.record == {"protocol": name, "departures": departures}


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if "nq" in PROTOCOLS[name].sets])
def test_a_whole_set_is_no_departure(name: str) -> None:
    sizes = protocol(name).sizes()
    options = (
        SearchOptions() if name == "ssrl" else SearchOptions(search=f"{PROTOCOLS[name].engines[0]}x")
    )
    chosen = ProtocolOptions(protocol=name).choices("", None, 0, options)
    whole = [Question(f"{s}/{i}", "q", ("a",), {"group": s}) for s, n in sizes.items() for i in range(n)]
    assert chosen.counted(whole).departures == ""
    first, size = next(iter(sizes.items()))
    short = f"{first} {size - 1:,} of {size:,} questions"
    assert chosen.counted(whole[1:]).departures == short


def test_what_is_written_another_way_than_the_protocol_says_is_named() -> None:
    def departs(name: str, **given: object) -> str:
        engine = f"{PROTOCOLS[name].engines[0]}x"
        asked = ProtocolOptions(protocol=name).choices("", None, 0, SearchOptions(search=engine))
        return asked.departing(given).departures

    assert departs("rag-r1", max_turns=3, last_turn="answer") == "max_turns 3"
    assert departs("r1-searcher") == ""
    assert departs("deepresearcher", reader="model:http://h/v1#n") == ""
    assert departs("deepresearcher") == "reader passages:8"


@pytest.mark.parametrize("option", ["-k", "--max-searches"])
def test_limits_of_searches_need_a_search(capsys, option: str) -> None:
    message = fails(capsys, "eval", "world-1", "--data", "world-1:test", option, "2")
    assert f"{option} without a search: add --search always" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--protocol", "serach-r1"), "did you mean 'search-r1'?"),
        (("--protocol", "harness-1", "--search", "bm25:wiki"), "questions that name their documents"),
        (("--protocol", "search-r1"), "published: e5-base-v2 over wiki-18"),
        (("--protocol", "ssrl"), "innersearch data get nq"),
        ((), "no data given"),
    ],
)
def test_what_a_protocol_needs(capsys, arguments: tuple[str, ...], message: str) -> None:
    assert message in fails(capsys, "eval", "world-1", *arguments)


def test_the_mean_of_groups_counts_every_group_the_same() -> None:
    rng = generator(1, "x")
    values = {"a": list(rng.random(400) < 0.8), "b": list(rng.random(25) < 0.2)}
    found = mean_of_groups(values)
    share = [sum(members) / len(members) for members in values.values()]
    assert found.value == pytest.approx(sum(share) / 2)
    error = sum(p * (1 - p) / len(v) for p, v in zip(share, values.values(), strict=True)) ** 0.5 / 2
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert found.n == 425
