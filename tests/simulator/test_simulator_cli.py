"""A simulator is made, measured, trained against and reported, as a user types it."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from innersearch.cli import main
from innersearch.config import SimulatorSettings
from innersearch.policy.loading import load_model, load_tokenizer
from innersearch.simulator.pairs import (
    Pair,
    balanced,
    label,
    read_pairs,
    split,
    write_pairs,
    written_pairs,
)
from innersearch.stored import read_json, read_lines
from innersearch.train import sft
from innersearch.types import Document, Question, Source
from innersearch.world_1.bundled import BUNDLED
from innersearch.world_1.encyclopedia import Encyclopedia
from tests.cli.test_cli import fails
from tests.policy.test_real_models import CHATML
from tests.search_servers import Answer, LocalServer

GROUP = "one_hop_common"
SOURCE = ("--data", "world-1:validation", "--groups", GROUP, "--engine", "world-1")
SMALL = ("--trainer.prompts-per-step", "2", "--trainer.group-size", "4", "--trainer.micro-batch", "8")
PATIENT = ("--search.max-error-rate", "1")
"""A simulator that is hardly trained often writes nothing."""


def works(*arguments: str) -> None:
    assert main(arguments) == 0


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with pairs and a simulator, hardly trained."""
    folder = tmp_path_factory.mktemp("simulator")
    pairs = str(folder / "pairs.jsonl")
    works("simulator", "collect", "world-1", *SOURCE, "--samples", "1", "--output", pairs)
    few = ("--epochs", "1", "--max-pairs", "64", "--batch", "16")
    works("simulator", "train", "world-1", pairs, *few, "--output", str(folder / "simulator"))
    return folder


def test_pairs_are_pages_of_the_real_engine_labelled_by_the_rule(made: Path) -> None:
    pairs = list(read_pairs(made / "pairs.jsonl"))
    documents = {d.text for d in Encyclopedia.generate(0).documents()}
    by_label = {name: [p for p in pairs if p.label == name] for name in ("useful", "noisy", "")}
    assert all(len(members) > 20 for members in by_label.values())
    assert all(d.text in documents for pair in pairs for d in pair.documents)
    for pair in by_label["useful"]:
        assert pair.documents[0].id.partition("/")[0] in pair.question.metadata["documents"]
    for pair in by_label["noisy"]:
        assert not any(gold in pair.documents[0].text for gold in pair.question.golden_answers)
    assert {pair.page for pair in pairs} == set(range(8))


def test_simulators_are_measured_on_questions_they_were_not_trained_on(made: Path, capsys) -> None:
    training, measuring = split(read_pairs(made / "pairs.jsonl"), 0.2)
    held_out = list(read_pairs(made / "simulator" / "held-out.jsonl"))
    assert held_out == measuring
    assert not {p.question.id for p in held_out} & {p.question.id for p in training}
    short = ("--max-new-tokens", "48", "--max-queries", "12")
    works("simulator", "measure", str(made / "simulator"), *short)
    figures = read_json(made / "simulator" / "fidelity.json")
    assert figures["queries"] == 12
    assert "useful holds gold" in capsys.readouterr().out
    prompted = ("--mode", "prompted", "--prompt", "simulator-world", "--output", str(made / "f.json"))
    works("simulator", "measure", "world-1", str(made / "pairs.jsonl"), *short, *prompted)
    assert read_json(made / "f.json")["words_simulated"] != figures["words_simulated"]


@pytest.mark.usefixtures("in_empty_folder")
def test_a_policy_is_trained_against_a_simulator_with_a_curriculum(made: Path) -> None:
    engine = ("--search.engine", f"simulated:{made / 'simulator'}", "--search.noise.start", "0.2")
    noise = ("--search.noise.end", "0.8", "--search.noise.curve", "linear", "--trainer.steps", "3")
    first = ("--model", "world-1", "--data", "world-1:train", "--empty-groups")
    works("train", "recipes/zerosearch-world.toml", *first, *SMALL, *PATIENT, *engine, *noise)
    run = Path("runs/zerosearch-world")
    metrics = list(read_lines(run / "metrics.jsonl"))
    assert [m["search/noise_wanted"] for m in metrics] == pytest.approx([0.4, 0.6, 0.8])
    assert all(0 <= m["search/noise"] <= 1 for m in metrics)
    records = list(read_lines(run / "trajectories.jsonl"))
    calls = [call for record in records for call in record["calls"]]
    assert {call["label"] for call in calls} == {"useful", "noisy"}
    assert {call["source"] for call in calls} == {Source.SIMULATOR}
    for record in records:
        for segment in record["segments"]:
            for span in segment["spans"]:
                if span["source"] == Source.SIMULATOR:
                    assert not any(segment["loss_mask"][span["start"] : span["end"]])
                    assert not any(segment["sampled_mask"][span["start"] : span["end"]])
        assert record["components"]["f1"] == pytest.approx(record["reward"])
    page = (run / "report.html").read_text()
    assert "Noise on purpose" in page
    works("eval", str(run / "model"), *SOURCE[:4], "--search", f"simulated:{made / 'simulator'}")
    works("eval", "world-1", *SOURCE[:4], "--search", "world-1", "--noise", "0.5", "--output", "noisy")
    works("eval", "world-1", *SOURCE[:4], "--search", "world-1", "--output", "clean")
    noisy, clean = (read_json(Path(name, "summary.json"))["em"][GROUP] for name in ("noisy", "clean"))
    assert noisy["high"] < clean["low"]


def test_only_the_documents_carry_loss_and_equal_numbers_of_both_labels(made: Path) -> None:
    pairs = balanced(list(read_pairs(made / "pairs.jsonl")), 0)
    labels = [pair.label for pair in pairs]
    assert labels.count("useful") == labels.count("noisy") == len(labels) // 2
    tokenizer = load_tokenizer(str(BUNDLED))
    settings = SimulatorSettings(prompt="simulator-world")
    for pair in pairs[:50]:
        row = sft.row(tokenizer, pair, settings, numbered=False)
        trained = [token for token in row["labels"] if token >= 0]
        assert tokenizer.decode(trained).strip() == pair.documents[0].text + tokenizer.eos_token
        assert row["input_ids"][-len(trained) :] == trained


def test_low_rank_adapters_are_merged_and_change_the_model(made: Path, tmp_path: Path) -> None:
    few = (
        "--epochs",
        "1",
        "--max-pairs",
        "32",
        "--batch",
        "16",
        "--lora",
        "4",
        "--learning-rate",
        "1e-2",
        "--optimizer",
        "adamw",
    )
    output = ("--output", str(tmp_path / "s"))
    works("simulator", "train", "world-1", str(made / "pairs.jsonl"), *few, *output)
    before, after = load_model(str(BUNDLED)), load_model(str(tmp_path / "s"))
    changed = {
        name
        for (name, one), other in zip(before.named_parameters(), after.parameters(), strict=True)
        if not torch.equal(one, other)
    }
    assert changed
    assert all("proj" in name for name in changed)
    assert not list((tmp_path / "s").glob("adapter*"))


def test_labels_of_a_judge(made: Path, tmp_path: Path, capsys) -> None:
    """A judge that says yes where the name in the query stands on the page, and else nothing clear."""

    def verdict(asked) -> Answer:
        text = asked.values["messages"][0]["content"]
        head = text.partition("Query: ")[2].split("\n")[0].split()[-1]
        said = "Yes." if head in text.partition("Documents:")[2] else "perhaps"
        return Answer({"choices": [{"message": {"content": said}, "finish_reason": "stop"}]})

    lines = (made / "pairs.jsonl").read_text().splitlines(keepends=True)[:40]
    (tmp_path / "few.jsonl").write_text("".join(lines))
    with LocalServer(verdict) as server:
        judge = ("--judge", f"{server.url}#a-model", "--output", str(tmp_path / "judged.jsonl"))
        works("simulator", "label", str(tmp_path / "few.jsonl"), *judge)
    judged = list(read_pairs(tmp_path / "judged.jsonl"))
    assert len(judged) == 40
    assert {pair.label for pair in judged} == {"useful", ""}
    assert "unlabelled" in capsys.readouterr().out
    again = ("--output", str(tmp_path / "judged.jsonl"))
    assert "--resume" in fails(capsys, "simulator", "label", str(tmp_path / "few.jsonl"), *again)


def test_what_a_kill_left_of_a_question_is_collected_again(in_empty_folder: None, capsys) -> None:
    few = ("--max-questions", "4", "--samples", "1")
    bare = ("simulator", "collect", "world-1", *few, "--output", "p.jsonl")
    command = (*bare, *SOURCE, "--pages", "3")
    works(*command)
    whole = Path("p.jsonl").read_bytes()
    Path("p.jsonl").write_bytes(b"".join(whole.splitlines(keepends=True)[:4]))
    works(*command, "--resume")
    assert Path("p.jsonl").read_bytes() == whole
    for other in (("--pages", "2"), ("--pages", "3", "--seed", "1"), ("--pages", "3", "-k", "2")):
        said = fails(capsys, *bare, *SOURCE, *other, "--resume")
        assert "cannot go on with p.jsonl" in said
        assert "changed" in said
    other = ("--data", "world-1:test", "--pages", "3", "--engine", "world-1")
    assert "is not among those that are asked" in fails(capsys, *bare, *other, "--resume")
    assert Path("p.jsonl").read_bytes() == whole


def test_labels_after_a_kill_are_those_without_one(made: Path, in_empty_folder: None, capsys) -> None:
    lines = (made / "pairs.jsonl").read_text().splitlines(keepends=True)[:20]
    Path("p.jsonl").write_text("".join(lines))
    command = ("simulator", "label", "p.jsonl", "--output", "l.jsonl")
    works(*command)
    whole = Path("l.jsonl").read_bytes()
    for kept in (1, 5, 8, 20):
        Path("l.jsonl").write_bytes(b"".join(whole.splitlines(keepends=True)[:kept]) + b'{"torn')
        works(*command, "--resume")
        assert Path("l.jsonl").read_bytes() == whole
    Path("p.jsonl").write_text("".join(reversed(lines)))
    assert "labels of other pairs" in fails(capsys, *command, "--resume")
    judge = ("--judge", "http://127.0.0.1:9#a-model")
    assert "the judge changed" in fails(capsys, *command, *judge, "--resume")
    assert Path("l.jsonl").read_bytes() == whole


def test_a_judge_that_gives_no_verdict_stops_the_labelling(made: Path, in_empty_folder: None, capsys):
    def refuses(asked) -> Answer:
        return Answer({"error": "no such model"}, status=404)

    with LocalServer(refuses) as server:
        judge = ("--judge", f"{server.url}#a-model", "--output", "judged.jsonl")
        said = fails(capsys, "simulator", "label", str(made / "pairs.jsonl"), *judge)
    assert "the judge gave no verdict" in said
    assert not Path("judged.jsonl").exists()


def test_a_rule_that_is_off_target_labels_nothing() -> None:
    question = Question("q", "Who taught A?", ("B",))
    on = [
        Pair(question, "who taught A", (Document("1", "", text),), n)
        for n, text in enumerate(("B", "C"))
    ]
    off = [
        Pair(question, "who taught D", (Document("1", "", text),), n)
        for n, text in enumerate(("C", "B"))
    ]
    assert [pair.label for pair in label([*on, *off])] == ["useful", "noisy", "", ""]


def test_collecting_goes_on_after_a_kill(tmp_path: Path) -> None:
    output = tmp_path / "pairs.jsonl"
    arguments = (
        "simulator",
        "collect",
        "world-1",
        "--data",
        "world-1:validation",
        "--engine",
        "world-1",
    )
    arguments += ("--max-questions", "300", "--samples", "1")
    command = [sys.executable, "-m", "innersearch", *arguments, "--output", str(output)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not output.exists() or output.stat().st_size < 1000:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    begun = list(written_pairs(output))
    works(*arguments, "--output", str(output), "--resume")
    pairs = list(read_pairs(output))
    assert pairs[: len(begun)] == begun
    assert len({pair.question.id for pair in pairs}) > 270
    assert len({(p.question.id, p.query, p.page) for p in pairs}) == len(pairs)


@pytest.mark.usefixtures("in_empty_folder")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("measure", "nowhere", "x.jsonl"), "no simulator at nowhere"),
        (("measure", "world-1", "x.jsonl"), "was not trained as a simulator"),
        (
            ("measure", "world-1", "x.jsonl", "--mode", "prompted", "--prompt", "simulator-world"),
            "no pairs at",
        ),
        (("train", "world-1", "x.jsonl", "--output", "out"), "no pairs at x.jsonl"),
        (("train", "world-1", "bad.jsonl", "--output", "out"), "bad.jsonl, row 1 is no pair"),
        (("train", "world-1", "empty.jsonl", "--output", "out"), "both labels are needed"),
        (("label", "x.jsonl", "--output", "out.jsonl"), "no pairs at x.jsonl"),
        (("collect", "world-1", *SOURCE[:5], "wrld", "--output", "p.jsonl"), "did you mean 'world'"),
    ],
)
def test_bad_input(capsys, arguments, message: str) -> None:
    Path("bad.jsonl").write_text('{"question": 3}\n')
    Path("empty.jsonl").write_text("")
    assert message in fails(capsys, "simulator", *arguments)


@pytest.mark.usefixtures("in_empty_folder")
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (("--search.engine", "simulated:runs/none"), "innersearch simulator collect"),
        (("--search.engine", "simulated:http://127.0.0.1:1"), "lacks its model"),
        (("--search.engine", "simulated:x", "--search.cache", "c.sqlite"), "neither fused nor cached"),
    ],
)
def test_recipes_that_cannot_run(capsys, setting, message: str) -> None:
    assert message in fails(capsys, "train", "recipes/zerosearch-world.toml", *SMALL, *setting)


@pytest.mark.usefixtures("in_empty_folder")
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (("--search.noise.end", "1.5"), "less than or equal to 1"),
        (("--search.noise.start", "0.9"), "start 0.9 is above end 0.25"),
    ],
)
def test_noise_out_of_range(capsys, setting, message: str) -> None:
    assert message in fails(capsys, "train", "recipes/zerosearch-world.toml", *setting, status=2)


def test_competence_is_remembered_over_a_resume(made: Path, tmp_path: Path) -> None:
    engine = ("--search.engine", f"simulated:{made / 'simulator'}", "--search.noise.curve", "competence")
    more = ("--trainer.steps", "4", "--trainer.save-every", "2", "--search.noise.end", "0.9")
    command = ("train", "recipes/zerosearch-world.toml", *SMALL, *PATIENT, *engine, *more)
    works(*command, "--output", str(tmp_path / "whole"))
    run = [sys.executable, "-m", "innersearch", *command, "--output", str(tmp_path / "cut")]
    process = subprocess.Popen(run, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while len(list(read_lines(tmp_path / "cut" / "metrics.jsonl"))) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    works(*command, "--output", str(tmp_path / "cut"), "--resume")

    def curve(name: str) -> list[tuple[float, float]]:
        records = read_lines(tmp_path / name / "metrics.jsonl")
        return [(record["search/noise_wanted"], record["reward/em"]) for record in records]

    assert curve("cut") == curve("whole")
    assert curve("whole")[0][0] == 0


@pytest.fixture
def small(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    """A model directory with random weights and a chat template."""
    torch.manual_seed(0)
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = CHATML
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=2048,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("tokenizer", ["byte_bpe"], indirect=True)
def test_a_simulator_writes_the_documents_that_it_learned_by_heart(small: Path, tmp_path: Path) -> None:
    """So the chat template and the prompt are the same in training and in use."""
    golds = ("Lima", "Oslo")
    pairs = [
        Pair(
            Question(gold, f"Which city is {number}?", (gold,)),
            f"city {number}",
            tuple(Document(str(n), f"Page {n}", f"{said} is told {n}.") for n in range(2)),
            label=name,
        )
        for number, gold in enumerate(golds)
        for name, said in (("useful", gold), ("noisy", "Nothing"))
    ]
    write_pairs(tmp_path / "pairs.jsonl", pairs)
    often = "--epochs 120 --batch 4 --learning-rate 1e-2 --held-out 0".split()
    output, file = tmp_path / "simulator", str(tmp_path / "pairs.jsonl")
    works("simulator", "train", str(small), file, *often, "--output", str(output))
    sharp = "--temperature 0.01 --max-new-tokens 80".split()
    works("simulator", "measure", str(output), file, *sharp)
    figures = read_json(output / "fidelity.json")
    assert figures["useful_holds_gold"]["value"] == figures["noisy_lacks_gold"]["value"] == 1.0
    assert figures["overlap"] == 1.0
    assert figures["mended"]["value"] == 0.0
