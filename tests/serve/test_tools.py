"""Tool calls through the model URL, as the model's own chat template has them."""

from __future__ import annotations

import json

import pytest

from innersearch.assemble.agents import open_agent
from innersearch.errors import DataError, ModelError
from innersearch.grammar import GRAMMARS, MaskRule
from innersearch.prompts.messages import Call, CallForm, call_form, encode_chat
from innersearch.serve.capture import Capture
from innersearch.serve.chat_api import read_request
from tests.serve.chat_models import chatml
from tests.serve.test_capture import said

TOOL = {
    "type": "function",
    "function": {"name": "search", "parameters": {"type": "object", "properties": {"query": {}}}},
}
MISTRAL = """{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]
{%- elif m.tool_calls %}[TOOL_CALLS] [{% for call in m.tool_calls %}{% set f = call.function -%}
{{ {'name': f.name, 'arguments': f.arguments} | tojson }}{% endfor %}]</s>{% else -%}
{{ m.content }}</s>{% endif %}{% endfor %}"""
LLAMA = """{% for m in messages %}<{{ m.role }}>{% if m.tool_calls -%}
{% set f = m.tool_calls[0].function -%}
{"name": "{{ f.name }}", "parameters": {{ f.arguments | tojson }}}{% else %}{{ m.content }}
{%- endif %}<end>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"""
USER = {"role": "user", "content": "Who?"}


@pytest.fixture(scope="module")
def tokenizer():
    return chatml()


def test_the_form_of_a_call_is_measured_from_the_template(tokenizer) -> None:
    assert call_form(tokenizer) == CallForm("<tool_call>", "</tool_call>")
    mistral = chatml()
    mistral.chat_template = MISTRAL
    assert call_form(mistral) == CallForm("[TOOL_CALLS]", "")
    llama = chatml()
    llama.chat_template = LLAMA
    assert call_form(llama) == CallForm("", "")
    assert call_form(open_agent("world").tokenizer) == CallForm()


@pytest.mark.parametrize(
    ("form", "text", "said", "calls"),
    [
        (CallForm(), "just words ", "just words ", []),
        (CallForm(), '<tool_call>{"name": "f"}</tool_call>', "", [Call("f", "{}")]),
        (
            CallForm(),
            'a <tool_call>\n{"name": "f", "arguments": {"x": "é"}}\n</tool_call> '
            '<tool_call>{"name": "g", "arguments": "{}"}</tool_call>',
            "a",
            [Call("f", '{"x": "é"}'), Call("g", "{}")],
        ),
        (CallForm(), "<tool_call>{nope}</tool_call>", "<tool_call>{nope}</tool_call>", []),
        (CallForm(), '<tool_call>{"name": 3}</tool_call>', '<tool_call>{"name": 3}</tool_call>', []),
        (CallForm(), '<tool_call>{"name": "f"', '<tool_call>{"name": "f"', []),
        (CallForm("", ""), '{"name": "f", "parameters": {"x": 1}}', "", [Call("f", '{"x": 1}')]),
        (CallForm("", ""), '{"answer": 4}', '{"answer": 4}', []),
        (
            CallForm("[TOOL_CALLS]", ""),
            '[TOOL_CALLS] [{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}]',
            "",
            [Call("f", "{}"), Call("g", "{}")],
        ),
    ],
)
def test_calls_are_read_and_what_is_none_is_text(form, text, said, calls) -> None:
    assert form.read(text) == (said, calls)


def test_a_reply_with_calls_that_comes_back_goes_on_in_its_segment(tokenizer) -> None:
    capture = Capture(tokenizer)
    raw = 'I look.\n<tool_call>\n{"name": "search", "arguments": {"query": "x é"}}\n</tool_call>'
    asked = capture.ask(encode_chat(tokenizer, [USER], [TOOL]))
    capture.answer(asked, said(tokenizer, raw, ended=True))
    text, [call] = call_form(tokenizer).read(raw)
    reply = {
        "role": "assistant",
        "content": text,
        "tool_calls": [{"id": "1", "function": {"name": call.name, "arguments": call.arguments}}],
    }
    history = [USER, reply, {"role": "tool", "tool_call_id": "1", "content": "found <|im_end|>"}]
    again = capture.ask(encode_chat(tokenizer, history, [TOOL]))
    assert again.parent is asked
    # What a tool returned ends no turn.
    between = again.prompt_ids[len(asked.token_ids) :]
    assert list(between).count(tokenizer.eos_token_id) == 1
    capture.answer(again, said(tokenizer, "y", ended=True))
    [segment], _ = capture.segments(MaskRule(), GRAMMARS["tool-call"])
    assert sum(segment.sampled_mask) == capture.sampled


def test_templates_that_cannot_are_one_line(tokenizer) -> None:
    with pytest.raises(ModelError, match="does not show tools"):
        encode_chat(open_agent("world").tokenizer, [USER], [TOOL])
    strict = chatml()
    strict.chat_template = "{{ raise_exception('Roles must\nalternate') }}"
    with pytest.raises(DataError, match="Roles must alternate") as error:
        encode_chat(strict, [USER])
    assert "\n" not in str(error.value)


def test_messages_of_other_shapes_are_read(tokenizer) -> None:
    body = {
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
            {
                "role": "user",
                "content": [{"type": "text", "text": "Who"}, {"type": "text", "text": "?"}],
            },
            {"role": "assistant", "content": None, "tool_calls": []},
        ]
    }
    messages = [message.plain() for message in read_request(json.dumps(body).encode()).messages]
    assert messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who\n?"},
        {"role": "assistant", "content": ""},
    ]
