"""The cost of searches as users see it: `innersearch cost` and the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from innersearch.cli import main
from innersearch.config import SimulatorSettings
from innersearch.errors import DataError, RunError, SearchError
from innersearch.records import write_json
from innersearch.view.costs import RUN_HEADS, counted_searches, prompt_tokens, report_rows
from innersearch.view.report import write_report
from tests.cli.test_cli import fails

pytestmark = pytest.mark.usefixtures("in_empty_folder")

ROOT = Path(__file__).parents[2]
ZEROSEARCH = str(ROOT / "recipes" / "zerosearch.toml")
HEADS = ["tier", "searches", "simulator tokens", "hours", "US dollars", "price"]
STEPS = ({"step": 1, "search/real": 1.5, "time/rollout_s": 20.0}, {"step": 2, "time/rollout_s": 16.0})


def prints(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["cost", *arguments]) == 0
    return capsys.readouterr().out


def table(text: str, number: int = 0) -> list[list[str]]:
    """The cells of one of the Markdown tables in a text, without the rule."""
    tables: list[list[list[str]]] = []
    within = False
    for line in text.splitlines():
        if line.startswith("|"):
            tables += [] if within else [[]]
            if not line.startswith("|:"):
                tables[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        within = line.startswith("|")
    return tables[number]


def rows(text: str, number: int = 0) -> dict[str, list[str]]:
    return {row[0]: row[1:-1] for row in table(text, number)[1:]}


def call(*texts: str, engine: str = "serper", source: str = "web", **values: Any) -> dict[str, Any]:
    documents = [{"id": "1", "title": "three words here", "text": text} for text in texts]
    fixed = {"id": 0, "query": "q", "source": source, "engine": engine, "documents": documents}
    return fixed | {"latency_s": 0.5} | values


def write_run(path: str, *searches: list[dict[str, Any]], steps: Any = STEPS) -> Path:
    """A run directory with one trajectory for each list of calls."""
    run = Path(path)
    run.mkdir()
    lines = [json.dumps({"step": 1, "calls": calls}) + "\n" for calls in searches]
    (run / "trajectories.jsonl").write_text("".join(lines))
    (run / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    return run


def web_run(path: str = "run") -> Path:
    """Two trajectories, three searches: 7 words, 3 words and a failure; 4 calls paid."""
    failed = call(error="serper did not answer", latency_s=2.0)
    run = write_run(path, [call("one two three four", "a b c"), failed], [call("five six seven")])
    write_json(run / "budget.json", {"calls": 4, "usd": 0.004})
    return run


def test_a_recipe_is_forecast_for_every_tier(capsys) -> None:
    """203 × 64 × 5 × 2 = 129,920 searches. The policy writes 5 × 30 × 1.35 = 202.5 tokens for each; a
    simulator reads 81 words, 109.35 tokens, as well: 40,515,552 tokens, of which an H100 at 296.7
    TFLOP/s takes 49,450 a second with 3B. 32 calls of 0.6 s at once take 0.68 h.
    """
    printed = prints(capsys, ZEROSEARCH)
    assert printed.startswith(
        "zerosearch: 203 steps of 64 questions × 5 trajectories × 2 searches = 129,920 searches\n"
    )
    assert table(printed)[0] == HEADS
    assert rows(printed) == {
        "self": ["129,920", "26,308,800", "–", "0.00"],
        "simulated:3B": ["129,920", "40,515,552", "0.23", "0.57"],
        "simulated:7B": ["129,920", "40,515,552", "0.53", "1.33"],
        "simulated:14B": ["129,920", "40,515,552", "1.06", "2.66"],
        "serpapi": ["129,920", "0", "0.68", "1,948.80"],
        "serper": ["129,920", "0", "0.68", "129.92"],
        "tavily": ["129,920", "0", "0.68", "1,039.36"],
    }


def test_the_prompt_that_a_recipe_names_is_counted() -> None:
    """The tuned prompt has 59 words, and question, query and answer have 22; without gold, the line of
    the answer goes with its 5 words. The world's prompt has no words besides them.
    """
    assert prompt_tokens(SimulatorSettings()) == pytest.approx(81 * 1.35)
    assert prompt_tokens(SimulatorSettings(gold="none")) == pytest.approx(76 * 1.35)
    assert prompt_tokens(SimulatorSettings(prompt="simulator-world")) == pytest.approx(22 * 1.35)
    prompted = SimulatorSettings(prompt="simulator-world", mode="prompted")
    assert prompt_tokens(prompted) == pytest.approx(22 * 1.35)


def test_options_change_the_forecast(capsys) -> None:
    """64,960 × 1.5 = 97,440 searches of 311.85 tokens are 30,386,664 tokens, or 3,038.7 s at 10,000 a
    second; rented for 12 hours, two GPUs at $2 cost $48.
    """
    seven = ("--searches-per-trajectory", "1.5", "--billions", "7", "--measured", "10000")
    renting = ("--gpus", "2", "--usd-hour", "2")
    assert rows(prints(capsys, ZEROSEARCH, *seven, *renting))["simulated:7B"] == [
        *("97,440", "30,386,664", "0.84", "3.38")
    ]
    idle = rows(prints(capsys, ZEROSEARCH, *seven, *renting, "--hours", "12"))
    assert idle["simulated:7B"] == ["97,440", "30,386,664", "12.00", "48.00"]
    assert idle["serper"] == ["97,440", "0", "0.51", "97.44"]
    two = rows(prints(capsys, ZEROSEARCH, "--billions", "0.5", "--billions", "32"))
    assert list(two)[1:3] == ["simulated:0.5B", "simulated:32B"]
    cpu = ("--billions", "0.5", "--gpus", "0", "--usd-hour", "0", "--measured", "50")
    own = rows(prints(capsys, ZEROSEARCH, *cpu))["simulated:0.5B"]
    assert own == ["129,920", "40,515,552", "225.09", "0.00"]


def test_bundled_recipes_are_found_by_name(capsys) -> None:
    """`in_empty_folder` has no recipes of its own. 80 × 16 × 8 × 2 = 20,480 searches."""
    assert rows(prints(capsys, "zerosearch-world.toml"))["serper"][0] == "20,480"


def test_the_published_table_needs_no_recipe(capsys) -> None:
    published = {
        "SFT-3B": ["64,000", "–", "12.00", "17.70"],
        "SFT-7B": ["64,000", "–", "12.00", "35.40"],
        "SFT-14B": ["64,000", "–", "12.00", "70.80"],
        "serpapi": ["64,000", "0", "12.00", "586.88"],
    }
    assert rows(prints(capsys, "--published")) == published
    both = prints(capsys, ZEROSEARCH, "--published")
    assert rows(both, 1) == published
    assert rows(both)["serper"] == ["129,920", "0", "0.68", "129.92"]


def test_help_has_examples(capsys) -> None:
    printed = prints(capsys, "--help")
    assert "innersearch cost recipes/zerosearch.toml" in printed
    assert "innersearch cost --run runs/" in printed


def test_a_run_stands_beside_the_forecast(capsys) -> None:
    """Its own recipe by default: 64,960 trajectories of 1 search."""
    run = web_run()
    printed = prints(capsys, ZEROSEARCH, "--run", str(run), "--searches-per-trajectory", "1")
    assert "run: 3 searches, rollouts 36.0 s" in printed
    cells = table(printed)
    assert cells[0] == list(RUN_HEADS)
    assert cells[1] == ["serper", "3", "1", "10", "0", "1.00", "0.01", "< 0.01", "counted"]
    assert cells[2][:-1] == ["serper", "64,960", "–", "–", "0", "–", "0.34", "64.96"]
    assert [row[0] for row in cells[3:5]] == ["self", "simulated:3B"]
    write_json(run / "recipe.json", {"name": "short", "trainer": {"steps": 1, "prompts_per_step": 16}})
    own = prints(capsys, "--run", str(run))
    assert own.startswith("short: 1 steps of 16 questions × 5 trajectories × 2 searches = 160 searches")
    assert table(own)[1] == cells[1]


def test_real_figures_of_each_tier() -> None:
    """Of a gate's run: 4 own words are 5.4 tokens. A simulator read 109.35 tokens and wrote 2.7."""
    own = call("a b c d", engine="", source="self_search", latency_s=0.0)
    run = write_run("gate", [own, call("a b", engine="simulated", source="simulator")], [own], steps=())
    self_row, simulated = counted_searches(run)
    assert (self_row.cost.tier, self_row.cost.searches, self_row.cost.calls) == ("self", 2, 0)
    assert (self_row.cost.tokens, self_row.words, self_row.latency_s) == (11, 8, None)
    assert (self_row.paid, self_row.cost.seconds) == (True, None)
    assert (simulated.cost.tier, simulated.cost.searches, simulated.cost.tokens) == ("simulated", 1, 112)
    assert (simulated.latency_s, simulated.paid) == (0.5, False)
    [web] = counted_searches(web_run())
    assert (web.cost.calls, web.cost.usd, web.cost.seconds) == (4, pytest.approx(0.004), 36.0)


def test_tokens_that_were_rolled_back_are_the_policy_s() -> None:
    drafted = call("one two", decision={"rule": "gate", "real": True, "own_tokens": 12})
    kept = call("five six", engine="", source="self_search", decision={"rule": "gate", "own_tokens": 0})
    found = {row.cost.tier: row for row in counted_searches(write_run("run", [drafted], [kept]))}
    assert found["self"].cost.tokens == 12 + round(2 * 1.35)
    assert (found["self"].cost.searches, found["serper"].cost.searches) == (1, 1)
    assert found["serper"].cost.tokens == 0
    [only] = [row for row in counted_searches(write_run("all", [drafted])) if row.cost.tier == "self"]
    assert (only.cost.searches, only.cost.tokens, only.latency_s) == (0, 12, None)


def test_money_that_nobody_counted_is_unknown(capsys) -> None:
    run = write_run("local", [call("a", engine="bm25", source="retriever")])
    assert table(prints(capsys, ZEROSEARCH, "--run", str(run)))[1] == [
        *("bm25", "1", "0", "1", "0", "0.50", "0.01", "–", "counted")
    ]


def test_a_run_without_searches(capsys) -> None:
    printed = prints(capsys, ZEROSEARCH, "--run", str(write_run("mute", [])))
    assert "mute: 0 searches" in printed
    assert table(printed)[1][0] == "self"


def test_the_report_compares_as_many_searches_with_other_tiers() -> None:
    """3 searches of 5 words, the mean of the two answered: the policy writes 3 × 5 × 1.35 tokens."""
    run = web_run()
    found = {row[0]: row for row in report_rows(run, STEPS)}
    assert list(found) == [
        *("serper", "self", "simulated:3B", "simulated:7B", "simulated:14B", "serpapi", "tavily")
    ]
    assert found["serper"] == ["serper", "3", "1", "10", "0", "1.00", "0.01", "< 0.01", "counted"]
    assert found["self"][1:-1] == ["3", "–", "–", "20", "–", "–", "0.00"]
    assert found["simulated:7B"][4] == "348"
    assert found["serpapi"][7] == "0.04"


def test_the_report_has_the_section_only_where_an_engine_was_asked() -> None:
    own = call("a", engine="", source="self_search")
    assert report_rows(write_run("own", [own]), [{"search/calls": 1.0}]) == []
    (web_run() / "trajectories.jsonl").unlink()
    assert report_rows(Path("run"), STEPS) == []


def test_the_section_stands_in_the_page() -> None:
    one = {"reward/mean": 0.5, "reward/em": 0.5, "reward/format": 1.0, "reward/stderr": 0.1}
    more = {"search/calls": 1.5, "policy/entropy": 0.1, "policy/kl": 0.01}
    run = web_run()
    lines = [json.dumps(step | one | more) + "\n" for step in STEPS]
    (run / "metrics.jsonl").write_text("".join(lines))
    # The browser of trajectories wants whole ones; these belong to a step that it does not show.
    text = (run / "trajectories.jsonl").read_text().replace('"step": 1', '"step": 9')
    (run / "trajectories.jsonl").write_text(text)
    page = write_report(run).read_text()
    section = page.split("Cost of searches</h2>")[1].split("</table>")[0]
    assert "<td>serper</td><td>3</td><td>1</td><td>10</td>" in section
    assert "<td>serpapi</td>" in section
    (run / "metrics.jsonl").write_text(json.dumps({"step": 1} | one | more) + "\n")
    assert "Cost of searches" not in write_report(run).read_text()


@pytest.mark.parametrize(
    ("arguments", "message", "status"),
    [
        ((), "give a recipe, --run DIR or --published", 1),
        (("nowhere.toml",), "no recipe at nowhere.toml; recipes are .toml files", 1),
        (("--run", "nowhere"), "no recipe.json in nowhere", 1),
        ((ZEROSEARCH, "--run", "nowhere"), "no trajectories.jsonl in nowhere", 1),
        ((ZEROSEARCH, "--searches-per-trajectory", "-1"), "searches-per-trajectory", 2),
        ((ZEROSEARCH, "--gpus", "-1"), "Must be >= 0", 2),
        ((ZEROSEARCH, "--usd-hour", "-1"), "Must be >= 0", 2),
        ((ZEROSEARCH, "--hours", "-1"), "Must be >= 0", 2),
        ((ZEROSEARCH, "--hours", "inf"), "run_s inf is impossible", 1),
        ((ZEROSEARCH, "--billions", "-1"), "billions -1.0 is impossible", 1),
        ((ZEROSEARCH, "--billions", "7", "--measured", "-5"), "measured -5.0 is impossible", 1),
        ((ZEROSEARCH, "--measured", "5"), "name its size with one --billions", 1),
        ((ZEROSEARCH, "--gpus", "0"), "give its measured tokens per second", 1),
    ],
)
def test_impossible_requests(capsys, arguments: tuple[str, ...], message: str, status: int) -> None:
    assert message in fails(capsys, "cost", *arguments, status=status)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps = ", "my.toml is no TOML"),
        ("[trainer]\nstepz = 3", "unknown setting trainer.stepz; did you mean 'steps'?"),
        ("serch = 1", "unknown setting serch; did you mean 'search'?"),
        ("[trainer]\nsteps = -3", "trainer.steps: Input should be greater than or equal to 1, given -3"),
        ("[trainer]\nmicro_batch = 7", "micro_batch 7 does not divide"),
        ("[search.simulator]\nprompt = 'simulater'", "unknown prompt 'simulater"),
    ],
)
def test_recipes_that_cannot_be_read(capsys, text: str, message: str) -> None:
    Path("my.toml").write_text(text)
    assert message in fails(capsys, "cost", "my.toml")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "run/trajectories.jsonl, line 1 is no JSON"),
        ("[]", "run/trajectories.jsonl, line 1 is no JSON object"),
        ('{"step": 1}', "run is damaged: line 1 of trajectories.jsonl has no calls"),
        ('{"calls": [{"engine": "serper"}]}', "line 1 of trajectories.jsonl has no calls.0.source"),
    ],
)
def test_damaged_trajectories(line: str, said: str) -> None:
    run = web_run()
    (run / "trajectories.jsonl").write_text(line + "\n")
    with pytest.raises((RunError, DataError), match=said):
        counted_searches(run)


def test_damaged_metrics_budget_and_recipe(capsys) -> None:
    run = web_run()
    (run / "metrics.jsonl").write_text('{"time/rollout_s": "long"}\n')
    with pytest.raises(RunError, match=r"line 1 of metrics\.jsonl has an impossible time"):
        counted_searches(run)
    (run / "budget.json").write_text('{"calls": -4}')
    with pytest.raises(SearchError, match="holds no budget"):
        counted_searches(run)
    (run / "recipe.json").write_text("[1]")
    assert "recipe.json: recipe: Input should be a valid dictionary" in fails(
        capsys, "cost", "--run", "run"
    )
    (run / "recipe.json").write_text("{")
    assert "recipe.json is no JSON" in fails(capsys, "cost", "--run", "run")
