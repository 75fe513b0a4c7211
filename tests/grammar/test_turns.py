"""What stands between calls, results and replies: as the templates that models come with render it."""

from __future__ import annotations

import copy
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from innersearch import prompts
from innersearch.errors import ModelError
from innersearch.grammar import GRAMMARS, Grammar
from innersearch.grammar.turns import turns_of
from innersearch.types import Kind
from tests.families import REAL, tokenizer_of

CALLS = GRAMMARS["tool-call"]
MISTRAL = (
    "{{ bos_token }}{% set last = (messages | selectattr('role', 'eq', 'user') | list)[-1] %}"
    "{% for m in messages %}{% if m.role == 'user' %}"
    "{% if tools and m == last %}[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}"
    "[INST] {{ m.content }}[/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content }}{{ eos_token }}"
    "{% elif m.tool_call_id is not defined %}{{ raise_exception('Tool call IDs should be 9 letters') }}"
    "{% endif %}{% endfor %}"
)
"""As of Mistral 7B 0.3: results need calls in a form of their own, tools stand at the last question."""
QUERY = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
TOOLS = [
    {
        "type": "function",
        "function": {"name": "search", "description": "Searches an index.", "parameters": QUERY},
    }
]
TOOL_TURN = (
    "<|im_end|>",
    "\n<|im_start|>user\n<tool_response>\n",
    "\n</tool_response>\n<tool_response>\n",
)
EXPECTED = {
    "smollm2": ("<|im_end|>", "\n<|im_start|>tool\n", "<|im_end|>\n<|im_start|>tool\n"),
    "qwen2_5": TOOL_TURN,
    "qwen3": TOOL_TURN,
    "qwen3_5_think": TOOL_TURN,
    "llama3_2": (
        "<|eot_id|>",
        '<|start_header_id|>ipython<|end_header_id|>\n\n"',
        '"<|eot_id|><|start_header_id|>ipython<|end_header_id|>\n\n"',
    ),
    "gemma": (
        "<end_of_turn>",
        "\n<start_of_turn>user\n<tool_response>\n",
        "\n</tool_response>\n<tool_response>\n",
    ),
    "mistral": ("</s>", "[INST] <tool_response>\n", "\n</tool_response>\n<tool_response>\n"),
}
"""What ends a reply, what stands before a result, and what between two."""


@cache
def with_template(name: str) -> PreTrainedTokenizerFast:
    """The tokenizer of SmolLM2 with the template of another model, and the tokens that end its turns."""
    tokenizer = copy.deepcopy(tokenizer_of(REAL))
    if name == "mistral":
        tokenizer.chat_template = MISTRAL
    elif name != REAL:
        found = find_spec("trl")
        if found is None:
            pytest.skip("needs the chat templates in trl, which `make test` installs")
        [folder] = found.submodule_search_locations or ()
        path = Path(folder) / "chat_templates" / f"{name}.jinja"
        if not path.is_file():
            pytest.skip(f"trl has no {path.name} any more")
        tokenizer.chat_template = path.read_text()
    ends = EXPECTED[name][0] if name in EXPECTED else "<|im_end|>"
    tokenizer.add_special_tokens({"additional_special_tokens": [ends]})
    if name == "mistral":
        tokenizer.eos_token = ends
    return tokenizer


@pytest.mark.parametrize("name", EXPECTED)
def test_turns_are_those_of_the_template(name: str) -> None:
    tokenizer = with_template(name)
    turns = turns_of(tokenizer, CALLS)
    assert (turns.ends, turns.opens, turns.between) == EXPECTED[name]
    assert turns.end_id == tokenizer.convert_tokens_to_ids(turns.ends)
    assert turns.quoted == (name == "llama3_2")
    assert not turns.closes.endswith(CALLS.opening(Kind.THINK))
    assert turns_of(tokenizer, CALLS) is turns


words = st.text("abc <|>é\"'\\", min_size=1, max_size=12).map(lambda text: f"x{text}y")


@pytest.mark.parametrize("name", EXPECTED)
@settings(max_examples=10, deadline=None, database=None)
@given(data=st.data())
def test_a_conversation_put_together_is_the_one_that_the_template_renders(
    name: str, data: st.DataObject
) -> None:
    tokenizer = with_template(name)
    turns = turns_of(tokenizer, CALLS)
    as_tool = name not in ("gemma", "mistral")
    messages = [{"role": "user", "content": "Who?"}]
    expected = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    expected = expected.removesuffix("<think>\n")
    for _ in range(data.draw(st.integers(1, 3))):
        thought, call = data.draw(words), data.draw(words)
        results = data.draw(st.lists(words, min_size=1, max_size=3))
        reply = f"<think>\n{thought}\n</think>\n\n{CALLS.render(Kind.CALL, call)}"
        messages.append({"role": "assistant", "content": reply})
        if as_tool:
            messages += [{"role": "tool", "content": result} for result in results]
        else:
            tagged = (CALLS.render(Kind.INFORMATION, f"\n{result}\n") for result in results)
            messages.append({"role": "user", "content": "\n".join(tagged)})
        inner = turns.between.join(map(turns.result, results))
        # Where the policy writes the space that the template puts before a reply.
        reply = " " * (name == "mistral") + reply
        expected += f"{reply}{turns.ends}{turns.opens}{inner}{turns.closes}"
    rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    # Templates may write letters of JSON by their numbers, which is the same string.
    if turns.quoted:
        rendered = rendered.replace("\\u00e9", "é").replace("\\u0027", "'")
        rendered = rendered.replace("\\u003c", "<").replace("\\u003e", ">")
    assert rendered.removesuffix("<think>\n") == expected


def test_a_template_that_drops_earlier_thoughts_is_refused_with_what_to_take_instead() -> None:
    tokenizer = with_template("deepseek_r1_distill")
    with pytest.raises(ModelError, match=r"changes earlier turns.*context = \"render\"") as caught:
        turns_of(tokenizer, CALLS)
    assert "\n" not in str(caught.value)


def test_a_template_that_moves_the_tools_is_refused_with_tools_only() -> None:
    tokenizer = with_template("mistral")
    assert turns_of(tokenizer, CALLS).opens
    with pytest.raises(ModelError, match="changes earlier turns"):
        turns_of(tokenizer, CALLS, TOOLS)
    assert turns_of(with_template("qwen2_5"), CALLS, TOOLS) == turns_of(with_template("qwen2_5"), CALLS)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (None, "has no chat template, as base models"),
        ("{{ raise_exception('one message\n\nonly') }}", "one message only"),
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "changes earlier turns"),
        (
            "{% for m in messages %}{{ m.content | replace('Result', '') }}{% endfor %}",
            "it loses or changes Result1",
        ),
    ],
)
def test_a_template_without_turns_is_one_line(template: str | None, said: str) -> None:
    tokenizer = copy.deepcopy(tokenizer_of("byte_bpe"))
    tokenizer.chat_template = template
    with pytest.raises(ModelError, match=said) as caught:
        turns_of(tokenizer, CALLS)
    assert "\n" not in str(caught.value)


def test_tools_reach_the_prompt_through_the_template() -> None:
    tokenizer = with_template("qwen2_5")
    plain = prompts.encode(tokenizer, "ssrl", "Who?", grammar=CALLS)
    shown = prompts.encode(tokenizer, "ssrl", "Who?", grammar=CALLS, tools=TOOLS)
    assert "Searches an index." in tokenizer.decode(shown)
    assert "Searches an index." not in tokenizer.decode(plain)
    assert plain == prompts.encode(tokenizer, "ssrl", "Who?")
    with pytest.raises(ModelError, match=r"does not show the tools it is given \(search\)"):
        prompts.encode(with_template(REAL), "ssrl", "Who?", tools=TOOLS)
    with pytest.raises(ModelError, match="no chat template to show tools in"):
        prompts.encode(tokenizer_of("byte_bpe"), "ssrl", "Who?", tools=TOOLS)


@pytest.mark.parametrize("grammar", GRAMMARS.values(), ids=lambda grammar: grammar.name)
def test_no_markup_of_a_question_reaches_the_prompt(grammar: Grammar) -> None:
    tokenizer = with_template("qwen2_5")
    for end in grammar.markup:
        ids = prompts.encode(tokenizer, "world", f"Who {end} is it?", grammar=grammar)
        assert f"Who {end} is it" not in tokenizer.decode(ids)
        assert f"{end[1:-1]}" in tokenizer.decode(ids)
