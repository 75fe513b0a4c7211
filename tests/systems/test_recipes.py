"""The recipes of the systems: that each can be trained, and what is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from innersearch.assemble.plans import open_search
from innersearch.assemble.recipes import open_recipe
from innersearch.cli import main
from innersearch.config import Recipe
from innersearch.policy.loading import load_tokenizer
from innersearch.train import demonstrations
from innersearch.train.demonstrations import written
from innersearch.train.start import resolved
from innersearch.train.tasks import rubric_of
from innersearch.types import Source, StopReason
from tests.families import tokenizer_of

QWEN = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ 'user' if m.role == 'tool' else m.role }}\n"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FORGETS = QWEN.replace("{{ m.content }}", "{{ m.content.split('</think>')[-1] }}")
"""As Qwen3, takes thoughts out of earlier turns."""


def model(folder: Path, template: str = QWEN) -> str:
    """A tiny model of no training, with the tokenizer and chat template of an instruct model."""
    tokenizer = tokenizer_of("byte_bpe").__class__(
        tokenizer_object=tokenizer_of("byte_bpe").backend_tokenizer, eos_token="<eos>", pad_token="<pad>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = template
    size = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=32_768, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    LlamaForCausalLM(size).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def questions(*names: str) -> None:
    for name in names:
        rows = [{"question": f"Who is {n}?", "golden_answers": ["x"]} for n in range(520)]
        Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def replies(name: str) -> None:
    row = {
        "question": "Who?",
        "golden_answers": ["x"],
        "replies": ["<think>t</think><answer>x</answer>"],
    }
    Path(name).write_text(json.dumps(row) + "\n")


SEARCHES = ("--search.engine", "world")
PAGES = ("--rollout.pages", "world")


@pytest.mark.usefixtures("in_empty_folder")
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("r1-searcher", ()),
        ("r1-searcher-qwen", ()),
        ("rag-r1", ()),
        ("deepresearcher", ("--data", "hard.jsonl", *PAGES)),
    ],
)
def test_recipes_for_real_models_can_be_trained(
    name: str, more: tuple[str, ...], tmp_path: Path, capsys
) -> None:
    """With a model, questions and an engine at hand, `--dry-run` makes the checks of training."""
    questions("stage_1.jsonl", "stage_2.jsonl", "hotpotqa_hard.jsonl", "hard.jsonl")
    replies("teacher.jsonl")
    given = ["--model", model(tmp_path / "model"), *SEARCHES, *more]
    assert main(["train", f"{name}.toml", *given, "--dry-run"]) == 0
    assert "nothing was started" in capsys.readouterr().out


def one_line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) != 0
    said = capsys.readouterr().err.strip().splitlines()
    assert not Path("runs").exists()
    return said[-1]


@pytest.mark.usefixtures("in_empty_folder")
@pytest.mark.parametrize(
    ("recipe", "more", "said"),
    [
        ("r1-searcher-world", ("--search.engine", ""), "engine"),
        ("deepresearcher-world", ("--rollout.pages", ""), "rollout.tools has open"),
        ("rag-r1-world", ("--search.router", "first:2"), "several per reply"),
        ("rag-r1-world", ("--search.router", "gate:entropy:1.5"), "several per reply"),
    ],
)
def test_what_does_not_go_together_is_refused(
    recipe: str, more: tuple[str, ...], said: str, capsys
) -> None:
    assert said in one_line(capsys, "train", f"{recipe}.toml", *more)


@pytest.mark.usefixtures("in_empty_folder")
def test_a_stage_whose_data_is_missing_is_refused_before_the_first_begins(
    tmp_path: Path, capsys
) -> None:
    questions("stage_1.jsonl")
    given = ("--model", model(tmp_path / "model"), *SEARCHES)
    assert "stage_2.jsonl" in one_line(capsys, "train", "r1-searcher.toml", *given)
    assert "teacher.jsonl" in one_line(capsys, "train", "rag-r1.toml", *given)


@pytest.mark.usefixtures("in_empty_folder")
def test_a_template_that_rewrites_earlier_turns_is_told_which_context_to_take(
    tmp_path: Path, capsys
) -> None:
    questions("hard.jsonl")
    given = ("--model", model(tmp_path / "model", FORGETS), "--data", "hard.jsonl", *SEARCHES, *PAGES)
    said = one_line(capsys, "train", "deepresearcher.toml", *given)
    assert "changes earlier turns" in said
    assert 'context = "render"' in said


def test_the_day_is_a_slot_of_the_recipe(tmp_path: Path) -> None:
    from innersearch import prompts

    tokenizer = load_tokenizer(model(tmp_path / "model"))
    dated = prompts.encode(tokenizer, "deepresearcher", "Who?", date="1999-12-31")
    text = tokenizer.decode(dated)
    assert "Today is 1999-12-31." in text
    assert text.index("<|im_start|>system") < text.index("Today is") < text.index("<|im_start|>user")
    assert "{" in text
    with pytest.raises(ValueError, match="date"):
        Recipe(prompt={"date": "tomorrow"})


def test_a_transcript_is_put_in_no_chat_template(tmp_path: Path) -> None:
    from innersearch import prompts

    tokenizer = load_tokenizer(model(tmp_path / "model"))
    text = tokenizer.decode(prompts.encode(tokenizer, "r1-searcher", "Who?"))
    assert text.endswith("User: Who?\nAssistant:")
    assert "<|im_start|>" not in text


@pytest.mark.parametrize(
    "name", ["r1-searcher-world", "rag-r1-world", "rag-r1-world-single", "deepresearcher-world"]
)
def test_demonstrations_are_answered_as_rollouts_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the engine and in the style of the recipe, so that what is learnt is what is shown later."""
    recipe = resolved(open_recipe(f"{name}.toml")).stages()[0]
    rows = list(demonstrations._demonstrations(recipe.data))[:400]
    rows = [row for row in rows if len(row.replies) > 1][:6] + rows[:2]
    monkeypatch.setattr(demonstrations, "_demonstrations", lambda data: iter(rows))
    tokenizer = load_tokenizer(recipe.model)
    found = written(recipe, tokenizer, 1024, rubric_of(recipe), lambda: open_search(recipe.search))
    for row, trajectory in zip(rows, found, strict=True):
        [segment] = trajectory.segments
        assert trajectory.stop_reason in (StopReason.ANSWER, StopReason.EOS)
        assert not trajectory.malformed
        assert len({call.turn for call in trajectory.calls}) == len(row.replies) - 1
        assert all(call.documents and not call.latency_s for call in trajectory.calls)
        for span in segment.spans:
            if span.source is not Source.POLICY:
                assert not any(segment.loss_mask[span.start : span.end])
        own = "".join(span.text for span in segment.spans if span.source is Source.POLICY)
        assert own.replace(" ", "").removesuffix("<|endoftext|>") == "".join(row.replies).replace(
            " ", ""
        )
    assert any(trajectory.calls for trajectory in found)
