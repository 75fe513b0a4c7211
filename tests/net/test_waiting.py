"""No server can make a run wait without end, and no number or error of one is a traceback."""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from innersearch import cli
from innersearch.cli import main
from innersearch.cli.options import SearchOptions
from innersearch.config import Recipe, SearchSettings
from innersearch.errors import ConfigError, PolicyError, RunError
from innersearch.policy.servers import Patience, Servers
from innersearch.runs import Run
from innersearch.search.wrappers.budget import Budget, Spent
from innersearch.world_1.conventions import WORLD
from tests.search_servers import Answer, Asked, LocalServer

FAST = Patience(backoff_s=0.001, backoff_max_s=0.002, probe_s=0.001, rest_s=0.001, max_outage_s=5.0)


def posted(*answers: Callable[[Asked], Answer], patience: Patience = FAST, get: bool = False) -> Any:
    """What servers answer, or the error."""
    opened = [LocalServer(answer) for answer in answers]
    for server in opened:
        server.start()

    async def run() -> Any:
        servers = Servers([server.url for server in opened], 4, patience)
        try:
            return await (servers.get("models") if get else servers.post("completions", {"a": "\ud800"}))
        except PolicyError as error:
            return error
        finally:
            await servers.close()

    try:
        return asyncio.run(run())
    finally:
        for server in opened:
            server.stop()


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    "headers", [{"Retry-After": "86400"}, {"Retry-After": "Mon, 01 Jan 2300 00:00:00 GMT"}], ids=str
)
def test_a_policy_server_cannot_ask_for_more_than_an_outage(
    status: int, headers: dict[str, str]
) -> None:
    error = posted(lambda asked: Answer({}, status, headers))
    assert isinstance(error, PolicyError)
    assert "that is too long to wait" in str(error)


@pytest.mark.parametrize("value", ["9" * 5_000, "Mon, 01 Jan 99999999999 00:00:00 GMT", "nan", "-1"])
def test_a_wait_that_cannot_be_read_is_none(value: str) -> None:
    answers = iter([Answer({}, 429, {"Retry-After": value, "RateLimit-Reset": value})])
    assert posted(lambda asked: next(answers, None) or Answer({"ok": 1})) == {"ok": 1}


@pytest.mark.parametrize("get", [True, False], ids=["GET /models", "POST"])
def test_every_call_of_a_policy_has_a_deadline_to_its_last_byte(*, get: bool) -> None:
    slow = replace(FAST, deadline_s=0.2, tries=1, open_after=1, max_outage_s=0.0)
    error = posted(lambda asked: Answer(b" " * 500, trickle_s=0.02), patience=slow, get=get)
    assert isinstance(error, PolicyError)
    assert "did not answer within 0.2 s at http://127.0.0.1" in str(error)


def test_another_server_is_asked_at_once_where_one_is_slow_limited_or_broken() -> None:
    calm = replace(FAST, deadline_s=0.3)
    for bad in (Answer({}, 429, {"Retry-After": "4"}), Answer({}, 503), Answer(b"  ", trickle_s=9.0)):
        got = posted(lambda _, bad=bad: bad, lambda _: Answer({"ok": 1}), patience=calm)
        assert got == {"ok": 1}


@pytest.mark.parametrize("price", [float("inf"), float("nan"), 1e300, -1.0])
def test_a_price_that_is_none_leaves_the_list_price(price: float) -> None:
    budget = Budget(calls=5, usd=1)
    budget.reserve(0.01)
    budget.settle(0.01, price)
    assert budget.spent == Spent(1, 0.01)


@pytest.mark.parametrize("limit", [float("inf"), float("nan"), 1e308, -1])
def test_a_budget_without_a_sum_is_refused(limit: float) -> None:
    with pytest.raises(ConfigError, match="impossible"):
        Budget(usd=limit)


def test_a_run_goes_on_with_other_limits_of_calls_and_with_nothing_else(tmp_path: Path) -> None:
    before = Recipe(search=SearchSettings(max_calls=5))
    Run.start(tmp_path, before, resume=False)
    (tmp_path / "trajectories.jsonl").touch()
    slower = SearchSettings(
        max_calls=9, max_usd=1, in_flight=2, per_second=0.5, deadline_s=9, max_error_rate=1
    )
    Run.start(tmp_path, Recipe(search=slower), resume=True)
    with pytest.raises(RunError, match=r"search\.k"):
        Run.start(tmp_path, Recipe(search=SearchSettings(k=9)), resume=True)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            FileNotFoundError(errno.ENOENT, "No such file", "/some/file"),
            "No such file or directory: /some",
        ),
        (
            FileNotFoundError(errno.ENOENT, "No such file"),
            "No such file or directory (FileNotFoundError)",
        ),
        (OSError(errno.ENOSPC, "No space left"), "No space left on device: while writing"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "Connection refused (ConnectionRefusedError)"),
        (ssl.SSLError(1, "Bearer hidden-77"), "SSLError"),
        (OSError("Bearer hidden-77"), "OSError"),
    ],
)
def test_what_the_machine_refused_is_said_as_it_is(
    error: OSError, said: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*given: object, **more: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    assert cli.main(["search", "x", "y"]) == 1
    printed = " ".join(capfd.readouterr().err.split())
    assert said in printed
    assert "hidden-77" not in printed
    assert ("while writing" in printed) == (error.errno == errno.ENOSPC)


@pytest.mark.usefixtures("in_empty_folder")
def test_how_many_searches_may_fail_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    for given, wanted in ((0.0, 0.0), (0.9, 0.9), (None, SearchSettings().max_error_rate)):
        settings = (
            SearchOptions(search="world", max_error_rate=given).choice().settings("world-1", WORLD)
        )
        assert settings is not None
        assert settings.max_error_rate == wanted
    alone = ("eval", "world-1", "--data", "world-1:test", "--max-error-rate", "0")
    assert main(alone) == 1
    assert "--max-error-rate without a search" in capsys.readouterr().err


def test_a_failure_that_a_server_of_token_ids_sends_with_status_200_is_one() -> None:
    answers = [
        Answer({"error": {"message": "overloaded, try again", "code": 503}}),
        Answer({"error": {"message": "rate limit exceeded", "code": 429}}),
        Answer({"choices": [{"text": "A"}]}),
    ]
    assert posted(lambda asked: answers.pop(0)) == {"choices": [{"text": "A"}]}
    refused = posted(lambda asked: Answer({"error": {"message": "invalid api key", "code": 401}}))
    assert isinstance(refused, PolicyError)
    assert "no completion" not in str(refused)
