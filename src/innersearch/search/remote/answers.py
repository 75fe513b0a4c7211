"""What search APIs answer, written from documents: the inverse of `read_answer` and of `retrieve`.

    read_answer(TAVILY, APIS["tavily"].answers(asking, [result]), k) == documents

up to what the API has a field for: all of them know addresses, titles and texts; Tavily, Exa, SearXNG
and `/retrieve` also scores; ids only `/retrieve`, elsewhere the address is the id.
"""

from __future__ import annotations

import hashlib
import html
import math
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from innersearch.search.addresses import address_of
from innersearch.search.base import SearchResult
from innersearch.search.remote.dialects import (
    BRAVE,
    EXA,
    PERPLEXITY,
    SEARXNG,
    SERPAPI,
    SERPER,
    TAVILY,
    Dialect,
)
from innersearch.search.remote.requests import Asking
from innersearch.types import Document, Source

Json = dict[str, Any]


def rows(dialect: Dialect, documents: Sequence[Document], source: Source) -> list[Json]:
    """Documents as the results of an API: address, title and text under its names."""
    return [
        {
            "title": _escaped(dialect, document.title),
            dialect.url: address_of(document, source),
            dialect.text: _escaped(dialect, document.text),
        }
        for document in documents
    ]


def _escaped(dialect: Dialect, text: str) -> str:
    return html.escape(text) if dialect.escaped else text


def identify(asking: Asking) -> str:
    """An id for an answer, the same for the same request."""
    name = repr((asking.queries, asking.k, asking.skip)).encode("utf-8", "replace")
    digest = hashlib.blake2b(name, digest_size=16).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"


def serper(asking: Asking, results: Sequence[SearchResult], source: Source) -> Json:
    """Serper: `organic`, counted from 1."""
    (result,) = results
    found = rows(SERPER, result.documents, source)
    return {
        "searchParameters": {**asking.options, "engine": "google"},
        "organic": [{**row, "position": n} for n, row in enumerate(found, 1)],
        "credits": 1 if asking.k <= 10 else 2,
    }


def serpapi(asking: Asking, results: Sequence[SearchResult], source: Source) -> Json:
    """SerpAPI: `organic_results`, and a sentence where there are none."""
    (result,) = results
    found = rows(SERPAPI, result.documents, source)
    answer: Json = {
        "search_metadata": {"id": identify(asking).replace("-", "")[:24], "status": "Success"},
        "search_parameters": dict(asking.options),
        "search_information": {
            "query_displayed": asking.query,
            "organic_results_state": "Results for exact spelling" if found else "Fully empty",
        },
    }
    if not found:
        return answer | {"error": "Google hasn't returned any results for this query."}
    places = enumerate(found, asking.skip + 1)
    shown = [{"position": n, **row, "displayed_link": row[SERPAPI.url]} for n, row in places]
    return answer | {"organic_results": shown}


def tavily(asking: Asking, results: Sequence[SearchResult], source: Source) -> Json:
    """Tavily: every result has a score, 0 where the engine gives none."""
    (result,) = results
    found = zip(rows(TAVILY, result.documents, source), result.documents, strict=True)
    answer: Json = {
        "query": asking.query,
        "follow_up_questions": None,
        "answer": None,
        "images": [],
        "results": [
            {
                **row,
                "score": _score(document) or 0.0,
                "raw_content": document.text if asking.options["raw"] else None,
            }
            for row, document in found
        ],
        "response_time": round(result.latency_s, 3),
        "request_id": identify(asking),
    }
    return answer | ({"usage": {"credits": 1}} if asking.options["usage"] else {})


def brave(asking: Asking, results: Sequence[SearchResult], source: Source) -> Json:
    """Brave: `web` is missing where nothing was found; texts hold character references."""
    (result,) = results
    query = {"original": asking.query, "more_results_available": len(result.documents) >= asking.k}
    answer: Json = {"type": "search", "query": query}
    found = rows(BRAVE, result.documents, source)
    if not found:
        return answer
    web = [
        {"type": "search_result", **row, "meta_url": {"hostname": _parsed(row["url"])[1]}}
        for row in found
    ]
    return answer | {"web": {"type": "search", "results": web, "family_friendly": True}}


def exa(asking: Asking, results: Sequence[SearchResult], source: Source) -> Json:
    """Exa: texts only for those who ask for contents."""
    (result,) = results
    found = []
    for row, document in zip(rows(EXA, result.documents, source), result.documents, strict=True):
        text = row.pop(EXA.text)
        found.append(
            {
                "id": row["url"],
                **row,
                **({} if (score := _score(document)) is None else {"score": score}),
                "publishedDate": None,
                "author": None,
                **_contents(text, asking.options),
            }
        )
    return {
        "requestId": identify(asking).replace("-", ""),
        "resolvedSearchType": "neural",
        "results": found,
        "costDollars": {"total": 0.0},
    }


def _contents(text: str, wanted: Any) -> Json:
    contents: Json = {}
    if wanted.get("text"):
        contents["text"] = text[: _most_characters(wanted["text"])]
    if wanted.get("highlights"):
        contents["highlights"] = [text[:500]] if text else []
        contents["highlightScores"] = [1.0] if text else []
    if wanted.get("summary"):
        contents["summary"] = text[:500]
    return contents


def _most_characters(wanted: Any) -> int | None:
    most = wanted.get("maxCharacters") if isinstance(wanted, dict) else None
    return most if isinstance(most, int) and not isinstance(most, bool) and most > 0 else None


def perplexity(asking: Asking, results: Sequence[SearchResult], source: Source) -> Json:
    """Perplexity: the results of several queries stand one behind the other."""
    found = [row for result in results for row in rows(PERPLEXITY, result.documents, source)]
    dated = [{**row, "date": None, "last_updated": None} for row in found]
    return {"results": dated, "id": identify(asking), "server_time": None}


def searxng(asking: Asking, results: Sequence[SearchResult], source: Source) -> Json:
    """SearXNG: a failed search is an engine that did not answer, which is named."""
    (result,) = results
    name = "innersearch"
    found = zip(rows(SEARXNG, result.documents, source), result.documents, strict=True)
    trouble = result.error or result.partial
    return {
        "query": asking.query,
        "number_of_results": len(result.documents),
        "results": [
            {
                **row,
                "engine": name,
                "engines": [name],
                "category": asking.options["categories"].partition(",")[0] or "general",
                "template": "default.html",
                "parsed_url": _parsed(row["url"]),
                "positions": [n],
                "score": _score(document) or 0.0,
                "publishedDate": None,
            }
            for n, (row, document) in enumerate(found, asking.skip + 1)
        ],
        "answers": [],
        "corrections": [],
        "infoboxes": [],
        "suggestions": [],
        "unresponsive_engines": [[name, trouble]] if trouble else [],
    }


def _parsed(address: str) -> list[str]:
    try:
        parts = urlsplit(address)
    except ValueError:
        return ["", "", address, "", "", ""]
    return [parts.scheme, parts.netloc, parts.path, "", parts.query, parts.fragment]


def open_webui(asking: Asking, results: Sequence[SearchResult], source: Source) -> list[Json]:
    """Open WebUI: a bare list."""
    (result,) = results
    return [
        {"link": address_of(document, source), "title": document.title, "snippet": document.text}
        for document in result.documents
    ]


def retrieve(asking: Asking, results: Sequence[SearchResult], source: Source) -> Any:
    """The `/retrieve` family: wrapped, bare, or texts alone; `errors` names queries that failed."""
    if asking.options["texts"]:
        return [{"text": _contents_of(document)} for document in results[0].documents]
    write = _found_at if asking.options["bare"] else _wrapped
    answer: Json = {"result": [[write(d, source) for d in result.documents] for result in results]}
    errors = [result.error for result in results]
    return answer | ({"errors": errors} if any(errors) else {})


def _bare(document: Document) -> Json:
    """Every field that a client of the family reads."""
    return {
        "id": document.id,
        "contents": _contents_of(document),
        "title": document.title,
        "text": document.text,
    }


def _found_at(document: Document, source: Source) -> Json:
    """With an address in any case: ASearcher's client opens it."""
    return _bare(document) | {"url": address_of(document, source)}


def _wrapped(document: Document, source: Source) -> Json:
    address = {"url": document.url} if document.url else {}
    return {"document": _bare(document) | address, "score": _score(document)}


def _contents_of(document: Document) -> str:
    r"""A document as wiki-18 has it: its title in quotes, on a line of its own, and its text.

    >>> _contents_of(Document("1", "Lima", "Lima is in Peru."))
    '"Lima"\nLima is in Peru.'
    """
    title = " ".join(document.title.split()).replace('"', '""')
    return f'"{title}"\n{document.text}'


def _score(document: Document) -> float | None:
    """A score that JSON can hold."""
    score = document.score
    return score if score is not None and math.isfinite(score) else None
