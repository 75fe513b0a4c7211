"""How chat models set out documents, refuse, think aloud and say goodbye."""

from __future__ import annotations

import asyncio
import json

import pytest

from innersearch.search.base import SearchResult
from innersearch.simulator.pairs import Pair, judge
from innersearch.simulator.parsing import read_draft
from innersearch.simulator.phrases import is_closing, is_greeting, is_refusal
from innersearch.simulator.writers import Output
from tests.simulator.writing import Writing, asked, engine, question, said

BOTH = [("", "Lima is it."), ("", "Peru too.")]
TITLED = [("Lima", "Lima is it."), ("Peru", "Peru too.")]
OBJECTS = [{"title": "Lima", "text": "Lima is it."}, {"title": "Peru", "text": "Peru too."}]

LAYOUTS: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "headings": ("## Document 1\nLima is it.\n\n## Document 2\nPeru too.", BOTH),
    "small headings": ("### Doc 1:\nLima is it.\n### Doc 2:\nPeru too.", BOTH),
    "headings with titles": ("## Doc 1: Lima\nLima is it.\n## Doc 2: Peru\nPeru too.", TITLED),
    "headings in bold": (
        "## **Document 1: Lima**\nLima is it.\n## **Document 2: Peru**\nPeru too.",
        TITLED,
    ),
    "headings without numbers": ("# Results\n## Lima\nLima is\nit.\n## Peru\nPeru too.", TITLED),
    "numbered headings": ("### 1. Lima\nLima is it.\n### 2. Peru\nPeru too.", TITLED),
    "bold lines": ("**Document 1: Lima**\nLima is it.\n**Document 2: Peru**\nPeru too.", TITLED),
    "numbers": ("1. Lima is it.\n2. Peru too.", BOTH),
    "numbers and a greeting": ("Sure! Here are two:\n\n1. Lima is\nit.\n\n2. Peru too.", BOTH),
    "brackets": ("[1] Lima is it.\n[2] Peru too.", BOTH),
    "parentheses": ("(1) Lima is it.\n(2) Peru too.", BOTH),
    "half a parenthesis": ("1) Lima is it.\n2) Peru too.", BOTH),
    "bold numbers": ("**1.** Lima is it.\n**2.** Peru too.", BOTH),
    "bold numbers and titles": ("**1. Lima**\nLima is it.\n\n**2. Peru**\nPeru too.", TITLED),
    "numbers and bold titles": ("1. **Lima**: Lima is it.\n2. **Peru** - Peru too.", TITLED),
    "circled numbers": ("① Lima is it.\n② Peru too.", BOTH),
    "bracketed names": ("[Doc 1] Lima is it.\n[Doc 2] Peru too.", BOTH),
    "numbers in brackets": ("Document [1]: Lima is it.\nDocument [2]: Peru too.", BOTH),
    "number signs": ("Doc #1: Lima is it.\nDoc #2: Peru too.", BOTH),
    "abbreviated": ("Doc. 1: Lima is it.\nDoc. 2: Peru too.", BOTH),
    "passages": ("Passage 1: Lima is it.\nPassage 2: Peru too.", BOTH),
    "results": ("Result 1:\nLima is it.\n\nResult 2:\nPeru too.", BOTH),
    "Chinese": ("文档1：Lima is it.\n文档 2：Peru too.", BOTH),
    "Russian": ("Документ 1: Lima is it.\nДокумент 2: Peru too.", BOTH),
    "number words": ("Document One: Lima is it.\nDocument Two: Peru too.", BOTH),
    "letters": ("Document A: Lima is it.\nDocument B: Peru too.", BOTH),
    "ordinals": ("First document: Lima is it.\nSecond document: Peru too.", BOTH),
    "Japanese": ("文書1：Lima is it.\n文書2：Peru too.", BOTH),
    "Arabic": ("المستند 1: Lima is it.\nالمستند 2: Peru too.", BOTH),
    "Chinese ordinals": ("第一篇文档：Lima is it.\n第二篇文档：Peru too.", BOTH),
    "how many of them": ("Document 1 of 2: Lima is it.\nDocument 2 of 2: Peru too.", BOTH),
    "shares": ("Doc 1/2: Lima is it.\nDoc 2/2: Peru too.", BOTH),
    "full-width numbers": ("１．Lima is it.\n２．Peru too.", BOTH),
    "letters in a list": ("A) Lima is it.\nB) Peru too.", BOTH),
    "signs alone": ("#1 Lima is it.\n#2 Peru too.", BOTH),
    "keycaps": ("1️⃣ Lima is it.\n2️⃣ Peru too.", BOTH),
    "on one line": ("Doc 1: Lima is it. Doc 2: Peru too.", BOTH),
    "underlined": ("Doc 1\n=====\nLima is it.\n\nDoc 2\n=====\nPeru too.", BOTH),
    "items": ("<ol><li>Lima is it.</li><li>Peru too.</li></ol>", BOTH),
    "an end of sequence": ("Doc 1: Lima is it.\nDoc 2: Peru too.<|im_end|>", BOTH),
    "titles alone": ("Title: Lima\nText: Lima is it.\n\nTitle: Peru\nText: Peru too.", TITLED),
    "titles and links": (
        "## Doc 1\n**Title:** Lima\n**URL:** https://a\nText: Lima is it.\n## Doc 2: Peru\nPeru too.",
        TITLED,
    ),
    "a table": ("| # | text |\n|---|:---|\n| 1 | Lima is it. |\n| 2 | Peru too. |", BOTH),
    "a line above": ("Search results for lima:\nLima is it.\nPeru too.", BOTH),
    "bullets": ("- Lima is it.\n- Peru too.", BOTH),
    "bullets over lines": ("* Lima is\nit.\n\n* Peru\ntoo.", BOTH),
    "round bullets": ("• Lima is it.\n• Peru too.", BOTH),
    "bullets with names": ("- Doc 1: Lima is it.\n- Doc 2: Peru too.", BOTH),
    "rules": ("Lima is\nit.\n\n---\n\nPeru\ntoo.", BOTH),
    "labels": ("Doc 1:\nTitle: Lima\nText: Lima is it.\nDoc 2:\nTitle: Peru\nText: Peru too.", TITLED),
    "bold labels": (
        "**Doc 1**\n**Title:** Lima\n**Content:** Lima is it.\n**Doc 2**\n**Title:** Peru\nPeru too.",
        TITLED,
    ),
    "a code block": ("```\nDoc 1: Lima is it.\nDoc 2: Peru too.\n```", BOTH),
    "a code block of text": ("```text\nLima is it.\nPeru too.\n```", BOTH),
    "tags": ("<doc>Lima is it.</doc>\n<doc>Peru too.</doc>", BOTH),
    "numbered tags": ("<doc1>Lima is it.</doc1><doc2>\nPeru too.\n</doc2>", BOTH),
    "tags with titles": (
        "<documents>\n<document index='1'>\n<title>Lima</title>\n<content>Lima is it.</content>\n"
        '</document>\n<document title="Peru">Peru too.</document>\n</documents>',
        TITLED,
    ),
    "tags around names": ("<doc>\nDoc 1: Lima is it.\n</doc>\n<doc>\nDoc 2: Peru too.\n</doc>", BOTH),
    "JSON": (json.dumps(["Lima is it.", "Peru too."]), BOTH),
    "JSON objects": (json.dumps(OBJECTS), TITLED),
    "JSON over lines": (json.dumps(OBJECTS, indent=2), TITLED),
    "JSON in a code block": (
        "Sure:\n```json\n" + json.dumps(OBJECTS, indent=1) + "\n```\nEnjoy!",
        TITLED,
    ),
    "JSON in an object": (json.dumps({"query": "q", "documents": OBJECTS}), TITLED),
    "JSON by name": (json.dumps({"Doc 1": "Lima is it.", "Doc 2": "Peru too."}), BOTH),
    "JSON as Search-R1": (json.dumps([{"document": {"contents": t}} for _, t in BOTH]), BOTH),
    "JSON lines": ("\n".join(map(json.dumps, OBJECTS)), TITLED),
    "JSON with contents": (json.dumps([{"name": t, "contents": d} for t, d in TITLED]), TITLED),
    "JSON with passages": (json.dumps([{"headline": t, "passage": d} for t, d in TITLED]), TITLED),
    "JSON that was cut off": (json.dumps([*OBJECTS, {"title": "x", "text": "yz"}])[:-6], TITLED),
    "JSON with a comma too many": (json.dumps(OBJECTS)[:-1] + ",]", TITLED),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_documents_are_found_however_they_are_set_out(name: str) -> None:
    output, documents = LAYOUTS[name]
    draft = read_draft(output, 2)
    assert [(document.title, document.text) for document in draft.documents] == documents
    assert set(draft.faults) <= {"closing"}


@pytest.mark.parametrize(
    "output",
    ['[{"title": "x"}]', '{"error": "no"}', "[" * 100_000, '{"a":' * 100_000, "[\n{\n", '["", " "]'],
    ids=range(6),
)
def test_json_without_documents_is_no_document(output: str) -> None:
    assert read_draft(output, 2).documents == ()


TEXTS = [
    "1. FC Köln is a club.\nIt plays in Cologne.",
    "In 1984.\n3. May was a Thursday.",
    "Doc 3D printing.\nResult 2 of it",
    "[1] a footnote\nstands before [2].",
    "2. The second\n3. The third",
    "{curly} braces\nand [square] ones",
]


@pytest.mark.parametrize("output", TEXTS[1:3] + TEXTS[4:])
def test_lines_that_only_look_like_marks_stay(output: str) -> None:
    assert [document.text for document in read_draft(output, 2).documents] == output.split("\n")


REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I’m sorry, but I cannot provide false information.",
    "I cannot write documents about this person.",
    "I can't assist with that request.",
    "I cannot fulfill this request.",
    "No, I can't do that.",
    "Unfortunately I really can't do this.",
    "Jag kan tyvärr inte hjälpa till med det.",
    "Λυπάμαι, αλλά δεν μπορώ να βοηθήσω.",
    "Вибачте, але я не можу допомогти.",
    "אני מצטער, אבל אינני יכול לעזור.",
    "ขออภัย ฉันไม่สามารถช่วยได้",
    "I am unable to generate search results.",
    "Sorry, I can't do that.",
    "Unfortunately, I cannot access the internet.",
    "As an AI language model, I have no access to search engines.",
    "As a large language model, I cannot browse.",
    "I apologize, but this is not possible.",
    "I must respectfully decline.",
    "Lo siento, pero no puedo ayudar con eso.",
    "Je suis désolé, mais je ne peux pas vous aider.",
    "Es tut mir leid, aber dabei kann ich nicht helfen.",
    "Mi dispiace, ma non posso aiutarti.",
    "Desculpe, mas não posso ajudar com isso.",
    "К сожалению, я не могу помочь.",
    "很抱歉，我无法提供这些内容。",
    "对不起，我不能回答。",
    "申し訳ありませんが、お手伝いできません。",
    "죄송하지만 도와드릴 수 없습니다.",
    "عذرًا، لا أستطيع المساعدة.",
    "क्षमा करें, मैं मदद नहीं कर सकता।",
]
INNOCENT = [
    "Sorry is a song by Justin Bieber.",
    "I Can't Get No Satisfaction is a song.",
    "Sorry We Missed You is a film by Ken Loach.",
    "As an assistant coach, he won two titles.",
    "Unfortunately for Napoleon, it rained.",
    "Lo siento is an album.",
    "We cannot provide refunds, says the shop.",
    "Unfortunately it was lost in 1666.",
    "AI winters are periods of reduced funding.",
    "Lima is the capital of Peru.",
]


@pytest.mark.parametrize("text", REFUSALS)
@pytest.mark.parametrize(
    "around", ["{}", "{}\nHowever, look at these:\n1. Lima\n2. Peru", "Doc 1: {}", "- {}"]
)
def test_a_refusal_is_no_document(text: str, around: str) -> None:
    draft = read_draft(around.format(text), 2)
    assert draft.documents == ()
    assert "refused" in draft.faults


@pytest.mark.parametrize("text", INNOCENT)
def test_a_document_that_begins_like_a_refusal_is_one(text: str) -> None:
    assert not is_refusal(text)
    assert [document.text for document in read_draft(text, 1).documents] == [text]


def test_a_refusal_of_one_document_leaves_the_others() -> None:
    draft = read_draft("Doc 1: Lima is it.\nDoc 2: I'm sorry, but I can't write more.", 2)
    assert [document.text for document in draft.documents] == ["Lima is it."]
    assert draft.faults == ("refused", "few")


CLOSINGS = [
    "I hope this helps!",
    "Let me know if you need anything else.",
    "Note: These documents are fictional.",
    "*Note: they are made up.*",
    "(Note: the second one is noisy.)",
    "**Disclaimer:** not real.",
    "Please note that I have no access to the web.",
    "Feel free to ask for more.",
    "These documents all help the user.",
    "(Word count: 30)",
    "Would you like more documents?",
    "Ich hoffe, das hilft.",
    "N'hésitez pas à me demander.",
    "Espero que esto ayude.",
    "Надеюсь, это поможет.",
    "希望这些文档对您有帮助。",
    "ご不明な点があればお知らせください。",
    "---\nI hope this helps!\nLet me know.",
]
BODIES = {
    "numbered": "Doc 1: Lima is it.\nDoc 2: Peru too.",
    "lines": "Lima is it.\nPeru too.",
    "list": "1. Lima is it.\n2. Peru too.",
    "bullets": "- Lima is it.\n- Peru too.",
    "headings": "## Doc 1\nLima is it.\n## Doc 2\nPeru too.",
}


@pytest.mark.parametrize("closing", CLOSINGS)
@pytest.mark.parametrize("layout", BODIES)
@pytest.mark.parametrize("gap", ["\n", "\n\n"])
def test_closing_words_are_not_glued_to_the_last_document(closing: str, layout: str, gap: str) -> None:
    draft = read_draft(BODIES[layout] + gap + closing, 2)
    assert [(document.title, document.text) for document in draft.documents] == BOTH
    assert draft.faults == ("closing",)


def test_closing_words_on_the_line_of_the_last_document_are_cut_off() -> None:
    for words in ("I hope this helps!", "Let me know if you need more. Bye!", "Feel free to ask."):
        draft = read_draft(f"Doc 1: Lima is it.\nDoc 2: Peru too. {words}", 2)
        assert [document.text for document in draft.documents] == ["Lima is it.", "Peru too."]
        assert draft.faults == ("closing",)


@pytest.mark.parametrize(
    "text", ["Notes on Lima", "Hopefully it rains.", "Noted for it", "If only he had."]
)
def test_sentences_that_begin_like_closing_words_stay(text: str) -> None:
    assert not is_closing(text)
    assert read_draft(f"Doc 1: Lima\n{text}", 1).documents[0].text == f"Lima {text}"


def test_greetings_lead_up_to_documents() -> None:
    for line in ("Sure!", "Certainly, here they are.", "Here are two documents:", "以下是文档："):
        assert is_greeting(line)
        assert [d.text for d in read_draft(f"{line}\nLima is it.\nPeru too.", 2).documents] == [
            text for _, text in BOTH
        ]
    assert not is_greeting("Here is where Lima stands.")


def test_a_thought_is_no_document_and_tells_no_answer() -> None:
    documents = "Doc 1: Lima is it.\nDoc 2: Peru too."
    for output in (
        f"<think>The answer is Rome.\nDoc 1: Rome</think>{documents}",
        f"The answer is Rome.\nDoc 1: Rome</think>\n{documents}",
        f"[THINK]Rome[/THINK]{documents}",
        f"<|channel|>analysis<|message|>Rome<|end|><|start|>assistant<|channel|>final<|message|>{documents}",
        "<think>Rome</think>Doc 1: Lima is it.\n<think>Rome?</think>Doc 2: Peru too.",
    ):
        draft = read_draft(output, 2)
        assert [(document.title, document.text) for document in draft.documents] == BOTH
        assert draft.faults == ("thought",)
    cut = read_draft("<think>The answer is Rome.\nDoc 1: Rome", 2, ended=False)
    assert cut.documents == ()
    assert cut.faults == ("thought", "few", "cut")


def written(output: str, *, ended: bool = True) -> SearchResult:
    """What an engine makes of an output."""
    writer = Writing(lambda prompt, stream: Output(output, ended=ended))
    return asyncio.run(engine(writer).answer(asked(), 2))


def test_a_failed_search_says_what_was_written_but_not_what_was_thought() -> None:
    refused = written("<think>It is gold 1.</think>I'm sorry, but I can't help.")
    assert refused.error == "the simulator refused: \"I'm sorry, but I can't help.\""
    assert refused.faults == ("thought", "refused", "few")
    endless = written("<think>It is gold 1.", ended=False)
    assert endless.error == "the simulator wrote no document, but a thought without an end"
    assert not refused.documents + endless.documents


def test_a_judge_may_think_first() -> None:
    page = Pair(question(1), "q", ())
    for verdict, label in (
        ("<think>No, wait.</think>Yes.", "useful"),
        ("yes or no?</think>\n\n**No**", "noisy"),
        ("<think>yes", ""),
        ("Yes", "useful"),
    ):
        writer = Writing(lambda prompt, stream, verdict=verdict: Output(verdict))
        assert asyncio.run(judge(page, writer)).label == label


# Numbered lines, and what had to be mended


DRAFTS: dict[str, tuple[str, list[tuple[str, str]], set[str]]] = {
    "numbered": ("Doc 1: Lima.\nDoc 2: Peru.", [("", "Lima."), ("", "Peru.")], set()),
    "on several lines": (
        "Doc 1: Lima\nis it.\n\nDoc 2:\nPeru.\n",
        [("", "Lima is it."), ("", "Peru.")],
        set(),
    ),
    "titled": (
        "Doc 1(Title: Lima) It is.\nDoc 2 (title: Peru): So is it.",
        [("Lima", "It is."), ("Peru", "So is it.")],
        set(),
    ),
    "titled with brackets": (
        "Doc 1: (Title: Lima (city)) It is.\nDoc 2(Title: ) Peru (land).",
        [("Lima (city)", "It is."), ("", "Peru (land).")],
        set(),
    ),
    "in bold type": ("**Doc 1:** Lima.\n**Document 2**: Peru.", [("", "Lima."), ("", "Peru.")], set()),
    "with a preamble": ("Sure!\n\nDoc 1: Lima.\nDoc 2: Peru.", [("", "Lima."), ("", "Peru.")], set()),
    "without numbers": ("Lima.\n\n- Peru.", [("", "Lima."), ("", "Peru.")], set()),
    "no numbers at all": (
        "Doctors met.\nDoc 3D printing.",
        [("", "Doctors met."), ("", "Doc 3D printing.")],
        set(),
    ),
    "CRLF": ("Doc 1: Lima.\r\n\r\nDoc 2: Peru.\r\n", [("", "Lima."), ("", "Peru.")], set()),
    "an old Mac": ("Lima.\rPeru.", [("", "Lima."), ("", "Peru.")], set()),
    "unicode": (
        "Doc 1: 利馬是首都。🎉\nDoc 2(Title: Ñandú) über \u00a0Zoë\u2028!",
        [("", "利馬是首都。🎉"), ("Ñandú", "über Zoë !")],
        set(),
    ),
    "too few": ("Doc 1: Lima.", [("", "Lima.")], {"few"}),
    "too many": ("Doc 1: a\nDoc 2: b\nDoc 3: c", [("", "a"), ("", "b")], {"many"}),
    "an empty one": ("Doc 1:\nDoc 2: b", [("", "b")], {"few"}),
    "repeated": ("Doc 1: a\nDoc 2: b\nDoc 3: a", [("", "a"), ("", "b")], {"repeated"}),
    "repeated and few": ("Doc 1: a\nDoc 2:  a", [("", "a")], {"repeated", "few"}),
    "a cue before": ("Useful Output:\nDoc 1: a\nDoc 2: b", [("", "a"), ("", "b")], {"cue"}),
    "a cue on the line": ("Noisy Output: Doc 1: a\nDoc 2: b", [("", "a"), ("", "b")], {"cue"}),
    "a cue after": ("Doc 1: a [Useful output]\nDoc 2: b\n[noisy]", [("", "a"), ("", "b")], {"cue"}),
    "the query again": ("Query: q\nDoc 1: a\nDoc 2: b\n query : r", [("", "a"), ("", "b")], {"cue"}),
    "tags": ("<information>Doc 1: a\nDoc 2: b</information>", [("", "a"), ("", "b")], {"cue"}),
    "a useful word": (
        "Doc 1: a useful one.\nDoc 2: noisy outputs",
        [("", "a useful one."), ("", "noisy outputs")],
        set(),
    ),
}


@pytest.mark.parametrize("name", DRAFTS)
def test_what_a_simulator_is_asked_for_is_read(name: str) -> None:
    output, documents, faults = DRAFTS[name]
    draft = read_draft(output, 2)
    assert [(document.title, document.text) for document in draft.documents] == documents
    assert set(draft.faults) == faults
    assert len(draft.faults) == len(faults)
    assert [document.id for document in draft.documents] == ["1", "2"][: len(documents)]
    cut = read_draft(output, 2, ended=False)
    assert cut.documents == draft.documents
    assert set(cut.faults) == faults | {"cut"}


@pytest.mark.parametrize(
    "output", ["", " \n\r\n\t ", "Useful Output:\n", "Doc 1:\nDoc 2: -", "</information>"]
)
def test_an_output_without_documents_is_a_failed_search(output: str) -> None:
    simulator = engine(Writing(lambda prompt, stream: Output(output)))
    result = asyncio.run(simulator.answer(asked(), 2))
    assert result.documents == ()
    assert result.error.startswith("the simulator wrote no document, but ")
    assert repr(output[:9])[1:-1] in result.error
    assert simulator.faults["none"] == 1


def test_what_had_to_be_mended_is_recorded_and_counted() -> None:
    outputs = {
        "a": Output("Doc 1: x"),
        "b": Output("Noisy output:\nx\ny", ended=False),
        "c": Output("x\ny"),
    }
    simulator = engine(Writing(lambda prompt, stream: outputs[said(prompt)["query"]]))
    results = asyncio.run(simulator.search([*"abcab"], 2))
    assert [result.faults for result in results] == [
        ("few",),
        ("cue", "cut"),
        (),
        ("few",),
        ("cue", "cut"),
    ]
    assert simulator.faults == {"few": 1, "cue": 1, "cut": 1}, "an output that is shared counts once"


LONG = {
    "one document": "Doc 1: " + "lima " * 200_000,
    "lines": "\n" * 1_000_000,
    "spaces": "Doc 1: a" + " " * 1_000_000 + "b",
    "a cue and spaces": "useful" + " " * 1_000_000 + "x",
    "cues": "useful output: " * 70_000,
    "documents": "".join(f"Doc {n}: text {n}\n" for n in range(60_000)),
    "an open title": "Doc 1(Title: " + "(a" * 500_000,
    "digits": "Doc " + "1" * 1_000_000 + "x",
}


@pytest.mark.parametrize("name", LONG)
def test_a_megabyte_is_read_in_linear_time(name: str) -> None:
    """In quadratic time it would take hours."""
    draft = read_draft(LONG[name], 3)
    assert len(draft.documents) <= 3
    assert "".join(document.text for document in draft.documents).count("lima") in (0, 200_000)
