"""Policies and engines that do what they are told, and checks of those that people write.

engine = ScriptedEngine({"capital of Peru": ["Lima is the capital of Peru."]})
policy = ScriptedPolicy(tokenizer, ["<search>capital of Peru</search>", "<answer>Lima</answer>"])

check_engine(MyEngine())            # raises AssertionError with one line that says what is wrong
check_policy(my_policy, tokenizer)
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from innersearch.assemble.anywhere import anywhere
from innersearch.grammar.checking import check_grammar
from innersearch.policy.base import Completion, Policy, Request
from innersearch.policy.scripted import ScriptedPolicy
from innersearch.search.base import Engine, SearchResult
from innersearch.types import Document, Finish, Sampling, Source

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = [
    "QUERIES",
    "ScriptedEngine",
    "ScriptedPolicy",
    "check_engine",
    "check_grammar",
    "check_policy",
]

Answer = SearchResult | Iterable[str]
"""What a query finds: a result, or the texts of documents."""
Queries = Callable[[str], Answer | Awaitable[Answer]] | Mapping[str, Answer]

QUERIES = ("capital of Peru", "who founded Coltek", "", " \n", "日本の首都", "a" * 2_000, 'x" OR 1=1 --')
"""What `check_engine` asks: also what policies write now and then."""


@dataclass
class ScriptedEngine:
    """An engine that finds what a function or a table says; what is not in the table finds nothing.

    `asked` keeps its queries in order.
    """

    answers: Queries = field(default_factory=dict)
    name: str = "scripted"
    source: Source = Source.RETRIEVER
    identity: dict[str, Any] = field(default_factory=lambda: {"engine": "scripted"})
    asked: list[str] = field(default_factory=list)

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """See `Engine`."""
        self.asked += queries
        return [await self._result(query, k) for query in queries]

    async def _result(self, query: str, k: int) -> SearchResult:
        answers = self.answers
        answer = answers(query) if callable(answers) else answers.get(query, ())
        answer = await answer if isinstance(answer, Awaitable) else answer
        if isinstance(answer, SearchResult):
            return answer
        texts = [answer] if isinstance(answer, str) else list(answer)
        return SearchResult(tuple(Document(str(i), "", text) for i, text in enumerate(texts[:k])))

    async def close(self) -> None:
        """Nothing is open."""


@anywhere
def check_engine(engine: Engine, queries: Sequence[str] = QUERIES, k: int = 3) -> None:
    """Ask an engine as rollouts do, and hold what it answers against the contract of `Engine`.

    Raises:
        AssertionError: It breaks the contract; the text says where.
    """
    name, source = getattr(engine, "name", None), getattr(engine, "source", None)
    _demand(isinstance(name, str) and name, f"name is a text that is not empty, given {name!r}")
    _demand(isinstance(source, Source), f"source is a Source, given {source!r}")
    try:
        json.dumps(dict(engine.identity))
    except (AttributeError, TypeError, ValueError) as error:
        raise AssertionError(f"identity is a table that JSON can hold: {error}") from error
    for method in ("search", "close"):
        _demand(callable(getattr(engine, method, None)), f"it has a method {method}")

    async def search(asked: list[str]) -> list[SearchResult]:
        try:
            waiting = engine.search(asked, k)
            _demand(isinstance(waiting, Awaitable), "search is an async function")
            answered = await waiting
        except AssertionError:
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise AssertionError(f"a failed search is a result with an error, raised {said}") from error
        _demand(isinstance(answered, list), f"search returns a list, given {answered!r:.80}")
        return answered

    async def ask() -> tuple[list[SearchResult], list[SearchResult], list[SearchResult]]:
        together = await search(list(queries))
        alone = [result for query in queries for result in await search([query])]
        return together, alone, await search([])

    together, alone, none = asyncio.run(ask())
    _demand(none == [], f"no queries find no results, given {none!r}")
    _demand(len(together) == len(queries), f"one result per query: {len(queries)}, not {len(together)}")
    for query, result, again in zip(queries, together, alone, strict=True):
        _check_result(query[:40], result, k)
        found, same = ([d.id for d in r.documents] for r in (result, again))
        _demand(found == same, f"query {query[:40]!r} finds {same} alone and {found} among others")


def _check_result(query: str, result: SearchResult, k: int) -> None:
    _demand(isinstance(result, SearchResult), f"query {query!r}: a SearchResult, given {result!r}")
    _demand(len(result.documents) <= k, f"query {query!r}: {len(result.documents)} documents, k is {k}")
    _demand(
        result.error is None or not result.documents, f"query {query!r}: an error and documents at once"
    )
    _demand(result.error != "", f"query {query!r}: an error says what went wrong")
    for document in result.documents:
        _demand(isinstance(document, Document), f"query {query!r}: Documents, given {document!r}")
        _demand(isinstance(document.text, str), f"query {query!r}: the text of {document.id!r} is none")


@anywhere
def check_policy(
    policy: Policy, tokenizer: PreTrainedTokenizerFast, prompt: str = "Who founded Coltek?"
) -> None:
    """Sample from a policy as rollouts do, and hold what it writes against the contract of `Policy`.

    Raises:
        AssertionError: It breaks the contract; the text says where.
    """
    known = {"tokens", "logprobs", "entropies"}
    _demand(policy.provides <= known, f"provides some of {sorted(known)}, given {policy.provides}")
    _demand(policy.context > 0, f"context is a number of tokens, given {policy.context}")
    ids = tuple(tokenizer.encode(prompt, add_special_tokens=False))
    requests = [Request(ids, ("check", number), max_new_tokens=8) for number in range(3)]

    async def sample(asked: Sequence[Request]) -> list[Completion]:
        async with policy.session(Sampling(1.0, 8, seed=0)) as sampler:
            return list(await asyncio.gather(*(sampler.generate(request) for request in asked)))

    written = asyncio.run(sample(requests))
    for completion in written:
        _check_completion(completion, policy.provides, len(tokenizer), 8)
    if "tokens" in policy.provides:
        again = asyncio.run(sample(requests[::-1]))[::-1]
        for first, second in zip(written, again, strict=True):
            _demand(
                first.token_ids == second.token_ids,
                f"the same stream writes the same tokens in any order: {first.token_ids}, then "
                f"{second.token_ids}",
            )


def _check_completion(
    completion: Completion, provides: frozenset[str], vocabulary: int, most: int
) -> None:
    ids = completion.token_ids
    _demand(0 < len(ids) <= most, f"1 to {most} tokens, given {len(ids)}")
    _demand(all(0 <= i < vocabulary for i in ids), f"ids below {vocabulary}, given {ids}")
    _demand(isinstance(completion.finish, Finish), f"finish is a Finish, given {completion.finish!r}")
    for name in ("logprobs", "entropies"):
        values = getattr(completion, name)
        if name in provides:
            _demand(len(values) == len(ids), f"{name} of every token: {len(ids)}, not {len(values)}")
        else:
            _demand(not values, f"{name} are given, and not among what it provides")
    _demand(all(value <= 1e-6 for value in completion.logprobs), "log-probabilities are at most 0")
    _demand(all(value >= -1e-6 for value in completion.entropies), "entropies are at least 0")


def _demand(holds: object, what: str) -> None:
    if not holds:
        raise AssertionError(what)
