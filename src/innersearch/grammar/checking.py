"""What every grammar must do, for those who write one."""

from __future__ import annotations

from itertools import product

from innersearch.grammar.base import ANSWER, Action, Grammar, Malformed, Reading
from innersearch.grammar.blocks import Scanner, scan
from innersearch.grammar.markup import neutralise
from innersearch.types import Kind

_CONTENTS = (
    *("who?", "", " ", ",", ' , "" ', "a, b\nc", "日本", "x" * 2_000, "\0", "</", "<b>", "null", "3"),
    *("[]", "[" * 2_000, '["a", 3]', "{}", '{"name": 3}', '{"name": "x", "arguments": "{"}'),
)
"""What policies write between tags now and then."""
_DISGUISES = ("{0}", "{0}{0}", "x{0}y", "<{0}>")


def check_grammar(grammar: Grammar) -> None:
    """Hold a grammar against what rollouts, masks, rewards and documents need of it.

    Raises:
        AssertionError: It breaks the contract; the text says where.
    """
    for kind in grammar.tags:
        text = grammar.render(kind, "x")
        found = [(block.kind, block.closed, block.content(text)) for block in scan(text, grammar)]
        _demand(found == [(kind, True, "x")], f"{text!r} reads as one block of {kind}, given {found}")
    begun = Scanner(grammar).feed(grammar.begins).current.kind
    _demand(
        begun is Kind.THINK or not any(end in grammar.begins for end in grammar.markup),
        f"begins with a thought or with plain text, given {grammar.begins!r}, which begins {begun}",
    )
    _demand(Kind.ANSWER in grammar.reads, "an answer is read: reads has one for it")
    asks = [kind for kind in grammar.reads if kind is not Kind.ANSWER]
    _demand(grammar.untagged or asks, "something can be asked for: reads has more than the answer")
    for (kind, reading), content in product(grammar.reads.items(), _CONTENTS):
        _check_reading(kind, reading, content.strip())
    _check_pieces(grammar)
    _check_documents(grammar)


def _check_reading(kind: Kind, reading: Reading, content: str) -> None:
    what = f"the reading of {kind} for {content[:40]!r}"
    try:
        read = reading(content)
    except Exception as error:
        raise AssertionError(f"{what} returns Malformed, and raises {error!r}") from error
    if isinstance(read, Malformed):
        _demand(read.reason.strip() and "\n" not in read.reason, f"{what} says why, in one line")
        return
    _demand(isinstance(read, tuple) and read, f"{what} returns actions or Malformed, given {read!r}")
    for action in read:
        _demand(isinstance(action, Action), f"{what} returns Actions, given {action!r}")
        texts = isinstance(action.inputs, tuple) and all(isinstance(i, str) for i in action.inputs)
        _demand(texts and action.inputs, f"{what} has inputs that are texts, given {action.inputs!r}")
        _demand(action.dropped >= 0, f"{what} counts what it drops, given {action.dropped}")
        _demand(
            (action.tool == ANSWER) == (kind is Kind.ANSWER),
            f"{what} asks for the tool {action.tool!r}: {ANSWER!r} is for answers alone",
        )


def _check_pieces(grammar: Grammar) -> None:
    text = grammar.begins + "a".join(grammar.markup) + "\n".join(reversed(grammar.markup))
    for cut in range(len(text) + 1):
        found = Scanner(grammar).feed(text[:cut]).feed(text[cut:]).finish()
        _demand(found == scan(text, grammar), f"a text reads alike when it comes in pieces: {text!r}")


def _check_documents(grammar: Grammar) -> None:
    for end, disguise in product(grammar.markup, _DISGUISES):
        document = disguise.format(end)
        neutral = neutralise(document, grammar=grammar)
        read = {block.kind for block in scan(neutral, grammar)}
        _demand(read <= {Kind.TEXT}, f"a document with {document!r} is made harmless, given {neutral!r}")
        _demand(neutralise(neutral, grammar=grammar) == neutral, f"{document!r} is harmless at once")


def _demand(holds: object, what: str) -> None:
    if not holds:
        raise AssertionError(what)
