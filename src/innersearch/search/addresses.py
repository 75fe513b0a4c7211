"""Addresses for documents that have none, for APIs whose results must have one.

They end in `.invalid`, a name that no machine can ever have, so that nobody fetches a stranger's page
for a document of an index or one that a model made up.

    >>> address_of(Document("wiki/7", "Lima", "Lima is in Peru."))
    'https://document.invalid/wiki%2F7'
    >>> identity_of('https://document.invalid/wiki%2F7')
    'wiki/7'
    >>> address_of(Document("1", "Lima", "Lima is in Peru."), Source.SIMULATOR)
    'https://simulated.invalid/lima-eb79d7a6'
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote, unquote

from innersearch.types import Document, Source

INDEXED, SIMULATED = "https://document.invalid/", "https://simulated.invalid/"
_MADE_UP = (Source.SIMULATOR, Source.SELF_SEARCH)


def address_of(document: Document, source: Source = Source.RETRIEVER) -> str:
    """The address of a document: its own, or one that says which document it is.

    What a model made up has no id that means anything: its title and a digest of its text stand there.
    """
    if document.url:
        return document.url
    if source not in _MADE_UP and document.id:
        return INDEXED + quote(document.id.encode("utf-8", "replace"), safe="")
    text = f"{document.title}\n{document.text}".encode("utf-8", "replace")
    digest = hashlib.blake2b(text, digest_size=4).hexdigest()
    words = re.findall(r"\w+", (document.title or document.text).lower())
    return SIMULATED + quote("-".join([*words[:6], digest]).encode("utf-8", "replace"))


def identity_of(address: str) -> str | None:
    """The id of the document that an address of `address_of` stands for; None for any other address."""
    if not address.startswith(INDEXED):
        return None
    return unquote(address[len(INDEXED) :]) or None
