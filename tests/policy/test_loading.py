"""Model directories that others left behind: each fault is one line, said before anything starts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from innersearch.cli import main
from innersearch.errors import ModelError
from innersearch.policy.loading import configured_ends, demand_loadable, load_model, load_tokenizer
from innersearch.policy.saving import make_savable
from innersearch.policy.transformers import TransformersPolicy
from innersearch.search.index.encoders import LocalEncoder
from innersearch.train.adapters import merge
from innersearch.weights import fingerprint
from innersearch.world_1.bundled import BUNDLED
from tests.cli.test_cli import fails

LOADED = (load_model, lambda path: demand_loadable(path, load_tokenizer(str(BUNDLED))))
"""With weights, and by headers alone as a dry run does."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BUNDLED, tmp_path / "model"))


def change(file: Path, **values: object) -> None:
    known = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(known | values))


def with_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("load", LOADED, ids=["weights", "headers"])
def test_weights_that_would_be_random_are_refused(model: Path, load) -> None:
    lacking = "model.layers.1.mlp.up_proj.weight"
    with_weights(model, lambda tensors: tensors.pop(lacking))
    with pytest.raises(ModelError, match=f"weights of .* lack {lacking}"):
        load(str(model))


@pytest.mark.parametrize("load", LOADED, ids=["weights", "headers"])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_hidden_layers": 99}, r"lack model\.layers\.\d+\..* and \d+ more"),
        ({"intermediate_size": 32}, r"do not fit its config\.json: \S+ has the shape"),
        ({"tie_word_embeddings": False}, r"lack lm_head\.weight"),
    ],
)
def test_a_configuration_that_asks_for_more_is_refused(model: Path, load, values, message: str) -> None:
    change(model / "config.json", **values)
    with pytest.raises(ModelError, match=message):
        load(str(model))


def test_tensors_without_a_place_are_said(model: Path, caplog) -> None:
    with_weights(model, lambda tensors: tensors.update({"extra.weight": torch.zeros(2)}))
    load_model(str(model))
    demand_loadable(str(model), load_tokenizer(str(model)))
    assert caplog.text.count("extra.weight") == 1
    assert "have no place in the model" in caplog.text


@pytest.mark.parametrize("load", LOADED, ids=["weights", "headers"])
def test_damaged_files_are_named(model: Path, load) -> None:
    file = model / "model.safetensors"
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole + b"\0", whole[:5], b"", b"\xff" * 100, whole[: len(whole) // 2]):
        file.write_bytes(damaged)
        with pytest.raises(ModelError, match=r"model\.safetensors is damaged"):
            load(str(model))
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")
    with pytest.raises(ModelError, match=r"model\.safetensors is a Git LFS pointer.*git lfs pull"):
        load(str(model))
    index = {
        "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    }
    file.write_bytes(whole)
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"lacks model-00001-of-00002\.safetensors, model-00002"):
        load(str(model))
    (model / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(ModelError, match=r"index\.json is damaged"):
        load(str(model))


def test_other_directories_say_what_they_are(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapters = model.parent / "adapters"
    adapters.mkdir()
    (adapters / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match=rf"adapters and no model: .* is {model}"):
        load_tokenizer(str(adapters))
    (model / "tokenizer.json").rename(model / "tokenizer.model")
    monkeypatch.setattr("innersearch.policy.directory.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install sentencepiece"):
        load_tokenizer(str(model))


@pytest.mark.parametrize("length", [-1, 0, 1, None, "2048", True, 3.5])
def test_a_context_that_is_none_is_refused(model: Path, length: object) -> None:
    change(model / "config.json", max_position_embeddings=length)
    with pytest.raises(ModelError, match=r"max_position_embeddings|no causal language model"):
        assert TransformersPolicy.of(load_model(str(model)), load_tokenizer(str(model))).context


@pytest.mark.parametrize("verb", ["ask", "eval", "train --dry-run", "encoder", "simulator"])
def test_code_beside_a_model_is_neither_run_nor_asked_about(
    model: Path, verb: str, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda text="": asked.append(text) or "y")
    code = f"from pathlib import Path\nPath({str(model / 'ran')!r}).touch()\n"
    for name in ("own.py", "custom_generate/generate.py"):
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_text(code)
    auto = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model", "AutoModel": "own.Model"}
    change(model / "config.json", model_type="own", auto_map=auto)
    change(model / "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "own.Tokenizer"]})
    path, data = str(model), ("--data", "world-1:validation")
    commands = {
        "ask": ("ask", path, "Who?"),
        "eval": ("eval", path, *data, "--output", str(model / "out")),
        "train --dry-run": ("train", "recipes/ssrl-world.toml", "--dry-run", "--model", path),
        "encoder": ("search", f"dense:{model}@{model}", "Who?"),
        "simulator": ("simulator", "measure", path, "--mode", "prompted"),
    }
    message = fails(capsys, *commands[verb])
    assert verb in ("encoder", "simulator") or "code of its own" in message
    assert not asked
    assert not (model / "ran").exists()


CONTRADICTIONS = [
    {"do_sample": False, "temperature": 0.6, "top_p": 0.9},
    {"do_sample": None, "top_k": 5, "min_p": 0.1, "typical_p": 0.4},
    {"early_stopping": True, "length_penalty": 2.0},
    {"output_scores": True},
    {"pad_token_id": -1},
    {"use_cache": False, "cache_implementation": "static"},
]


@pytest.mark.parametrize("values", CONTRADICTIONS, ids=lambda values: ",".join(values))
def test_generation_configs_that_cannot_be_saved_are_mended(model: Path, values, caplog) -> None:
    change(model / "generation_config.json", **{"do_sample": False} | values)
    ends = configured_ends(str(model), load_tokenizer(str(model)))
    loaded = load_model(str(model))
    assert "generation_config.json of" in caplog.text
    # As training changes it.
    loaded.generation_config.max_length = 77
    loaded.save_pretrained(model.parent / "saved")
    assert configured_ends(str(model.parent / "saved"), load_tokenizer(str(model))) == ends


def test_sampling_in_the_configuration_of_a_model_can_be_saved(model: Path) -> None:
    loaded = load_model(str(model))
    loaded.config.temperature, loaded.config.num_beams = 0.5, 2
    [said] = make_savable(loaded, "x")
    assert "num_beams, temperature" in said
    loaded.save_pretrained(model.parent / "saved")


def test_generation_configs_that_cannot_be_read_are_one_line(model: Path, capsys) -> None:
    change(model / "generation_config.json", max_new_tokens=0)
    assert "max_new_tokens" in fails(capsys, "ask", str(model), "Who?")


def test_a_dry_run_says_what_it_mends_and_refuses(model: Path, capsys, caplog) -> None:
    change(model / "generation_config.json", do_sample=False, temperature=0.6)
    command = [
        "train",
        "recipes/ssrl-world.toml",
        "--dry-run",
        "--model",
        str(model),
        "--output",
        "none",
    ]
    assert main(command) == 0
    assert "left out, since nothing here samples by it: temperature" in caplog.text
    with_weights(model, lambda tensors: tensors.pop("model.norm.weight"))
    assert "lack model.norm.weight" in fails(capsys, *command)


@pytest.mark.parametrize("kind", ["pad_token", "extra", "special"])
def test_tokens_without_embeddings_are_refused_by_every_verb(model: Path, kind: str, capsys) -> None:
    tokenizer = load_tokenizer(str(model))
    if kind == "extra":
        tokenizer.add_tokens(["<surplus>"])
    elif kind == "special":
        tokenizer.add_special_tokens({"additional_special_tokens": ["<surplus>"]})
    else:
        tokenizer.add_special_tokens({"pad_token": "<surplus>"})
    tokenizer.save_pretrained(model)
    data = ("--data", "world-1:validation", "--output", str(model / "out"))
    for command in (
        ("train", "recipes/ssrl-world.toml", "--dry-run", "--model", str(model), "--output", "none"),
        ("eval", str(model), *data),
    ):
        message = fails(capsys, *command)
        assert "has 1 tokens beyond the" in message
        assert "'<surplus>'" in message


def test_stop_ids_that_no_model_samples_are_refused(model: Path) -> None:
    change(model / "generation_config.json", eos_token_id=[0, 100_000])
    with pytest.raises(ModelError, match="the token 100000 is to end sequences"):
        demand_loadable(str(model), load_tokenizer(str(model)))


@pytest.mark.parametrize("full", [True, False])
def test_fingerprints_follow_the_weights_and_not_the_copy(
    model: Path, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    monkeypatch.setattr("innersearch.weights.FULL", 10**9 if full else 1000)
    before = fingerprint(model)
    assert before.startswith("sha256:" if full else "sampled:")
    assert fingerprint(BUNDLED) == before
    for name in load_file(model / "model.safetensors"):
        with_weights(model, lambda tensors, name=name: tensors[name].view(-1)[0].add_(1e-3))
        changed = fingerprint(model)
        assert changed != before
        before = changed


def test_encoders_with_weights_at_random_are_refused(model: Path) -> None:
    folder, tokenizer = model.parent / "encoder", load_tokenizer(str(model))
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(tokenizer), intermediate_size=16, **sizes)
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # Not used, and often left out.
    with_weights(folder, lambda tensors: tensors.pop("pooler.dense.weight"))
    assert LocalEncoder(folder).encode(["a"], "query").shape == (1, 16)
    with_weights(folder, lambda tensors: tensors.pop("encoder.layer.1.output.dense.bias"))
    with pytest.raises(ModelError, match=r"lack encoder\.layer\.1\.output\.dense\.bias"):
        LocalEncoder(folder)
    BertModel(BertConfig(vocab_size=9, intermediate_size=16, **sizes)).save_pretrained(folder)
    with pytest.raises(ModelError, match="tokens beyond the 9"):
        LocalEncoder(folder)


def test_adapters_that_are_not_whole_or_of_another_model_are_refused(model: Path) -> None:
    peft = pytest.importorskip("peft")
    folder = model.parent / "adapters"
    settings = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    peft.get_peft_model(load_model(str(model)), settings).save_pretrained(folder)
    file = folder / "adapter_model.safetensors"
    whole = load_file(file)
    name = sorted(whole)[0]
    save_file({key: tensor for key, tensor in whole.items() if key != name}, file)
    with pytest.raises(ModelError, match=f"lack {name}"):
        merge(str(model), folder, model.parent / "merged")
    other = name.replace("layers.0", "layers.9")
    save_file(whole | {other: whole[name].clone()}, file)
    with pytest.raises(ModelError, match=f"do not fit {model}: it has no place for {other}"):
        merge(str(model), folder, model.parent / "merged")
    assert not (model.parent / "merged").exists()


def test_weights_in_the_older_format_are_held_against_the_configuration_too(model: Path) -> None:
    tensors = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    torch.save(tensors, model / "pytorch_model.bin")
    assert fingerprint(model).startswith("sha256:")
    load_model(str(model))
    tensors.pop("model.norm.weight")
    torch.save(tensors, model / "pytorch_model.bin")
    for load in LOADED:
        with pytest.raises(ModelError, match=r"lack model\.norm\.weight"):
            load(str(model))
