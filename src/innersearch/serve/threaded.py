"""A policy in a thread of its own, so that a server answers while a model computes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from innersearch.policy.base import Completion, Policy, Request, Sampler
from innersearch.types import Sampling


class _Bridge:
    """The sampler of another event loop."""

    def __init__(self, sampler: Sampler, loop: asyncio.AbstractEventLoop) -> None:
        self.context = sampler.context
        self._sampler, self._loop = sampler, loop

    async def generate(self, request: Request) -> Completion:
        """See `Sampler`."""
        heard = request.heard
        if heard is not None:
            # In the order in which they are sampled, and all before the completion.
            request = replace(request, heard=_from_afar(heard, asyncio.get_running_loop()))
        work = asyncio.run_coroutine_threadsafe(self._sampler.generate(request), self._loop)
        return await asyncio.wrap_future(work)


def _from_afar(heard: Callable[[int], None], loop: asyncio.AbstractEventLoop) -> Callable[[int], None]:
    """The same, to be called from another thread."""

    def tell(token_id: int) -> None:
        loop.call_soon_threadsafe(heard, token_id)

    return tell


@asynccontextmanager
async def in_thread(policy: Policy, sampling: Sampling) -> AsyncIterator[Sampler]:
    """A session with a policy that runs in a thread, to be asked from this event loop.

    Raises:
        PolicyError: No server of it answers.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="policy", daemon=True)
    thread.start()
    session = policy.session(sampling)
    try:
        sampler = await _there(session.__aenter__(), loop)
        try:
            yield _Bridge(sampler, loop)
        finally:
            await _there(session.__aexit__(None, None, None), loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        await asyncio.to_thread(thread.join)
        loop.close()


async def _there(work: object, loop: asyncio.AbstractEventLoop) -> Sampler:
    """What a coroutine returns in another event loop."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))  # type: ignore[arg-type]
