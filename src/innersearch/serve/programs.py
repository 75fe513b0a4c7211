"""Agents of others as rollouts: a program per trajectory, with an address for its model and for search.

    OPENAI_BASE_URL=http://127.0.0.1:PORT/s/ID/v1      the model, as OpenAI's API
    INNERSEARCH_SEARCH_URL=http://127.0.0.1:PORT/s/ID  search; the API follows: …/tavily, …/retrieve

How a program ends is data: what the model wrote for it stays, whatever its exit code, and its answer is
none where it printed nothing. The server runs in the event loop of the rollouts, and so in their thread.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import time
from collections.abc import Sequence
from contextlib import aclosing, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, Self

from innersearch.config import AgentSettings, Recipe
from innersearch.errors import ConfigError, RunError, SearchError
from innersearch.grammar import MaskRule, grammar_of
from innersearch.policy.base import Policy
from innersearch.rewards import Rubric
from innersearch.rollout.episode import Score, Task
from innersearch.rollout.run import demand_finite
from innersearch.rollout.scheduler import in_order
from innersearch.rollout.tally import Tally
from innersearch.search.base import SearchResult
from innersearch.serve import chat
from innersearch.serve.capture import Capture
from innersearch.serve.model_url import NAME, ModelUrl, demand_capturable
from innersearch.serve.serving import Serving
from innersearch.serve.sessions import Session, SessionRequest
from innersearch.tools.search import SearchTool
from innersearch.types import AgentRun, Sampling, StopReason, Trajectory

if TYPE_CHECKING:
    import uvicorn
    from transformers import PreTrainedTokenizerFast

QUESTION = "{question}"
_MOST_PRINTED = 1 << 20
_LAST_WORDS = 4096
_SHOWN = 200


class Ended(NamedTuple):
    """How a program ended."""

    exit_code: int | None
    """None where it was killed."""
    timed_out: bool
    printed: str
    said: str
    """The last line of its error output."""
    seconds: float


@dataclass
class ProgramRollout:
    """Rolls out tasks by running a program for each; see `innersearch.rollout.run.Rollout`.

    All runs of one object share an event loop and a server, which `close` ends.
    """

    policy: Policy
    model: ModelUrl
    agent: AgentSettings
    search: SearchTool
    score: Score | None = None
    tokenizer_id: str = ""
    tally: Tally = field(default_factory=Tally)
    """Searches so far, and how many failed."""
    _runner: asyncio.Runner = field(default_factory=asyncio.Runner, repr=False)
    _server: uvicorn.Server | None = None
    _serves: asyncio.Task[None] | None = None
    _serving: Serving = field(init=False)

    def __post_init__(self) -> None:
        """Raises ConfigError: The program cannot be found, or nothing could be trained on the policy."""
        demand_capturable(self.policy)
        demand_program(self.agent.command)
        self._serving = Serving(self.search.engine)
        self._serving.parts[chat.MODEL] = self.model
        self._serving.sessions.begun.append(self._watch)

    def _watch(self, session: Session) -> None:
        most = self.search.settings.max_error_rate
        session.listeners.append(lambda engine, query, result: self._count(result, most))

    def _count(self, result: SearchResult, most: float) -> None:
        try:
            self.tally.add(result, most)
        except SearchError as error:
            self.model.failure = error

    def run(self, tasks: Sequence[Task]) -> list[Trajectory]:
        """The trajectories of all tasks, in their order.

        Raises:
            RunError: No run of the program asked the model anything.
            ModelError: The weights are damaged.
            PolicyError: The policy cannot be asked.
            SearchError: Too many searches failed.
        """
        return self._runner.run(self._run(tasks))

    async def _run(self, tasks: Sequence[Task]) -> list[Trajectory]:
        address = await self._address()
        found: list[Trajectory] = []
        async with self.policy.session(self.model.sampling) as sampler:
            self.model.sampler = sampler
            try:
                work = lambda task: self._one(task, address)  # noqa: E731
                async with aclosing(in_order(tasks, work, self.agent.at_once)) as trajectories:
                    async for trajectory in trajectories:
                        found.append(trajectory)
            finally:
                self.model.sampler = None
        if self.model.failure is not None:
            raise self.model.failure
        self.tally.judge()
        _demand_requests(found, self.agent.command)
        return found

    async def _one(self, task: Task, address: str) -> Trajectory:
        question = task.question
        session = self._serving.sessions.begin(
            SessionRequest(
                question=question.question,
                golden_answers=list(question.golden_answers),
                id=question.id,
                group=task.group,
                repetition=task.repetition,
                step=task.step,
                metadata=question.metadata,
            )
        )
        capture = self.model.capture(session)
        try:
            ended = await run_program(
                self.agent, question.question, f"{address}/s/{session.id}", capture.exhausted
            )
            return self._scored(self._trajectory(task, session, ended))
        finally:
            self._serving.sessions.end(session.id)

    def _trajectory(self, task: Task, session: Session, ended: Ended) -> Trajectory:
        trajectory = self.model.trajectory(session)
        capture = self.model.capture(session)
        answer = {
            "line": next((x for x in reversed(ended.printed.splitlines()) if x.strip()), "").strip(),
            "output": ended.printed.strip(),
            "message": trajectory.answer or "",
        }[self.agent.answer]
        reason, error = how_it_ended(ended, capture, self.agent.timeout_s, answered=bool(answer))
        assert trajectory.agent is not None  # noqa: S101
        run = replace(
            trajectory.agent,
            exit_code=ended.exit_code,
            printed=len(ended.printed),
            seconds=ended.seconds,
        )
        versions = [v for s in trajectory.segments for v in s.versions or () if v is not None]
        return replace(
            trajectory,
            question=task.question,
            group_id=task.group,
            uid=f"{task.group}/{task.repetition}",
            step=min(versions, default=task.step),
            tokenizer_id=self.tokenizer_id,
            answer=answer or None,
            stop_reason=reason,
            error=error,
            agent=run,
        )

    def _scored(self, trajectory: Trajectory) -> Trajectory:
        if self.score is None:
            return trajectory
        reward, components = self.score(trajectory)
        demand_finite(reward, components)
        return replace(trajectory, reward=reward, components=components)

    async def _address(self) -> str:
        """Where the server listens; it is started at the first call, in the loop of all runs."""
        import uvicorn

        from innersearch.serve.app import build_app

        if self._server is None or self._serves is None:
            config = uvicorn.Config(
                build_app(self._serving),
                host="127.0.0.1",
                port=0,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=1,
            )
            self._server = uvicorn.Server(config)
            # Signals are for whoever trains.
            self._server.capture_signals = nullcontext  # type: ignore[assignment,method-assign]
            self._serves = asyncio.get_running_loop().create_task(self._server.serve())
            while not self._server.started:
                if self._serves.done():
                    raise RunError("no server could be started on 127.0.0.1 for the agent")
                await asyncio.sleep(0.005)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def close(self) -> None:
        """End the server and the event loop; the server closes the engine."""
        if self._server is not None and self._serves is not None:
            self._server.should_exit = True
            self._runner.run(_until(self._serves))
        elif self.search.engine is not None:
            self._runner.run(self.search.close())
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def program_rollout(
    recipe: Recipe,
    policy: Policy,
    tokenizer: PreTrainedTokenizerFast,
    search: SearchTool,
    rubric: Rubric | None = None,
) -> ProgramRollout:
    """The rollouts of a recipe whose agent is a program; see `innersearch.train.tasks.rollout_of`.

    Raises:
        ConfigError: As `ProgramRollout`.
    """
    sampling, mask = recipe.sampling, recipe.mask
    model = ModelUrl(
        tokenizer,
        Sampling(sampling.temperature, sampling.max_new_tokens, recipe.seed),
        rule=MaskRule(information=mask.information, opening_tag=mask.opening_tag),
        grammar=grammar_of(recipe.rollout.grammar),
        most_tokens=recipe.rollout.max_tokens_per_turn,
        most_requests=recipe.agent.max_requests,
    )
    score = rubric.score if rubric else None
    return ProgramRollout(policy, model, recipe.agent, search, score, tokenizer_id=recipe.model)


def demand_program_recipe(recipe: Recipe) -> None:
    """Refuse a recipe whose agent cannot be trained.

    Raises:
        ConfigError: It is no program that can be run, or what the recipe asks for is not its own to do.
    """
    demand_program(recipe.agent.command)
    if recipe.trainer.kind == "verl":
        raise ConfigError(
            "an agent of others (agent.command) is trained with TRL: take --trainer trl, verl rolls out "
            "by itself"
        )
    if recipe.search.rule.asks and not recipe.search.rule.every:
        raise ConfigError(
            f"search.router is {recipe.search.router}, and an agent of others searches when it likes: "
            "take search.router always"
        )


async def _until(task: asyncio.Task[None]) -> None:
    await asyncio.wait([task])


def demand_program(command: str) -> None:
    """Refuse a command that cannot be run.

    Raises:
        ConfigError: It cannot be read, or there is no such program.
    """
    try:
        [program, *_] = shlex.split(command)
    except ValueError:
        raise ConfigError(
            f'the agent {command!r} is no command: write one such as "python agent.py {QUESTION}"'
        ) from None
    if shutil.which(program) is None:
        raise ConfigError(f"the agent {command!r} cannot be run: there is no program {program!r}")


def environment(address: str, question: str) -> dict[str, str]:
    """The variables of a program that asks at the address of a session."""
    own = {
        "OPENAI_BASE_URL": f"{address}/v1",
        "OPENAI_API_BASE": f"{address}/v1",
        "OPENAI_API_KEY": "innersearch",
        "OPENAI_MODEL": NAME,
        "INNERSEARCH_SEARCH_URL": address,
        "INNERSEARCH_QUESTION": question,
    }
    around = os.environ
    direct = {
        name: ",".join(filter(None, (around.get(name), "127.0.0.1")))
        for name in ("NO_PROXY", "no_proxy")
    }
    return {**around, "PYTHONUNBUFFERED": "1", **direct, **own}


async def run_program(
    agent: AgentSettings, question: str, address: str, exhausted: asyncio.Event
) -> Ended:
    """Run a program for a question until it ends, its time is over, or `exhausted` is set."""
    question = question.replace("\0", " ")
    arguments = [part.replace(QUESTION, question) for part in shlex.split(agent.command)]
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(address, question),
        start_new_session=True,
    )
    given = b"" if QUESTION in agent.command else f"{question}\n".encode("utf-8", "replace")
    reading = [
        asyncio.ensure_future(_feed(process.stdin, given)),
        asyncio.ensure_future(_read(process.stdout, first=_MOST_PRINTED)),
        asyncio.ensure_future(_read(process.stderr, last=_LAST_WORDS)),
    ]
    waiting = [asyncio.ensure_future(process.wait()), asyncio.ensure_future(exhausted.wait())]
    try:
        await asyncio.wait(waiting, timeout=agent.timeout_s, return_when=asyncio.FIRST_COMPLETED)
        ended, stopped = process.returncode is not None, exhausted.is_set()
    finally:
        # What it started itself would keep its output open.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        waiting[1].cancel()
        await asyncio.wait([waiting[0], *reading])
    lines = [line for line in reading[2].result().splitlines() if line.strip()]
    return Ended(
        process.returncode if ended else None,
        not ended and not stopped,
        reading[1].result(),
        lines[-1].strip()[:_SHOWN] if lines else "",
        time.monotonic() - started,
    )


async def _feed(stream: asyncio.StreamWriter | None, text: bytes) -> str:
    assert stream is not None  # noqa: S101
    with suppress(ConnectionError):
        stream.write(text)
        await stream.drain()
        stream.close()
    return ""


async def _read(stream: asyncio.StreamReader | None, *, first: int = 0, last: int = 0) -> str:
    """The first or last bytes of a stream, which is read to its end."""
    assert stream is not None  # noqa: S101
    kept = b""
    while part := await stream.read(1 << 16):
        kept = (kept + part)[-last:] if last else kept + part[: max(0, first - len(kept))]
    return kept.decode("utf-8", "replace")


def how_it_ended(
    ended: Ended, capture: Capture, timeout_s: float, *, answered: bool
) -> tuple[StopReason, str | None]:
    """Why a trajectory ended, and what went wrong."""
    if ended.timed_out:
        return (
            StopReason.TIMEOUT,
            f"the agent did not end within agent.timeout_s = {timeout_s:g} seconds",
        )
    if ended.exit_code is None:
        reason = capture.limit or StopReason.TURN_LIMIT
        return reason, f"the agent went on asking after {capture.refused} refused requests"
    if ended.exit_code:
        said = f": {ended.said}" if ended.said else ""
        return StopReason.ERROR, f"the agent ended with exit code {ended.exit_code}{said}"
    if answered:
        return StopReason.ANSWER, None
    return capture.limit or StopReason.EOS, None


def _demand_requests(trajectories: Sequence[Trajectory], command: str) -> None:
    """Refuse to go on with an agent that does not ask the model at all."""
    runs = [trajectory.agent or AgentRun() for trajectory in trajectories]
    if not runs or any(run.requests for run in runs):
        return
    failed = next((t.error for t in trajectories if t.error), None)
    said = f"; {failed}" if failed else ""
    raise RunError(
        f"none of {len(runs)} runs of {command!r} asked the model anything: the agent must take its "
        f"address from OPENAI_BASE_URL{said}"
    )
