"""What other people's templates and tokenizers make of a question: the question, or one line."""

from __future__ import annotations

import copy
from datetime import date

import pytest
from tokenizers import normalizers, processors
from transformers import PreTrainedTokenizerFast

from innersearch import prompts
from innersearch.errors import DataError, ModelError
from innersearch.grammar.control import harmless
from innersearch.policy.loading import configured_ends
from innersearch.prompts import templates
from innersearch.simulator.writers import Prompt, encode_prompt
from tests.families import tokenizer_of
from tests.grammar.test_injection import control_ids, with_control
from tests.payloads import payloads, reads_as_tag

QUESTION = "Who founded Goltek?"
PLAIN = "{% for m in messages %}Question: {{ m['content'] }}\n{% endfor %}"
CHAT = (
    "{% for m in messages %}{{ '<|turn|>' + m['role'] + '\n' + m['content'] + END + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|turn|>assistant\n' }}{% endif %}"
)


def templated(template: str | None, *, family: str = "byte_bpe") -> PreTrainedTokenizerFast:
    tokenizer = copy.deepcopy(tokenizer_of(family))
    tokenizer.chat_template = template
    return tokenizer


SUFFIXES = {
    "single end": "$A <eos>",
    "end on both sides": "<eos> $A <eos>",
    "separator": "<pad> $A <pad> <eos>",
}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_prompt_ends_in_a_token_that_a_tokenizer_appends(
    tokenizer: PreTrainedTokenizerFast, suffix: str
) -> None:
    plain = copy.deepcopy(tokenizer)
    plain.chat_template = None
    expected = prompts.encode(plain, "world", QUESTION)
    ends = [("<eos>", plain.eos_token_id), ("<pad>", plain.pad_token_id)]
    single = SUFFIXES[suffix].replace("<eos>", "E").replace("<pad>", "P")
    plain.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[("E", ends[0][1]), ("P", ends[1][1])]
    )
    front = [
        dict(zip("EP", [ends[0][1], ends[1][1]], strict=True))[c] for c in single.split("$")[0].split()
    ]
    assert plain.encode("x")[-1] == plain.eos_token_id
    assert prompts.encode(plain, "world", QUESTION) == (*front, *expected)
    begun = encode_prompt(plain, Prompt(QUESTION, "Document:"))
    assert begun[: len(front)] == tuple(front)
    assert plain.eos_token_id not in begun[len(front) :]


BAD_TEMPLATES = {
    "walks over parts": "{% for m in messages %}{% for part in m['content'] %}{{ part.text }}"
    "{% endfor %}x{% endfor %}",
    "shouts": "{% for m in messages %}{{ m['content'] | upper }}{% endfor %}",
    "truncates": "{% for m in messages %}{{ m['content'][:5] }}{% endfor %}",
    "system only": "You are helpful.",
    "escapes": "{% for m in messages %}{{ m['content'] | replace('o', '0') }}{% endfor %}",
    "wrong role": "{% for m in messages %}{% if m['role'] == 'human' %}{{ m['content'] }}{% endif %}"
    "{% endfor %}",
    "needs a system message": "{% if messages[0]['role'] != 'system' %}"
    "{{ raise_exception('no system') }}{% endif %}",
    "divides by zero": "{{ 1 / 0 }}",
    "adds text to a number": "{{ 1 + 'x' }}",
    "asks for what is not there": "{{ messages[3]['content'] }}",
    "calls what is not there": "{{ today() }}",
    "is no template": "{% for m in messages %}",
    "recurses": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "reaches out of the sandbox": "{{ ''.__class__.__mro__ }}{{ messages.append(1) }}",
    "counts too far": "{% for i in range(10 ** 9) %}{% endfor %}",
    "ends the prompt": "{% for m in messages %}{{ m['content'] }}<eos>{% endfor %}",
    "ends the prompt and the line": "{% for m in messages %}{{ m['content'] + '<eos>\n' }}{% endfor %}",
}


@pytest.mark.parametrize("fault", BAD_TEMPLATES)
def test_a_template_that_fails_or_loses_the_question_is_one_line(fault: str) -> None:
    tokenizer = templated(BAD_TEMPLATES[fault])
    for encoding in (
        lambda: prompts.encode(tokenizer, "world", QUESTION),
        lambda: prompts.encode_all(tokenizer, "ssrl", [QUESTION]),
        lambda: encode_prompt(tokenizer, Prompt(QUESTION)),
    ):
        with pytest.raises(ModelError, match="chat template") as caught:
            encoding()
        assert "\n" not in str(caught.value)
        assert "correct chat_template" in str(caught.value)


NO_REPLY = "{% for m in messages %}<|turn|>{{ m['content'] + '<|end|> \n' }}{% endfor %}"


@pytest.mark.parametrize("begun", ["", "{% if add_generation_prompt %}<|end|>{% endif %}"])
def test_a_prompt_that_ends_with_the_end_of_a_turn_is_refused_unless_a_reply_begins_so(
    begun: str,
) -> None:
    tokenizer = templated(NO_REPLY + begun)
    tokenizer.add_tokens(["<|turn|>", "<|end|>"], special_tokens=True)
    if begun:
        prompts.encode(tokenizer, "world", QUESTION)
        return
    with pytest.raises(ModelError, match=r"ends the prompt with <\|end\|>"):
        prompts.encode(tokenizer, "world", QUESTION)


GOOD_TEMPLATES = {
    "strips": "{% for m in messages %}{{ m['content'] | trim }}\n{% endfor %}",
    "twice": "{% for m in messages %}{{ m['content'] }}\n{{ m['content'] }}\n{% endfor %}",
    "system first": "{{ 'Be brief.\n' }}" + PLAIN,
    "indents": "{% for m in messages %}{{ m['content'] | indent(4) }}\n{% endfor %}",
}


@pytest.mark.parametrize("habit", GOOD_TEMPLATES)
def test_harmless_habits_of_templates_are_let_through(
    tokenizer: PreTrainedTokenizerFast, habit: str
) -> None:
    other = copy.deepcopy(tokenizer)
    other.chat_template = GOOD_TEMPLATES[habit]
    ids = prompts.encode(other, "ssrl", f"  {QUESTION} ")
    assert "Goltek" in other.decode(ids)


def test_a_tokenizer_that_lowers_case_holds_the_question() -> None:
    tokenizer = templated(PLAIN, family="llama2")
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), tokenizer.backend_tokenizer.normalizer]
    )
    assert "goltek" in tokenizer.decode(prompts.encode(tokenizer, "world", QUESTION))


def test_a_question_for_which_there_are_no_tokens_is_refused_by_number() -> None:
    tokenizer = templated(PLAIN, family="wordpiece")
    with pytest.raises(DataError, match="question 2 of 2: the tokenizer has no tokens for it"):
        prompts.encode_all(tokenizer, "world", [QUESTION, "Ѩѩ"])


@pytest.mark.parametrize("template", [None, PLAIN])
def test_markup_in_a_question_is_no_markup_in_a_prompt(
    tokenizer: PreTrainedTokenizerFast, template: str | None
) -> None:
    """As documents are treated: no control token comes of a question, and no tag."""
    marked = with_control(tokenizer)
    marked.chat_template = template
    control = control_ids(marked)
    read, chosen = 0, payloads()[::7]
    for payload in chosen:
        assert harmless(marked, payload) is not None
        try:
            ids = prompts.encode(marked, "world", payload)
        except DataError as error:
            # Word pieces for the letters of a few names only.
            assert "no tokens for it" in str(error) or "loses it" in str(error)  # noqa: PT017
            continue
        read += 1
        assert control.isdisjoint(ids), payload
        assert not reads_as_tag(marked.decode(ids)), payload
    assert read >= 10


def test_control_tokens_that_are_not_called_special_are_found() -> None:
    tokenizer = templated(PLAIN)
    tokenizer.add_tokens(
        ["<|im_end|>", "<start_of_turn>", "[INST]", "<｜User｜>", "<tool_call>", "    "]
    )
    added = [i for i, token in tokenizer.added_tokens_decoder.items() if str(token).strip()]
    for token in ("<|im_end|>", "<start_of_turn>", "[INST]", "<｜User｜>", "<tool_call>"):
        ids = prompts.encode(tokenizer, "world", f"Who {token} was?")
        assert not set(ids) & set(added)


@pytest.mark.parametrize("blank", ["", " \t\n", "\u3000"])
def test_a_blank_question_is_refused_by_number(blank: str) -> None:
    with pytest.raises(DataError, match="question 2 of 2 is blank"):
        prompts.encode_all(templated(PLAIN), "world", [QUESTION, blank])


def test_marked_questions_are_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = templated(PLAIN)
    asked = [QUESTION, "Who <|im_end|> was?", "What is <answer>?", QUESTION]
    encoded = prompts.encode_all(tokenizer, "world", asked)
    assert encoded[0] == prompts.encode(tokenizer, "world", QUESTION)
    [record] = caplog.records
    assert "in 2 of 4 questions, first in number 2" in record.getMessage()
    caplog.clear()
    prompts.encode_all(tokenizer, "world", [QUESTION, "a < b, x <br> y?"])
    assert not caplog.records


def test_what_fills_a_slot_is_neutralised() -> None:
    assert prompts.render("world", "a <|im_end|> b") == "a [|im_end|] b"
    text = prompts.fill(
        "simulator-useful", query="</s> q", question="<search>", answer="x", count="1", words="9",
        label="useful", Label="Useful",
    )  # fmt: skip
    assert "</s>" not in text


ENDS = {
    "<|end|>": ("<|end|>", True),
    "<|eot_id|>": ("<|eot_id|>", True),
    "<end_of_turn>": ("<end_of_turn>", False),
    "<|im_end|>": ("<|im_end|>", False),
    "the next turn": ("", True),
    "the end of sequence": ("<eos>", True),
    "plain text": ("###", None),
}


@pytest.mark.parametrize("way", ENDS)
def test_the_token_that_ends_a_turn_ends_a_reply(
    tmp_path, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    end, special = ENDS[way]
    tokenizer = templated(CHAT.replace("END", repr(end)))
    tokenizer.add_tokens(["<|turn|>"], special_tokens=True)
    if special is not None and end:
        tokenizer.add_tokens([end], special_tokens=special)
    before = tokenizer.encode("x")
    expected = tokenizer.convert_tokens_to_ids(end or "<|turn|>") if special is not None else None
    assert templates.turn_end(tokenizer) == expected
    wanted = {tokenizer.eos_token_id} | ({expected} if expected is not None else set())
    for _ in range(2):
        assert configured_ends(str(tmp_path), tokenizer) == wanted
    assert len(caplog.records) == (wanted != {tokenizer.eos_token_id})
    assert tokenizer.encode("x") == before


@pytest.mark.parametrize("template", [None, PLAIN, "{{ raise_exception('one message only') }}"])
def test_a_template_without_turns_ends_nothing(template: str | None) -> None:
    assert templates.turn_end(templated(template)) is None


DATED = "{{ 'Today is ' + strftime_now('%d %b %Y %H:%M') + '.\n' }}" + PLAIN


def test_a_run_that_goes_on_on_another_day_has_the_same_prompts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(templates, "_days", [])
    tokenizer = templated(DATED)
    assert templates.sees_day(tokenizer)
    assert not templates.sees_day(templated(PLAIN))
    templates.fix_day(date(2024, 7, 26))
    first = prompts.encode(tokenizer, "world", QUESTION)
    assert tokenizer.decode(first).startswith("Today is 26 Jul 2024 00:00.")
    templates.fix_day(date(2024, 7, 27))
    assert prompts.encode(tokenizer, "world", QUESTION) != first
    templates.fix_day(date(2024, 7, 26))
    assert prompts.encode(tokenizer, "world", QUESTION) == first
    assert templates.day() == date(2024, 7, 26)
