"""Hard questions made of the pages of a corpus: by injection and fuzzing, each edit checked (ASearcher).

A language model writes a question about one page. Then it is edited, time and again: *injection* puts a
description that another page gives in the place of a name, so that one more thing has to be looked up;
*fuzzing* makes one detail vaguer. The answer stays what it was. An edit counts only if the first two of
three verifiers let it pass, else the question stays as it was before:

    valid     the model, shown the facts that it was made of, finds one answer and no mistake
    unique    none of the answers that it gives without any page is another right one
    hard      it does not know the answer by heart: says when a question is done, and undoes no edit

A question is kept once it is hard and was edited; one that is never hard is dropped. What is random in
it is named by seed, page, edit and sample, so that a model that repeats itself gives the same questions.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from innersearch.metrics import cover_match, exact_match, vote
from innersearch.pages.base import Page, Pages
from innersearch.random_draws import draw
from innersearch.search.base import Engine, SearchRequest, ask
from innersearch.simulator.writers import Prompt, Writer
from innersearch.thoughts import spoken
from innersearch.types import Document, Question

_MOST = 4000
"""Characters of a page that the model is shown."""

_SEED = """Here is a page.

{page}

Write one question about a fact that this page states, and its answer: a name, a date or a number, in \
the words of the page. The question names what it asks about, and does not speak of the page.
Reply with JSON only: {{"question": "...", "answer": "...", "statement": "the sentence that says so"}}"""
_NAME = """Question: {question}
Which name in this question could be looked up? It is a person, a place, a work or an organisation.
Reply with JSON only: {{"name": "as it stands in the question"}}"""
_INJECT = """Question: {question}
It names {name}. Here is a page about {name}.

{page}

Rewrite the question: put a description of {name}, made of one fact of this page, in the place of the \
name, so that whoever answers must first find out who or what that is. Do not name it. The answer stays \
the same.
Reply with JSON only: {{"question": "...", "statement": "the fact"}}"""
_FUZZ = """Question: {question}
Known facts:
{facts}

Rewrite the question: make one detail vaguer, such as a date that becomes a decade, or a name that \
becomes a description. The answer stays the same, and remains the only one.
Reply with JSON only: {{"question": "..."}}"""
_VALID = """Question: {question}
Proposed answer: {answer}
Known facts:
{facts}

Is the question clear, does it follow from the facts that the proposed answer is right, and is it the \
only right one? Reply with JSON only: {{"valid": true or false}}"""
_CLOSED = """Answer from memory, in as few words as possible.
Question: {question}
Reply with JSON only: {{"answer": "..."}}"""
_OTHER = """Question: {question}
Known right answer: {answer}
Known facts:
{facts}

Somebody answered: {other}
Is that a right answer to the question as well? Reply with JSON only: {{"right": true or false}}"""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is tried for each question."""

    edits: int = 8
    """Edits that are tried at most."""
    samples: int = 8
    """Answers without a page; the question is hard when none of them is right."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Draft:
    """A question in the making; replaced, never changed."""

    question: str
    answer: str
    statements: tuple[str, ...]
    """What it takes to answer it."""
    pages: tuple[str, ...]
    """Addresses of the pages that say so."""
    edits: tuple[str, ...] = ()
    known: int = 0
    """How many answers without a page were right."""

    @property
    def facts(self) -> str:
        """The statements, a line each."""
        return "\n".join(f"- {statement}" for statement in self.statements)


@dataclass(frozen=True, slots=True)
class Made:
    """What came of a page."""

    number: int
    draft: Draft | None
    """The last one that passed."""
    outcome: str
    """kept, or why not: no_seed, never_hard or failed."""
    rejected: dict[str, int]
    """How many edits were rejected, by what."""
    error: str | None = None

    def question(self, seed: int) -> Question | None:
        """The question, with what it was made of in its metadata; None where none is kept."""
        if self.draft is None or self.outcome != "kept":
            return None
        draft = self.draft
        told: dict[str, Any] = {"edits": list(draft.edits), "pages": list(draft.pages)}
        told |= {"statements": list(draft.statements), "known": draft.known}
        return Question(f"synthetic-{seed}-{self.number}", draft.question, (draft.answer,), told)

    def row(self, seed: int) -> str | None:
        """The question as a line of a file."""
        found = self.question(seed)
        return json.dumps(asdict(found), ensure_ascii=False) if found else None


class _RejectedError(Exception):
    """An edit does not pass; the message is the word it is counted under."""


class _FailedError(Exception):
    """The model cannot be asked."""


class Synthesis:
    """Makes questions of the pages of a corpus.

    Args:
        writer: The model that writes, edits and verifies.
        engine: Finds the page of a name.
        pages: The pages of its corpus.
        effort: How much is tried.
    """

    def __init__(self, writer: Writer, engine: Engine, pages: Pages, effort: Effort) -> None:
        self.writer, self.engine, self.pages, self.effort = writer, engine, pages, effort

    async def make(self, number: int, address: str) -> Made:
        """What comes of the page at an address; `number` names what is random."""
        rejected: Counter[str] = Counter()
        draft: Draft | None = None
        try:
            draft = await self._begun(number, address)
            if draft is None:
                return Made(number, None, "no_seed", {})
            for edit in range(self.effort.edits):
                if draft.edits and not draft.known:
                    break
                try:
                    draft = await self._edited(draft, (number, edit))
                except _RejectedError as reason:
                    rejected[str(reason)] += 1
        except _FailedError as error:
            return Made(number, draft, "failed", dict(rejected), str(error))
        done = bool(draft.edits) and not draft.known
        return Made(number, draft, "kept" if done else "never_hard", dict(rejected))

    async def _begun(self, number: int, address: str) -> Draft | None:
        """A question about one page; None where the model writes none that passes."""
        try:
            page = await self._open(address)
            told = await self._told(_SEED.format(page=_shown(page)), (number, "seed"))
            texts = _texts(told, "question", "answer", "statement")
            # Its own page must hold the answer, or nobody could find it.
            if not cover_match(page.text, [texts[1]]):
                return None
            draft = Draft(texts[0], texts[1], (texts[2],), (page.address,))
            _demand_hidden(draft)
            return await self._verified(draft, (number, "seed"))
        except _RejectedError:
            return None

    async def _edited(self, draft: Draft, name: tuple[int, int]) -> Draft:
        """The draft after one more edit.

        Raises:
            _RejectedError: It does not pass.
        """
        inject = draw("synthesis", self.effort.seed, *name) < 0.5
        changed = await (self._injected(draft, name) if inject else self._fuzzed(draft, name))
        if vote(changed.question) == vote(draft.question):
            raise _RejectedError("unchanged")
        _demand_hidden(changed)
        return await self._verified(changed, name)

    async def _injected(self, draft: Draft, name: tuple[int, int]) -> Draft:
        told = await self._told(_NAME.format(question=draft.question), (*name, "name"))
        [entity] = _texts(told, "name")
        if entity not in draft.question or exact_match(entity, [draft.answer]):
            raise _RejectedError("no_name")
        page = await self._page(entity)
        asked = _INJECT.format(question=draft.question, name=entity, page=_shown(page))
        question, statement = _texts(await self._told(asked, (*name, "inject")), "question", "statement")
        if entity.lower() in question.lower():
            raise _RejectedError("still_named")
        if vote(statement) in map(vote, draft.statements):
            raise _RejectedError("covered")
        return replace(
            draft,
            question=question,
            statements=(*draft.statements, statement),
            pages=(*draft.pages, page.address),
            edits=(*draft.edits, "inject"),
        )

    async def _open(self, address: str) -> Page:
        [opened] = await self.pages.open([address])
        if opened.page is None:
            raise _RejectedError("no_page")
        return opened.page

    async def _page(self, entity: str) -> Page:
        """The page whose title is a name."""
        found = await ask(self.engine, SearchRequest(entity), 5)
        for document in found.documents:
            if exact_match(document.title, [entity]):
                return await self._open(document.url or document.id)
        raise _RejectedError("no_page")

    async def _fuzzed(self, draft: Draft, name: tuple[int, int]) -> Draft:
        asked = _FUZZ.format(question=draft.question, facts=draft.facts)
        [question] = _texts(await self._told(asked, (*name, "fuzz")), "question")
        return replace(draft, question=question, edits=(*draft.edits, "fuzz"))

    async def _verified(self, draft: Draft, name: tuple[int | str, ...]) -> Draft:
        """The draft with how many answers by heart are right.

        Raises:
            _RejectedError: It has a mistake, or another right answer.
        """
        values = {"question": draft.question, "answer": draft.answer, "facts": draft.facts}
        if not _is_true(await self._told(_VALID.format(**values), (*name, "valid")), "valid"):
            raise _RejectedError("not_valid")
        asked = _CLOSED.format(question=draft.question)
        replies = await asyncio.gather(
            *(self._told(asked, (*name, "closed", n)) for n in range(self.effort.samples))
        )
        answers = [str(reply.get("answer") or "") for reply in replies]
        right = [exact_match(answer, [draft.answer]) for answer in answers]
        wrong = {vote(a): a for a, is_right in zip(answers, right, strict=True) if not is_right}
        for place, other in enumerate(text for key, text in wrong.items() if key):
            told = await self._told(_OTHER.format(**values, other=other), (*name, "other", place))
            # Whatever cannot be read counts as right: a doubtful question is no loss.
            if told.get("right") is not False:
                raise _RejectedError("not_unique")
        return replace(draft, known=sum(right))

    async def _told(self, message: str, name: tuple[int | str, ...]) -> dict[str, Any]:
        """The JSON object of a reply; empty where there is none.

        Raises:
            _FailedError: The model cannot be asked.
        """
        output = await self.writer.write(Prompt(message), ("synthesis", self.effort.seed, *name))
        if output.error is not None:
            raise _FailedError(output.error)
        text = spoken(output.text).whole or ""
        try:
            found = json.loads(text[text.index("{") : text.rindex("}") + 1])
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def _texts(told: dict[str, Any], *names: str) -> list[str]:
    values = [told.get(name) for name in names]
    found = [" ".join(value.split()) for value in values if isinstance(value, str)]
    if len(found) < len(names) or not all(found):
        raise _RejectedError("unreadable")
    return found


def _is_true(told: dict[str, Any], name: str) -> bool:
    return told.get(name) is True


def _demand_hidden(draft: Draft) -> None:
    if cover_match(draft.question, [draft.answer]):
        raise _RejectedError("answer_in_question")


def _shown(page: Page) -> str:
    return f"<page>\n{page.title}\n{page.text[:_MOST]}\n</page>"


def addresses_of(documents: Sequence[Document], count: int, seed: int) -> list[str]:
    """Addresses of up to `count` pages that questions begin with, drawn by the seed, none twice.

    A corpus of many millions is not read: places are drawn, and looked up.
    """
    chosen: dict[str, None] = {}
    for number in range(20 * count):
        document = documents[int(draw("page", seed, number) * len(documents))]
        chosen[document.url or document.id] = None
        if len(chosen) == count:
            break
    return list(chosen)
