"""A run knows what it is made of by content, goes on with nothing else, and comparisons name it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from innersearch.cli import main
from innersearch.config import SimulatorSettings, TuningSettings
from innersearch.errors import RunError
from innersearch.identity import FILE, demand_same, keep, of_model, of_served, of_tokenizer
from innersearch.policy.loading import load_model, load_tokenizer
from innersearch.records import write_json
from innersearch.routing.gate import save_gate
from innersearch.simulator.loading import open_simulator
from innersearch.simulator.pairs import Pair
from innersearch.stored import read_json, read_lines
from innersearch.train.sft import tune
from innersearch.types import Document, Question
from innersearch.world_1.bundled import BUNDLED
from tests.cli.test_cli import fails
from tests.search.test_search_cli import copy_of_world

pytestmark = pytest.mark.usefixtures("in_empty_folder")

EVAL = ("eval", "model", "--data", "q.jsonl", "--output", "out")
TRAIN = (
    *("train", "recipes/ssrl-world.toml", "--model", "model", "--data", "q.jsonl", "--empty-groups"),
    *("--trainer.steps", "1", "--trainer.prompts-per-step", "2", "--trainer.group-size", "2"),
    *("--trainer.micro-batch", "4", "--sampling.max-new-tokens", "16", "--output", "run"),
)


def write_questions(*texts: str) -> None:
    rows = [{"id": f"q{n}", "question": text, "golden_answers": ["A"]} for n, text in enumerate(texts)]
    Path("q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def other_weights() -> None:
    tensors = load_file("model/model.safetensors")
    tensors["model.norm.weight"] += 0.01
    save_file(tensors, "model/model.safetensors", metadata={"format": "pt"})


def changed(file: str, **values: object) -> Callable[[], None]:
    return lambda: write_json(Path("model") / file, read_json(Path("model") / file) | values)


def other_template() -> None:
    Path("model/chat_template.jinja").write_text("{{ messages[0]['content'] }} ?\n")


def other_tokenizer() -> None:
    content = read_json(Path("model/tokenizer.json"))
    content["normalizer"] = {"type": "Lowercase"}
    write_json(Path("model/tokenizer.json"), content)


CHANGES: dict[str, Callable[[], None]] = {
    "the weights of model changed since": other_weights,
    "the chat template of model changed since": other_template,
    "the tokenizer of model changed since": other_tokenizer,
    "the generation_config.json of model changed since": changed("generation_config.json", top_k=7),
    "the config.json of model changed since": changed("config.json", rms_norm_eps=1e-3),
}


@contextmanager
def kept(*names: str) -> Iterator[None]:
    """Put files and folders back as they were."""
    for name in names:
        (shutil.copytree if Path(name).is_dir() else shutil.copy)(name, f"kept-{name}")
    yield
    for name in names:
        if Path(name).is_dir():
            shutil.rmtree(name)
        else:
            Path(name).unlink()
        Path(f"kept-{name}").rename(name)


def test_an_evaluation_goes_on_with_what_it_began_with_only(capsys, monkeypatch) -> None:
    copy_of_world()
    write_questions("Who taught Nemie?", "Who founded Coltek?")
    assert main(EVAL) == 0
    assert set(read_json(Path("out") / FILE)["made_of"]) >= {"weights", "tokenizer", "prompts"}
    for message, change in CHANGES.items():
        with kept("model"):
            change()
            capsys.readouterr()
            assert message in fails(capsys, *EVAL, "--resume")
    with monkeypatch.context() as patch:
        patch.setattr("innersearch.prompts._parts", lambda name: {"user": ["Do answer: {question}"]})
        assert "the text of the prompt changed since" in fails(capsys, *EVAL, "--resume")
    # A copy is the same model, whatever its times say.
    with kept("model"):
        shutil.rmtree("model")
        copy_of_world()
        assert main([*EVAL, "--resume"]) == 0


def test_a_model_that_was_moved_is_the_same_and_another_is_not(capsys) -> None:
    copy_of_world()
    write_questions("Who taught Nemie?", "Who founded Coltek?", "Who is it?")
    assert main(EVAL) == 0
    assert main(TRAIN) == 0
    Path("model").rename("moved")
    for command in (EVAL, TRAIN):
        moved = ["moved" if part == "model" else part for part in command]
        assert main([*moved, "--resume"]) == 0
    shutil.copytree("moved", "model")
    other_weights()
    Path("model").rename("other")
    capsys.readouterr()
    for command, message in (
        (EVAL, "was written with other settings, questions or model (model)"),
        (TRAIN, "the weights of other, instead of model, changed since this run began"),
    ):
        other = ["other" if part == "model" else part for part in command]
        assert message in fails(capsys, *other, "--resume")


def test_a_gate_belongs_to_the_weights_it_was_calibrated_for(capsys) -> None:
    copy_of_world()
    write_questions("Who taught Nemie?")
    save_gate(Path("model"), {"signal": "entropy", "threshold": 0.5})
    hybrid = ("--search", "hybrid", "--engine", "world-1")
    assert main([*EVAL, *hybrid]) == 0
    other_weights()
    capsys.readouterr()
    assert "calibrated for other weights" in fails(capsys, *EVAL[:-1], "fresh", *hybrid)
    assert not Path("fresh").exists()


def test_an_evaluation_that_was_begun_before_is_gone_on_with_and_that_is_said(capsys, caplog) -> None:
    copy_of_world()
    write_questions("Who taught Nemie?")
    assert main(EVAL) == 0
    (Path("out") / FILE).unlink()
    settings = read_json(Path("out/settings.json"))
    del settings["dtype"]
    write_json(Path("out/settings.json"), settings)
    assert main([*EVAL, "--resume"]) == 0
    assert "was begun without a note of what it is made of" in caplog.text
    other_weights()
    assert "the weights of model changed" in fails(capsys, *EVAL, "--resume")


def test_comparisons_name_what_differs(capsys) -> None:
    copy_of_world()
    write_questions("Who taught Nemie?", "Who founded Coltek?")
    assert main(EVAL) == 0
    other_weights()
    assert main([*EVAL[:-1], "other"]) == 0
    capsys.readouterr()
    assert main(["compare", "out", "other"]) == 0
    printed = capsys.readouterr().out
    assert "differs: weights: sha256:" in printed
    assert "differs: tokenizer" not in printed


@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["train", "dry"])
def test_a_training_run_goes_on_with_what_it_began_with_only(capsys, dry: tuple[str, ...]) -> None:
    copy_of_world()
    write_questions("Who taught Nemie?", "Who founded Coltek?", "Who is it?")
    assert main(TRAIN) == 0
    resume = (*TRAIN, *dry, "--resume")
    with kept("q.jsonl"):
        write_questions("Who taught Nemie?", "Who is it?", "Who founded Coltek?")
        capsys.readouterr()
        assert "run: the questions changed since this run began" in fails(capsys, *resume)
    with kept("model"):
        other_weights()
        assert "run: the weights of model changed since this run began" in fails(capsys, *resume)
    assert main(resume) == 0


def test_a_simulator_goes_on_with_what_it_began_with_only(tmp_path: Path) -> None:
    question = Question("q", "Who taught Nemie?", ("Bulak",))
    documents = (Document("0", "", "Bulak taught Nemie."),)
    pairs = [Pair(question, "q", documents, label=name) for name in ("useful", "noisy")]
    simulator = SimulatorSettings(prompt="simulator-world")

    def train(pairs: list[Pair], *, resume: bool, **settings: object) -> None:
        model, tokenizer = load_model(str(BUNDLED)), load_tokenizer(str(BUNDLED))
        chosen = TuningSettings(epochs=1, numbered=False, **settings)
        tune(model, tokenizer, pairs, simulator, chosen, tmp_path / "out", resume=resume)

    train(pairs, resume=False)
    with pytest.raises(RunError, match="the settings changed since this training began: batch"):
        train(pairs, resume=True, batch=4)
    other = [Pair(question, "other", documents, label=pair.label) for pair in pairs]
    with pytest.raises(RunError, match="the pairs changed since this training began"):
        train(other, resume=True)
    made = [open_simulator(str(tmp_path / "out"), simulator).identity["weights"]]
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    tensors["model.norm.weight"] += 0.01
    save_file(tensors, tmp_path / "out" / "model.safetensors", metadata={"format": "pt"})
    assert open_simulator(str(tmp_path / "out"), simulator).identity["weights"] not in made


def test_using_a_tokenizer_does_not_change_it() -> None:
    tokenizer = load_tokenizer(str(BUNDLED))
    before = of_tokenizer(tokenizer)
    tokenizer(["a", "a b"], padding=True, truncation=True, max_length=3)
    assert of_tokenizer(tokenizer) == before


def test_a_model_of_the_hub_is_that_of_its_commit(tmp_path: Path, monkeypatch) -> None:
    commit = tmp_path / "snapshots" / "abc"
    shutil.copytree(BUNDLED, commit)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda name, file: str(commit / file))
    tokenizer = load_tokenizer(str(BUNDLED))
    assert of_model("someone/model", tokenizer) == of_model(str(BUNDLED), tokenizer)


@pytest.mark.parametrize("dtype", ["bfloat16", "stored"])
def test_weights_are_computed_in_the_type_that_is_asked_for(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_of_world()
    tensors = {name: t.to(torch.bfloat16) for name, t in load_file("model/model.safetensors").items()}
    save_file(tensors, "model/model.safetensors", metadata={"format": "pt"})
    changed("config.json", dtype="bfloat16")()
    write_questions("Who taught Nemie?")
    loaded = []
    from innersearch.policy.transformers import TransformersPolicy

    of = TransformersPolicy.of
    monkeypatch.setattr(
        TransformersPolicy,
        "of",
        lambda model, *rest: loaded.append(model.dtype) or of(model, *rest),
    )
    assert main([*EVAL, "--dtype", dtype]) == 0
    assert loaded == [torch.bfloat16]
    assert read_json(Path("out/settings.json"))["dtype"] == dtype


def test_of_a_served_model_what_its_server_says_is_kept(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(BUNDLED))
    parts = [of_served("agent", tokenizer, root) for root in ("", "/models/step-10", "/models/step-20")]
    assert len({made_of["weights"] for made_of in parts}) == 3
    assert all(made_of["weights"].startswith("not seen, served as agent") for made_of in parts)
    keep(tmp_path, parts[1], "agent", {})
    with pytest.raises(RunError, match=r"weights of agent changed .*step-10 → .*step-20"):
        demand_same(tmp_path, parts[2], "agent", "evaluation")


def test_a_server_has_chosen_its_type(capsys) -> None:
    write_questions("Who taught Nemie?")
    asked = ("eval", "world-1", "--data", "q.jsonl", "--policy", "http:http://127.0.0.1:1/v1")
    assert "its server has chosen" in fails(capsys, *asked, "--dtype", "bfloat16")


def test_the_day_of_a_template_is_that_of_the_run(monkeypatch, capsys) -> None:
    copy_of_world()
    Path("model/chat_template.jinja").write_text(
        "{{ strftime_now('%d %B %Y') }} {{ messages[0]['content'] }}\n"
    )
    write_questions("Who taught Nemie?", "Who founded Coltek?")
    prompt = ("--prompt", "world", "--max-new-tokens", "8")
    for day, output, resume in (
        (date(2026, 1, 31), "out", ()),
        (date(2026, 2, 1), "out", ("--resume",)),
        (date(2026, 2, 1), "other", ()),
    ):
        monkeypatch.setattr("innersearch.identity._present", lambda day=day: day)
        if resume:
            # As a kill after the first question.
            first, _ = Path("out/greedy.jsonl").read_text().splitlines(keepends=True)
            Path("out/greedy.jsonl").write_text(first)
        assert main([*EVAL[:-1], output, *prompt, *resume]) == 0
        assert read_json(Path(output) / FILE)["recorded"]["day"] == (
            "2026-01-31" if output == "out" else "2026-02-01"
        )
        for record in read_lines(Path(output) / "trajectories.jsonl"):
            [segment] = record["segments"]
            ids = segment["token_ids"][: segment["prompt_len"]]
            spoken = load_tokenizer("model").decode(ids).replace(" ", "")
            assert ("31January" in spoken) == (output == "out")
    capsys.readouterr()
    assert main(["compare", "out", "other"]) == 0
    assert "differs: day of the prompts: 2026-01-31 / 2026-02-01" in capsys.readouterr().out
