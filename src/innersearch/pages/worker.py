"""What turns the bytes of a page into text, in a process of its own; started by `extraction`.

It is run as a script and imports nothing of this package, so that it starts fast and holds no secrets.
Requests and answers are frames on stdin and stdout: a length of four bytes, big-endian, and JSON. A
request is followed by a frame with the bytes of the page. The process limits its own memory and time:
what it reads was written by strangers, and may be made to break whoever reads it.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
from contextlib import suppress
from typing import Any, BinaryIO
from urllib.parse import urldefrag, urljoin

MEMORY = 2 << 30
"""Bytes of address space."""
_MOST_LINKS = 200
_MOST_PDF_PAGES = 500
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)


def main() -> None:
    """Answer requests until stdin ends."""
    asked = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    # Whatever libraries print is no answer.
    os.dup2(2, 1)
    _limit_memory()
    while (head := read_frame(asked)) is not None:
        request, body = json.loads(head), read_frame(asked) or b""
        # Whoever waits kills this process much sooner; this is for when nobody waits any more.
        signal.alarm(int(request["limit_s"]) * 3 + 5)
        try:
            answer = extracted(body, request["kind"], request["charset"], request["address"])
        except MemoryError:
            answer = {"error": "it takes too much memory to read"}
        except Exception as error:
            answer = {"error": f"it cannot be read ({type(error).__name__})"}
        signal.alarm(0)
        text = json.dumps(answer).encode()
        answers.write(len(text).to_bytes(4, "big") + text)
        answers.flush()


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next frame; None at the end."""
    size = stream.read(4)
    return stream.read(int.from_bytes(size, "big")) if len(size) == 4 else None


def extracted(body: bytes, kind: str, charset: str, address: str) -> dict[str, Any]:
    """Title, text and links of a page: `html`, `pdf` or `text`."""
    if kind == "pdf":
        return _of_pdf(body)
    if kind == "text":
        return {"title": "", "text": _decoded(body, charset), "links": []}
    return _of_html(body, charset, address)


def _of_html(body: bytes, charset: str, address: str) -> dict[str, Any]:
    import trafilatura
    from lxml import html
    from trafilatura.settings import use_config

    # Its own limit would be an alarm signal of its own.
    config = use_config()
    config.set("DEFAULT", "EXTRACTION_TIMEOUT", "0")
    source = _decoded(body, charset or _declared(body))
    text = trafilatura.extract(source, url=address, output_format="markdown", config=config)
    tree = None
    with suppress(Exception):
        # Declared encodings are done with; lxml refuses texts that still declare one.
        tree = html.fromstring(re.sub(r"^\s*<\?xml[^>]*>", "", source))
    title, links = "", _links(tree, address)
    if tree is not None:
        title = " ".join((tree.findtext(".//title") or "").split())
        if not text:
            text = trafilatura.html2txt(source) or _words(tree)
    return {"title": title, "text": text or "", "links": links}


def _words(tree: Any) -> str:
    """All words of a page, where no main text was found."""
    for aside in tree.xpath("//script|//style|//template|//noscript|//head"):
        aside.drop_tree()
    return str(tree.text_content())


def _declared(body: bytes) -> str:
    found = _CHARSET.search(body[:4096])
    return found[1].decode("ascii", "replace") if found else ""


def _decoded(body: bytes, charset: str) -> str:
    for name in (charset, "utf-8"):
        if name:
            with suppress(LookupError, UnicodeError):
                return body.decode(name)
    from charset_normalizer import from_bytes

    best = from_bytes(body[:200_000]).best()
    return body.decode(best.encoding if best else "utf-8", "replace")


def _links(tree: Any, address: str) -> list[str]:
    if tree is None:
        return []
    base = address
    for href in tree.xpath("//base/@href")[:1]:
        with suppress(ValueError):
            base = urljoin(address, str(href))
    found: dict[str, None] = {}
    for href in tree.xpath("//a/@href"):
        with suppress(ValueError):
            target = urldefrag(urljoin(base, str(href).strip())).url
            if target.startswith(("http://", "https://")) and len(target) <= 2_000:
                found[target] = None
        if len(found) >= _MOST_LINKS:
            break
    return list(found)


def _of_pdf(body: bytes) -> dict[str, Any]:
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(body))
    parts: list[str] = []
    length = 0
    for page in reader.pages[:_MOST_PDF_PAGES]:
        parts.append(page.extract_text())
        length += len(parts[-1])
        if length > 1_000_000:
            break
    title = reader.metadata.title if reader.metadata else None
    return {"title": title or "", "text": "\n\n".join(parts), "links": []}


def _limit_memory() -> None:
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
