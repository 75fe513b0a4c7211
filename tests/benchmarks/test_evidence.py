"""The evidence: verdicts, tables and complaints, from files of which the truth is known."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from benchmarks.evidence.claims import demand_claims, read_claims
from benchmarks.evidence.commands import Commands
from benchmarks.evidence.jobs import Job, Step, run_all
from benchmarks.evidence.packing import QUESTIONS, read_packed, write_packed
from benchmarks.evidence.page import Evidence, with_blocks
from benchmarks.evidence.plan import HERE, ROOT, read_plan
from benchmarks.evidence.runner import chosen, jobs
from benchmarks.evidence.stored import read_results
from benchmarks.evidence.tables import Tables, cell
from benchmarks.evidence.verdicts import judge

from innersearch.errors import ConfigError, DataError
from innersearch.records import write_json
from innersearch.stored import read_json
from tests.benchmarks.evidence_files import CONTROL, GAIN, claim, simulated, write_plan, write_results

RATES = {"start": 0.3, "ssrl": 0.6, "other": 0.6}
LIST = (
    claim("gain", GAIN, "above", 0, "each_world = true")
    + claim("no gain", GAIN, "below", 0)
    + claim("as good", CONTROL, "above", 5)
    + claim("known", ["1 ssrl known:often", "-1 start known:often"], "within", 5)
)


def verdicts(folder: Path, rates: dict[str, float], claims: str = LIST, **how) -> dict:
    plan = write_plan(folder, claims)
    write_results(plan, rates, **how)
    return {v.claim.name: v for v in judge(read_results(plan), read_claims(plan.claims))}


def test_claims_are_supported_contradicted_or_undecided(tmp_path: Path) -> None:
    found = verdicts(tmp_path, RATES)
    named = {name: verdict.verdict for name, verdict in found.items()}
    assert named == {
        "gain": "supported",
        "no gain": "contradicted",
        "as good": "undecided",
        "known": "supported",
    }
    gain = found["gain"]
    assert gain.found.interval[0] < 0.3 < gain.found.interval[1]
    assert gain.found.interval[0] > 0.2
    assert [name for name, _ in gain.worlds] == ["1", "2", "3"]
    assert gain.adjusted >= gain.p


def test_claims_without_runs_are_named_and_still_count_for_holm(tmp_path: Path) -> None:
    found = verdicts(tmp_path, {"start": 0.3, "ssrl": 0.6})
    assert found["as good"].verdict == "not run"
    assert found["as good"].lacking == ("other",)
    assert found["as good"].p == 1.0


def test_a_gain_in_two_of_three_worlds_is_none_in_each(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, LIST)
    write_results(plan, RATES, by_run=0.0)
    start, spoilt = tmp_path / "results/3/start.jsonl.xz", tmp_path / "results/3"
    for seed in range(3):
        write_packed(spoilt / f"ssrl-{seed}.jsonl.xz", read_packed(start))
    found = {v.claim.name: v for v in judge(read_results(plan), read_claims(plan.claims))}
    assert found["gain"].verdict != "supported"


def test_false_verdicts_are_rare_and_intervals_hold_the_truth(tmp_path: Path) -> None:
    """No row is better than another; runs differ by more than questions do."""
    text = claim("gain", GAIN, "above", 0) + claim("control", CONTROL, "above", 0)
    plan = write_plan(tmp_path, text)
    claims = read_claims(plan.claims)
    wrong, held = 0, {"gain": 0, "control": 0}
    for seed in range(150):
        found = judge(simulated(plan, 0.5, seed, 0.05, 12), claims)
        wrong += any(verdict.verdict != "undecided" for verdict in found)
        for verdict in found:
            low, high = verdict.found.interval
            held[verdict.claim.name] += low <= 0 <= high
    assert wrong <= 12
    assert min(held.values()) >= 139


def test_rows_with_the_same_answers_differ_by_nothing_and_are_not_certain(tmp_path: Path) -> None:
    found = verdicts(tmp_path, dict.fromkeys(RATES, 1.0), by_run=0.0)
    low, high = found["gain"].found.interval
    assert low < 0 < high
    assert found["gain"].verdict == "undecided"


def test_cells_are_medians_with_intervals_of_shares(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, LIST)
    write_results(plan, RATES | {"other": 1.0}, by_run=0.0)
    results, claims = read_results(plan), read_claims(plan.claims)
    values = []
    for run in results.runs.values():
        if run.run.row.name == "ssrl":
            values.append(100 * run.evaluations["self"].columns["greedy"].mean())
    shown = cell(results, claims, "ssrl", "greedy")
    assert shown.startswith(f"{np.median(values):.1f} [")
    low, high = map(float, re.search(r"\[(.*), (.*)\]", shown).groups())
    assert low < 60 < high < 70
    assert re.fullmatch(r"100\.0 \[9\d\.\d, 100\.0\]", cell(results, claims, "other", "greedy"))
    assert cell(results, claims, "ssrl", "searches") == "1.50"
    assert cell(results, claims, "ssrl", "greedy of all by engine") == "–"
    passed = [r.columns["greedy"][:4].mean() for r in results.runs["1/start"].evaluations.values()]
    assert results.runs["1/start"].evaluations["self"].measure("pass@4")[:4].mean() == 1.0
    assert 0 <= passed[0] <= 1


def test_the_rank_correlation_with_depth(tmp_path: Path) -> None:
    """Searches follow depth exactly in these files."""
    text = claim("rho", ["1 ssrl searches"], "above", 0.8, 'statistic = "rank correlation"')
    found = verdicts(tmp_path, {"ssrl": 0.5}, text)
    assert found["rho"].found.value == pytest.approx(1.0)
    assert found["rho"].verdict == "supported"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "1/ssrl-0.jsonl.xz").unlink(), "there is no per-question file"),
        (lambda f: (f / "1/ssrl-0.jsonl.xz").write_bytes(b"x"), "is damaged"),
        (lambda f: (f / "1/ssrl-0.json").write_text("{"), "1/ssrl-0.json"),
        (lambda f: _change(f / "1/ssrl-0.json", "format", 0), "has format 0, not 1"),
        (lambda f: _change(f / "1/ssrl-0.json", "world_version", 7), "is of version 7 of the world"),
        (lambda f: _change(f / "1/ssrl-0.json", "world", "other"), "is of world other, and not of w1"),
        (lambda f: (f / "1" / QUESTIONS).write_bytes(b"x"), "questions.jsonl.xz is damaged"),
        (lambda f: _change(f / "1/world.json", "fingerprint", "new"), "is of world w1, and not of new"),
        (lambda f: write_json(f / "1/extra-0.json", {}), "belongs to no run of the plan"),
    ],
)
def test_what_cannot_be_used_is_one_clear_line(tmp_path: Path, spoil, said: str) -> None:
    plan = write_plan(tmp_path, LIST)
    write_results(plan, RATES)
    assert not read_results(plan).problems
    spoil(plan.results)
    results = read_results(plan)
    about = [line for line in results.problems if said in line]
    assert about, results.problems
    assert all("\n" not in line for line in results.problems)
    assert any(v.verdict != "not run" for v in judge(results, read_claims(plan.claims)))


def _change(path: Path, key: str, value: object) -> None:
    write_json(path, read_json(path) | {key: value})


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        (claim("a", [], "above", 0), "claim a has no test"),
        (claim("a", ["ssrl greedy"], "above", 0), "'ssrl greedy' is no term"),
        (claim("a", ["1 ssrl greedy of x"], "above", 0), "no set of questions 'x'"),
        (claim("a", ["1 ssrl luck"], "above", 0), "no measure 'luck'"),
        (claim("a", ["1 ssrl greedy"], "within", 0), "within needs a margin above 0"),
        (claim("a", ["1 ssrl greedy"], "near", 0), "holds"),
        (claim("a", GAIN, "above", 0) * 2, "a name stands twice"),
        (claim("a", ["1 none greedy"], "above", 0), "the plan has no row 'none'"),
        (claim("a", ["1 ssrl greedy by engine"], "above", 0), "has no evaluation 'engine'"),
        (claim("a", GAIN, "above", 0), "no claim is about other"),
    ],
)
def test_claims_without_a_test_and_rows_without_a_claim_are_refused(
    tmp_path: Path, claims: str, said: str
) -> None:
    def read() -> None:
        plan = write_plan(tmp_path, claims)
        demand_claims(plan, read_claims(plan.claims))

    with pytest.raises(ConfigError) as caught:
        read()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_test_that_was_changed_after_the_runs_is_shown(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, LIST)
    write_results(plan, RATES)
    (tmp_path / "claims.toml").write_text(
        (tmp_path / "claims.toml").read_text().replace("margin = 5", "margin = 4")
    )
    found = {v.claim.name: v for v in judge(read_results(plan), read_claims(plan.claims))}
    assert not found["gain"].changed
    assert "1/other-0" in found["as good"].changed


def test_the_page_says_everything_and_is_the_same_again(tmp_path: Path) -> None:
    text = LIST + "".join(
        f'\n[[set]]\nname = "depth_{d}"\ntitle = "depth {d}"\nwhere = {{ depth = [{d}] }}\n'
        for d in (1, 2, 3)
    )
    plan = write_plan(tmp_path, text)
    write_results(plan, {"start": 0.3, "ssrl": 0.6})
    (tmp_path / "tables.toml").write_text(
        '[[table]]\nname = "main"\ntitle = "EM"\ncolumns = [{ title = "all", value = "greedy" }]\n'
    )
    evidence, again = (Evidence.read(tmp_path / "plan.toml", tmp_path / "tables.toml") for _ in range(2))
    assert evidence.files == again.files
    page = evidence.files["evidence.md"]
    for said in (
        *("**supported**", "**contradicted**", "**not run**", "12 of 15 runs", "1/other-0"),
        *("a CPU, 2 processors: 12 runs", "evidence-depth.svg", "I expect it. *supported*"),
    ):
        assert said in page, said
    assert "{{" not in page
    assert "SSRL" in evidence.files["evidence-depth.svg"]
    document = "a\n<!-- evidence: table-main -->\nold 99.9\n<!-- end of evidence -->\nb\n"
    written = with_blocks(document, evidence)
    assert "99.9" not in written
    assert written.startswith("a\n<!-- evidence: table-main -->\n| %")
    assert with_blocks(written, evidence) == written
    with pytest.raises(ConfigError, match="no block of evidence 'x'"):
        with_blocks(document.replace("table-main", "x"), evidence)


def test_packed_files_are_whole_and_the_same_bytes(tmp_path: Path) -> None:
    records = [{"id": "a", "em": 1}, {"id": "ä", "em": 0}]
    for name in ("one", "two"):
        write_packed(tmp_path / name, records)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert list(read_packed(tmp_path / "one")) == records
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_the_plan_of_the_repository_is_whole() -> None:
    plan = read_plan(HERE / "plan.toml")
    claims = read_claims(plan.claims)
    demand_claims(plan, claims)
    assert len(plan.world) == 3
    assert {row.name for row in plan.row if row.main} >= {"start", "ssrl", "rft", "bm25", "direct"}
    assert all(row.seeds == (0, 1, 2) for row in plan.row if row.main and row.recipe)
    commands = Commands(plan)
    for run in plan.runs():
        given = commands.probe(run)
        given += commands.evaluate(run, plan.evaluation[0]) if not run.row.bias else []
        given += commands.train(run) if run.seed is not None else []
        assert not [argument for argument in given if "{" in argument]
    assert all((ROOT / row.recipe).is_file() for row in plan.row if row.recipe)
    assert len(chosen(plan, ["ssrl"])) == 9
    assert [run.name for run in chosen(plan, ["2/ssrl-1"])] == ["2/ssrl-1"]
    with pytest.raises(ConfigError, match="no run is named 'x'"):
        chosen(plan, ["x"])
    evidence = Evidence.read()
    assert isinstance(evidence.tables, Tables)


def test_jobs_wait_for_what_they_need_and_a_failure_stops_nothing_else(tmp_path: Path) -> None:
    done: list[str] = []
    said: list[str] = []

    def job(name: str, *needs: str, fails: bool = False) -> Job:
        def finish() -> None:
            if fails:
                raise ConfigError(f"{name} is\nbroken")
            done.append(name)

        return Job(name, tmp_path / name, [], frozenset(needs), finish, kind="job")

    listed = [job("b", "a"), job("a"), job("d", "c"), job("c", fails=True), job("e")]
    failed = run_all(listed, 2, said.append)
    assert set(done) == {"a", "b", "e"}
    assert done.index("a") < done.index("b")
    assert failed == {"c": "c is broken", "d": "needs c, which failed"}
    assert json.loads((tmp_path / "c/failed.json").read_text())["said"] == "c is broken"
    assert any("of 5 done" in line and "left" in line for line in said)


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    step = Step("build", ["eval", "nowhere", "--data", "nothing.jsonl", "--output", str(tmp_path / "o")])
    failed = run_all([Job("a", tmp_path / "a", [step])], 1, lambda text: None)
    assert re.match(r"build ended with \d+ and said: innersearch: .*nothing", failed["a"])
    assert not (tmp_path / "a/build.done.json").exists()


def test_what_a_row_needs_is_made_before_it_and_once_a_world(tmp_path: Path) -> None:
    plan = read_plan(HERE / "plan.toml").model_copy(update={"folder": tmp_path / "runs"})
    made = {
        job.name: job for job in jobs(plan, chosen(plan, ["zerosearch-s", "zerosearch-l", "logit-bias"]))
    }
    assert made["2/zerosearch-s-0"].needs == {"world 2", "2/prepared/simulator-s"}
    assert made["2/prepared/simulator-s"].needs == {"world 2", "2/prepared/pairs"}
    assert len(made) == 3 * (1 + 4 + 3)
    [*steps, _probe] = made["1/logit-bias"].steps
    with pytest.raises(DataError, match=r"logit-bias\.json"):
        steps[0].arguments()
    told = [step.arguments for job in made.values() for step in job.steps]
    assert not [part for given in told if not callable(given) for part in given if "{" in part]
