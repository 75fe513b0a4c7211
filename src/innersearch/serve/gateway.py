"""The gateway: one engine, answering as every search API that agents already call.

Requests are checked as the API checks them, and its errors are given in its form. Engines merge what is
asked of them at once, so requests are handed on as they come.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from innersearch.search.base import Engine, InformedEngine, SearchRequest, SearchResult, ask
from innersearch.search.remote.apis import APIS, Api
from innersearch.search.remote.requests import Asking
from innersearch.serve.sessions import ENGINE, Session
from innersearch.types import Source

if TYPE_CHECKING:
    from innersearch.serve.serving import Serving

ENGINE_HEADER = "X-Innersearch-Engine"
"""Says who wrote an answer, so that what a model made up is never mistaken for the web."""
_TOLD = ("writer", "model", "seed", "noise_end")
"""What of the identity of an engine is said there."""


class _BadRequestError(Exception):
    """A request that is wrong."""


async def search(
    serving: Serving, session: Session | None, queries: Sequence[str], k: int, *, name: str = ""
) -> list[SearchResult]:
    """One result per query, in order, for a session if there is one, which hears of them.

    Raises:
        UnknownEngineError: No engine of that name is served.
    """
    engine = serving.searched(name)
    if engine is None:
        return [SearchResult(error="nothing is served that could be searched")] * len(queries)
    try:
        results = await _search(engine, session, queries, k)
    except Exception as error:
        # An engine of somebody else's; the text of its error may hold what was sent.
        failed = SearchResult(error=f"{engine.name} failed: {type(error).__name__}")
        results = [failed] * len(queries)
    serving.metrics.searched(results)
    if session is not None:
        for listener in session.listeners:
            for query, result in zip(queries, results, strict=True):
                listener(engine, query, result)
    return results


async def _search(
    engine: Engine, session: Session | None, queries: Sequence[str], k: int
) -> list[SearchResult]:
    if not isinstance(engine, InformedEngine):
        if session is not None:
            session.searches += len(queries)
        return await engine.search(queries, k)
    asked = [
        session.asks(query) if session else SearchRequest(query, identity=(query,)) for query in queries
    ]
    return list(await asyncio.gather(*(ask(engine, one, k) for one in asked)))


def router(serving: Serving) -> APIRouter:
    """The routes of every API."""
    routes = APIRouter(tags=["search"])
    for api in APIS.values():
        for path in api.routes:
            start = "/" + path.split("/")[1]
            # `/v1/search` shares its beginning with other APIs.
            serving.refusals[path if start == "/v1" else start] = api.refuses
            for method in api.methods:
                routes.add_api_route(
                    path,
                    _handler(serving, api),
                    methods=[method],
                    name=f"{api.name} {method.lower()}",
                    summary=(api.query.__doc__ or "").partition("\n")[0],
                    openapi_extra=_described(api, method, path),
                )
    return routes


def _described(api: Api, method: str, path: str) -> dict[str, Any]:
    """What stands about a request at `/docs`: it is read here, as its API reads it, not by FastAPI."""
    schema = api.query.model_json_schema()
    if method == "GET":
        needed = schema.get("required", [])
        return {
            "parameters": [
                {"name": name, "in": "query", "required": name in needed, "schema": said}
                for name, said in schema["properties"].items()
            ]
        }
    kind = "application/x-www-form-urlencoded" if api.name == "searxng" else "application/json"
    tool = {"name": "tool", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "requestBody": {"required": True, "content": {kind: {"schema": schema}}},
        **({"parameters": [tool]} if "{tool}" in path else {}),
    }


def _handler(serving: Serving, api: Api) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        session = serving.sessions.of(request)
        engine = serving.searched(name := request.scope.get(ENGINE, ""))
        try:
            asked = await _read(request, api)
            for asking in asked:
                _demand_within(asking, api, serving)
        except _BadRequestError as error:
            return _json(*api.refuses(422, str(error)))
        found = await asyncio.gather(*(_find(serving, session, asking, name) for asking in asked))
        return _written(engine, api, request, asked, found)

    return answer


async def _read(request: Request, api: Api) -> list[Asking]:
    """What a request asks for; several only where the API takes lists."""
    if request.method == "GET":
        values: Any = dict(request.query_params)
    else:
        values = _values(await request.body())
    listed = api.batches and isinstance(values, list)
    try:
        models = [api.query.model_validate(one) for one in (values if listed else [values])]
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise _BadRequestError(f"{place}: {said}" if place else said) from None
    if not models:
        raise _BadRequestError("the list of queries is empty")
    return [model.asking() for model in models]


def _values(body: bytes) -> Any:
    """A body, which is JSON or a form; clients do not always say which."""
    text = body.decode("utf-8", "replace")
    if text.lstrip()[:1] not in ("{", "["):
        form = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=100)) if "=" in text else {}
        if form:
            return form
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise _BadRequestError("the body is no JSON") from None


def _demand_within(asking: Asking, api: Api, serving: Serving) -> None:
    """Refuse more than an API or this server allows."""
    limits = serving.limits
    if len(asking.queries) > limits.queries:
        raise _BadRequestError(f"{len(asking.queries)} queries: send {limits.queries} at most")
    if asking.k > limits.k:
        raise _BadRequestError(f"{asking.k} documents per query: ask for {limits.k} at most")
    longest = api.max_chars or limits.query_chars
    for query in asking.queries:
        if len(query) > longest:
            raise _BadRequestError(f"Query is too long. Max query length is {longest} characters.")
        if api.max_words and len(query.split()) > api.max_words:
            raise _BadRequestError(f"Query is too long. Max query length is {api.max_words} words.")


async def _find(
    serving: Serving, session: Session | None, asking: Asking, name: str
) -> list[SearchResult]:
    """The page of results that is asked for; there is none behind the most documents of a query."""
    depth = min(asking.skip + asking.k, serving.limits.k)
    if asking.k < 1 or asking.skip >= depth:
        return [SearchResult()] * len(asking.queries)
    # Nothing is found for a query without words, by whatever engine.
    said = [query for query in asking.queries if query.strip()]
    found = iter(await search(serving, session, said, depth, name=name) if said else ())
    results = [next(found) if query.strip() else SearchResult() for query in asking.queries]
    return [replace(result, documents=result.documents[asking.skip : depth]) for result in results]


def _written(
    engine: Engine | None,
    api: Api,
    request: Request,
    asked: Sequence[Asking],
    found: Sequence[Sequence[SearchResult]],
) -> Response:
    """The answer: documents, or the error of the API where there is nothing else to say."""
    results = [result for part in found for result in part]
    failed = [result for result in results if result.error]
    if failed and len(failed) == len(results) and api.name != "searxng":
        status = 402 if all(result.used_up for result in failed) else 502
        return _json(*api.refuses(status, failed[0].error or ""))
    source = engine.source if engine else Source.RETRIEVER
    bodies = [api.answers(asking, part, source) for asking, part in zip(asked, found, strict=True)]
    headers = {ENGINE_HEADER: describe(engine)} if engine else {}
    partial = next((r.partial or r.error for r in results if r.partial or r.error), None)
    if partial:
        headers["X-Innersearch-Partial"] = _printable(partial)
    listed = api.batches and request.method != "GET" and len(bodies) > 1
    return _json(200, bodies if listed else bodies[0], headers)


def describe(engine: Engine) -> str:
    """An engine as a header may say it: its name, who writes its documents, and what decides them.

    >>> from innersearch.testing import ScriptedEngine
    >>> describe(ScriptedEngine())
    'scripted; source=retriever'
    """
    identity = engine.identity
    # The name of a directory, not where it lies.
    told = {name: str(identity[name]).rstrip("/") for name in _TOLD if name in identity}
    parts = [engine.name, f"source={engine.source.value}"]
    parts += [f"{name}={value.rpartition('/')[2]}" for name, value in told.items()]
    return _printable("; ".join(parts))


def _printable(text: str) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", text)[:500]


def _json(status: int, body: Any, headers: dict[str, str] | None = None) -> Response:
    text = json.dumps(body, ensure_ascii=False, allow_nan=False)
    return Response(text.encode("utf-8", "replace"), status, headers, "application/json")
