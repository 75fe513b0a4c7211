"""Real search from the command line, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from innersearch.cli import main
from innersearch.cli.options import announce_cost
from innersearch.config import SearchSettings
from innersearch.net.patience import CallSettings
from innersearch.stored import read_json, read_lines
from innersearch.world_1.encyclopedia import Encyclopedia
from tests.cli.test_cli import fails
from tests.search_servers import Answer, LocalServer

pytestmark = pytest.mark.usefixtures("in_empty_folder")

QUESTIONS = ("--data", "world-1:validation", "--groups", "one_hop_unseen")


def works(*arguments: str) -> None:
    assert main(arguments) == 0


def write_corpus(path: str = "corpus.jsonl") -> str:
    documents = Encyclopedia.generate().documents()
    rows = [{"id": d.id, "contents": f'"{d.title}"\n{d.text}'} for d in documents]
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def copy_of_world(path: str = "model") -> str:
    from innersearch.world_1.bundled import BUNDLED

    Path(path).mkdir()
    for file in BUNDLED.iterdir():
        (Path(path) / file.name).write_bytes(file.read_bytes())
    return path


def test_an_index_is_made_searched_and_used_by_an_evaluation(capsys) -> None:
    works("index", write_corpus(), "index", "--spelling")
    fact = Encyclopedia.generate().facts[0]
    works("search", "bm25:index", fact.state(0), "-k", "1")
    assert fact.tail in capsys.readouterr().out
    works("eval", "world-1", *QUESTIONS, "--search", "bm25:index", "--cache", "searches.sqlite")
    first = "runs/eval-world-1-world-1-validation-bm25-index"
    summary = read_json(Path(first) / "summary.json")
    assert summary["calls"] == summary["searches"] >= 1
    assert summary["em"]["one_hop_unseen"]["value"] > 0.3
    assert f"{summary['calls']:.2f} real" in capsys.readouterr().out
    offline = ("--offline", "--cache", "searches.sqlite", "--output", "replay")
    works("eval", "world-1", *QUESTIONS, "--search", "bm25:index", *offline)
    files = (Path(folder) / "trajectories.jsonl" for folder in (first, "replay"))
    recorded, replayed = (file.read_bytes() for file in files)
    assert recorded == replayed


def test_the_gate_is_calibrated_kept_and_used(capsys) -> None:
    model = copy_of_world()
    assert "calibrate a gate" in fails(capsys, "ask", model, "Who?", "--search", "hybrid")
    data = ("--data", "world-1:validation", "--groups", "one_hop_common", "--groups", "one_hop_unseen")
    works("calibrate", model, *data, "--call-rate", "0.3")
    gate = read_json(Path(model) / "gate.json")
    assert gate["signal"] == "entropy"
    assert 0 < gate["measured"]["calls"] < gate["always"]["calls"]
    works("eval", model, *data, "--search", "hybrid", "--output", "hybrid")
    assert read_json(Path("hybrid") / "summary.json")["calls"] == gate["measured"]["calls"]
    decisions = [
        call["decision"]
        for trajectory in read_lines(Path("hybrid") / "trajectories.jsonl")
        for call in trajectory["calls"]
    ]
    assert {decision["real"] for decision in decisions} == {True, False}
    for decision in decisions:
        assert decision["real"] == (decision["value"] > gate["threshold"])
        assert ("own" in decision) == decision["real"]
    capsys.readouterr()
    works("ask", model, "Who is the spouse of Nobody?", "--search", "hybrid")
    assert "searched" in capsys.readouterr().out


def test_sim2real_counts_real_searches(capsys) -> None:
    works("sim2real", "world-1", "--data", "world-1:validation", "--groups", "two_hop_rare")
    rows = read_json(Path("runs/sim2real-world-1/summary.json"))
    calls = [rows[name]["calls"] for name in ("self", "K = 1", "K = 3", "all")]
    assert calls[0] == 0 < calls[1] <= 1 <= calls[2] <= calls[3]
    assert "real searches per question" in capsys.readouterr().out
    assert rows["all"]["em"]["two_hop_rare"]["value"] > rows["self"]["em"]["two_hop_rare"]["value"]


def test_search_r1_trains_on_documents_that_carry_no_loss() -> None:
    small = ("--trainer.steps", "2", "--trainer.prompts-per-step", "4", "--trainer.group-size", "4")
    works("train", "recipes/search-r1-world.toml", *small, "--trainer.micro-batch", "8")
    run = Path("runs/search-r1-world")
    assert read_json(run / "recipe.json")["search"]["router"] == "always"
    for metrics in read_lines(run / "metrics.jsonl"):
        assert metrics["search/real"] == metrics["search/calls"] > 0
        assert metrics["search/failed_share"] == 0
    for trajectory in read_lines(run / "trajectories.jsonl"):
        [segment] = trajectory["segments"]
        for span in segment["spans"]:
            tokens = slice(span["start"], span["end"])
            if span["source"] == "retriever":
                assert not any(segment["sampled_mask"][tokens])
                assert not any(segment["loss_mask"][tokens])
                assert set(segment["logprobs"][tokens]) == {None}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--search", "bm52:index"), "did you mean 'bm25'?"),
        (("--search", "bm25"), "lacks its place"),
        (("--search", "bm25:gone"), "innersearch index"),
        (("--search", "dense:index"), "lacks its encoder"),
        (("--search", "serper"), "SERPER_API_KEY"),
        (("--search", "first:many"), "first:K"),
        (("--search", "random:2"), "random:RATE"),
        (("--search", "gate:doubt:1"), "entropy"),
        (("--search", "always", "--engine", "remote:nowhere"), "http://"),
        (("--search", "world-1", "--cache", "corpus.jsonl"), "corpus.jsonl"),
    ],
)
def test_engines_that_cannot_be_opened(capsys, monkeypatch, arguments, message: str) -> None:
    monkeypatch.delenv("SERPER_API_KEY", raising=False)
    write_corpus()
    assert message in fails(capsys, "eval", "world-1", *QUESTIONS, *arguments)


def test_corpora_that_cannot_be_indexed(capsys) -> None:
    assert "no corpus" in fails(capsys, "index", "gone.jsonl", "index")
    Path("empty.jsonl").write_text("")
    assert "empty.jsonl" in fails(capsys, "index", "empty.jsonl", "index")
    Path("bad.jsonl").write_text('{"id": "1"}\n')
    assert "bad.jsonl" in fails(capsys, "index", "bad.jsonl", "index")
    assert not Path("index").exists()


def test_an_engine_that_is_down_fails_the_search_and_the_evaluation_resumes(capsys) -> None:
    message = fails(capsys, "search", "world-1", "nobody knows", "--offline", "--cache", "none.sqlite")
    assert "none.sqlite" in message
    works("search", "world-1", "spouse of Nemie", "--cache", "some.sqlite")
    message = fails(
        *(capsys, "eval", "world-1", *QUESTIONS, "--search", "world-1"),
        *("--offline", "--cache", "some.sqlite", "--output", "out"),
    )
    assert "searches failed" in message
    assert "--resume" in message
    works("eval", "world-1", *QUESTIONS, "--search", "world-1", "--resume", "--output", "out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("eval", "world-1", *QUESTIONS, "--engine", "bm25:index"), "--engine without a search"),
        (
            ("eval", "world-1", *QUESTIONS, "--search", "world-1", "--engine", "bm25:index"),
            "two engines",
        ),
        (("sim2real", "world-1", *QUESTIONS, "--search", "bm25:index"), "has no place here"),
        (("calibrate", "gone", *QUESTIONS), "no directory that can be written to"),
        (("calibrate", "model", *QUESTIONS, "--search", "bm25:index"), "has no place here"),
        (("calibrate", "model", *QUESTIONS, "--call-rate", "0.1", "--em-loss", "0.1"), "or to a loss"),
        (("ask", "model", "Who?", "--search", "hybrid"), "holds no gate"),
    ],
)
def test_options_that_contradict_each_other(capsys, arguments, message: str) -> None:
    (Path(copy_of_world()) / "gate.json").write_text('{"signal": "entropy", "threshold": NaN}')
    assert message in fails(capsys, *arguments)


def test_offline_without_a_cache_asks_nobody(capsys) -> None:
    assert "from the cache only" in fails(capsys, "search", "world-1", "x", "--offline", status=2)


def test_a_budget_is_shared_and_ends_the_run_before_anything_is_scored_by_it(
    capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Serper as documented, on a local server."""
    monkeypatch.setenv("SERPER_API_KEY", "a-key-of-16-chars")
    with LocalServer(lambda asked: Answer(body={"organic": []})) as server:
        engine = f"serper:{server.url}"
        limit = ("--engine", engine, "--max-calls", "50", "--output", "out")
        message = fails(capsys, "sim2real", "world-1", *QUESTIONS, *limit)
    assert "budget of 50 calls is used up" in message
    # Calls that were in flight when the run ended may be cancelled on their way; they count as made.
    assert 50 - CallSettings().in_flight < len(server.asked) <= 50
    assert read_json(Path("out/budget.json"))["calls"] == 50
    assert (Path("out/first-1/summary.json")).is_file()
    assert not (Path("out/first-3/summary.json")).exists()


@pytest.mark.parametrize(("router", "calls"), [("always", "2,205"), ("first:1", "315")])
def test_the_forecast_counts_what_the_router_may_ask(capsys, router: str, calls: str) -> None:
    announce_cost(SearchSettings(engine="serper", router=router, max_searches=7), 315)
    assert f"at most {calls} calls" in capsys.readouterr().err
