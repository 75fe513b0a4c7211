"""Sampling sessions: many coroutines on one batch, sequences that pause, go on, roll back or vanish."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from innersearch.errors import DataError, ModelError
from innersearch.policy.base import Completion, Request, Sampler
from innersearch.policy.stops import StopStrings
from innersearch.policy.transformers import TransformersPolicy
from innersearch.types import Finish, Sampling
from tests.policy.test_policy import ARCHITECTURES, END, SIZES, VOCABULARY, make
from tests.trajectories import sample_ids, texts

SAMPLING = Sampling(temperature=1.2, max_new_tokens=24, seed=7)
SPELLED = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN"
"""The tokens of the small models."""


def letters(often: str = "huBL", last: str = "J") -> StopStrings:
    """Ends at about every tenth token."""
    spelling = Tokenizer(models.WordLevel({text: i for i, text in enumerate(SPELLED)}, unk_token="a"))
    spelling.decoder = decoders.Fuse()
    return StopStrings(PreTrainedTokenizerFast(tokenizer_object=spelling), often, last=last)


class Turn(NamedTuple):
    prompt: tuple[int, ...]
    completion: Completion


Pause = Callable[[], Awaitable[None]]


async def at_once() -> None:
    """No pause."""


async def converse(
    sampler: Sampler, number: int, stop: StopStrings, pause: Pause = at_once
) -> list[Turn]:
    """Several turns of one sequence: it goes on, rolls back, or both, whenever it stops."""
    choose = random.Random(number)
    ids = tuple(choose.randrange(VOCABULARY) for _ in range(1 + number % 23))
    turns: list[Turn] = []
    while len(turns) < 5 and len(ids) < 90:
        request = Request(ids, (number, len(turns)), stop=stop, sequence=f"s{number}")
        turns.append(Turn(ids, await sampler.generate(request)))
        ids = (*ids, *turns[-1].completion.token_ids)
        if turns[-1].completion.finish is not Finish.STOP:
            break
        if choose.random() < 0.5:
            ids = ids[: max(1, len(ids) - choose.randrange(2 * len(turns[-1].completion.token_ids)))]
        ids += tuple(choose.randrange(VOCABULARY) for _ in range(choose.choice([0, 1, 3, 30])))
        await pause()
    return turns


def converse_all(
    model: PreTrainedModel, count: int, max_batch: int, pauses: int | None = None
) -> list[list[Turn]]:
    """Conversations at once, with random pauses from a seed if one is given."""
    policy = TransformersPolicy(model, [END], max_batch=max_batch)
    draw = random.Random(pauses)

    async def pause() -> None:
        if pauses is not None:
            await asyncio.sleep(draw.choice([0, 0.001, 0.01]))

    async def run() -> list[list[Turn]]:
        async with policy.session(SAMPLING) as sampler:
            stop = letters()
            return await asyncio.gather(*(converse(sampler, n, stop, pause) for n in range(count)))

    return asyncio.run(run())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_values_of_resumed_and_rolled_back_sequences_equal_a_plain_forward_pass(name: str) -> None:
    model = make(name)
    turns = [turn for turns in converse_all(model, 40, 11) for turn in turns]
    assert {turn.completion.finish for turn in turns} == {Finish.EOS, Finish.LENGTH, Finish.STOP}
    assert sum(turn.completion.finish is Finish.STOP for turn in turns) > 40
    for prompt, completion in turns:
        ids = torch.tensor([[*prompt, *completion.token_ids]])
        with torch.no_grad():
            logits = model(ids).logits[0, len(prompt) - 1 : -1] / SAMPLING.temperature
        logprobs = torch.log_softmax(logits, -1)
        chosen = logprobs.gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
        entropies = -(logprobs.exp() * logprobs).sum(-1)
        torch.testing.assert_close(torch.tensor(completion.logprobs), chosen, atol=1e-4, rtol=0)
        torch.testing.assert_close(torch.tensor(completion.entropies), entropies, atol=2e-4, rtol=0)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_sequence_gets_the_same_bits_whatever_else_runs(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, architecture = ARCHITECTURES[name]
    wide = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
    torch.manual_seed(5)
    model = architecture(config(**SIZES | wide)).eval()
    together = converse_all(model, 16, 64)
    assert converse_all(model, 16, 7, pauses=1) == together
    assert converse_all(model, 16, 64, pauses=2) == together

    async def one_at_a_time() -> list[list[Turn]]:
        async with TransformersPolicy(model, [END]).session(SAMPLING) as sampler:
            return [await converse(sampler, number, letters()) for number in range(16)]

    assert asyncio.run(one_at_a_time()) == together
    monkeypatch.setattr("innersearch.policy.batch._SCORES", 10_000)
    assert converse_all(model, 16, 64) == together


def test_a_stop_string_ends_a_turn_and_stays_in_it() -> None:
    stops = tuple("huBLJ")
    for turns in converse_all(make(), 40, 16):
        for _, completion in turns:
            *before, last = [SPELLED[i] for i in completion.token_ids]
            assert not any(stop in piece for piece in before for stop in stops)
            assert (completion.finish is Finish.STOP) == any(stop in last for stop in stops)


STOPS = ("</search>", "</information>", "</answer>")


@settings(
    max_examples=250,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(fragments=texts, whole=st.booleans(), noise=st.integers(0, 400))
def test_stop_strings_are_found_however_tokens_split_or_straddle_them(
    tokenizer: PreTrainedTokenizerFast, fragments: list[str], whole: bool, noise: int
) -> None:
    ids = sample_ids(tokenizer, [*fragments, *STOPS], whole=whole, noise=noise if noise > 300 else 0)
    stop = _stops(tokenizer)
    candidates = frozenset(stop.candidates)
    ends = range(1, len(ids) + 1)
    found = [n for n in ends if ids[n - 1] in candidates and stop.found(ids[:n])]
    decoded = [n for n in ends if any(text in tokenizer.decode(ids[:n]) for text in STOPS)]
    assert found[:1] == decoded[:1]


_MADE: dict[int, StopStrings] = {}


def _stops(tokenizer: PreTrainedTokenizerFast) -> StopStrings:
    if id(tokenizer) not in _MADE:
        _MADE[id(tokenizer)] = StopStrings(tokenizer, STOPS)
    return _MADE[id(tokenizer)]


@pytest.mark.usefixtures("virtual_time")
def test_a_call_that_is_cancelled_frees_its_slot_and_the_others_go_on() -> None:
    model, passes = make(), 0
    policy = TransformersPolicy(model, [], max_batch=2)

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    model.register_forward_pre_hook(count)

    async def run() -> None:
        async with policy.session(Sampling(max_new_tokens=80, seed=1)) as sampler, asyncio.timeout(30):
            calls = [asyncio.create_task(sampler.generate(Request((n, 1), (n,)))) for n in range(6)]
            while passes < 5:
                await asyncio.sleep(0)
            calls[0].cancel()
            calls[4].cancel()
            done = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(answer) for answer in done].count(Completion) == 4
            alone = dict(policy_alone(Request((5, 1), (5,))))
            assert done[5].token_ids == alone[0].token_ids

    def policy_alone(request: Request) -> list[tuple[int, Completion]]:
        other = TransformersPolicy(make(), [], max_batch=1)
        return list(other.stream([request], Sampling(max_new_tokens=80, seed=1)))

    asyncio.run(run())


@pytest.mark.usefixtures("virtual_time")
def test_a_call_that_is_given_up_before_it_began_harms_nobody() -> None:
    policy = TransformersPolicy(make(), [END], max_batch=4)

    async def run() -> None:
        async with policy.session(Sampling(max_new_tokens=3)) as sampler, asyncio.timeout(30):
            await asyncio.gather(*(sampler.generate(Request((n, 1), (n,))) for n in range(4)))
            given_up = sampler.generate(Request((1, 2), ("given up",)))
            given_up.send(None)
            given_up.close()
            await asyncio.sleep(0.01)
            assert (await sampler.generate(Request((1, 2), ("wanted",)))).token_ids

    asyncio.run(run())


class Broken(Exception):
    pass


@contextmanager
def breaking(model: PreTrainedModel, after: int) -> Iterator[None]:
    """A model whose forward pass fails after some calls."""
    calls = iter(range(after))

    def count(*_: object) -> None:
        if next(calls, None) is None:
            raise Broken

    hook = model.register_forward_pre_hook(count)
    try:
        yield
    finally:
        hook.remove()


@pytest.mark.usefixtures("virtual_time")
def test_an_error_in_the_model_reaches_everybody_and_the_next_session_works() -> None:
    model = make()
    policy = TransformersPolicy(model, [END], max_batch=3)
    wanted = [Request((n, 1), (n,)) for n in range(8)]
    longer = [Request((n,) * 50, (n,)) for n in range(8)]

    async def run() -> list[object]:
        async with policy.session(SAMPLING) as sampler, asyncio.timeout(30):
            calls = (sampler.generate(request) for request in longer)
            answers = await asyncio.gather(*calls, return_exceptions=True)
            with pytest.raises((Broken, ModelError)):
                await sampler.generate(wanted[0])
            return answers

    with breaking(model, after=1):
        assert {type(answer) for answer in asyncio.run(run())} == {Broken}
    weights = next(model.parameters()).data
    kept = weights.clone()
    weights.fill_(torch.nan)
    assert {type(answer) for answer in asyncio.run(run())} == {ModelError}
    weights.copy_(kept)

    async def mended() -> list[Completion]:
        async with policy.session(SAMPLING) as sampler:
            return await asyncio.gather(*map(sampler.generate, wanted))

    reference = dict(TransformersPolicy(make(), [END]).stream(wanted, SAMPLING))
    assert [c.token_ids for c in asyncio.run(mended())] == [reference[n].token_ids for n in range(8)]


def test_a_prompt_without_room_is_refused_and_the_others_go_on() -> None:
    async def run() -> None:
        async with TransformersPolicy(make(), [END]).session(SAMPLING) as sampler:
            good = asyncio.create_task(sampler.generate(Request((1, 2), ("good",))))
            with pytest.raises(DataError, match="has 96 tokens"):
                await sampler.generate(Request((1,) * 96, ("long",)))
            assert (await good).token_ids

    asyncio.run(run())


@pytest.mark.usefixtures("virtual_time")
def test_a_closed_session_answers_nobody() -> None:
    async def run() -> None:
        async with TransformersPolicy(make(), [END]).session(SAMPLING) as sampler:
            waiting = asyncio.create_task(sampler.generate(Request((1, 2), ("late",))))
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            for call in (waiting, sampler.generate(Request((1, 2)))):
                with pytest.raises(RuntimeError, match="session is closed"):
                    await call

    asyncio.run(run())


def tensor_bytes() -> int:
    gc.collect()
    tensors = (thing for thing in gc.get_objects() if type(thing) is torch.Tensor)
    return sum(tensor.nbytes for tensor in tensors)


def test_sequences_that_never_come_back_are_let_go() -> None:
    """Within the session the oldest go; those that ended for good are not kept at all."""
    model, slots = make(), 16
    width = 2 * sum(p.shape[0] for n, p in model.named_parameters() if n.endswith("k_proj.weight")) * 4

    async def leave(sampler: Sampler, count: int, stop: StopStrings) -> int:
        requests = [Request((n % 30, 1), (n,), stop=stop, sequence=f"s{n}") for n in range(count)]
        completions = await asyncio.gather(*map(sampler.generate, requests))
        stopped = [c for c in completions if c.finish is Finish.STOP]
        assert len(stopped) > 6 * slots
        return sum(len(c.token_ids) + 1 for c in stopped)

    async def run(stop: StopStrings) -> tuple[int, int]:
        async with TransformersPolicy(model, [], max_batch=slots).session(SAMPLING) as sampler:
            await sampler.generate(Request((1,) * 60, ("warm",)))
            before = tensor_bytes()
            tokens = await leave(sampler, 200, stop)
            return tensor_bytes() - before, tokens

    start = tensor_bytes()
    held, tokens = asyncio.run(run(letters("huBL", "")))
    limit = 2 * slots * tokens * width / 200
    assert 0.5 * limit < held < 1.5 * limit < 0.5 * tokens * width
    assert asyncio.run(run(letters("", "huBL")))[0] <= width
    assert tensor_bytes() - start <= width


def test_two_sequences_of_one_name_do_not_disturb_each_other() -> None:
    model, stop = make(), letters()

    async def run(names: list[str]) -> list[list[Completion]]:
        async with TransformersPolicy(model, [], max_batch=8).session(SAMPLING) as sampler:

            async def twice(number: int, name: str) -> list[Completion]:
                first = Request((number, 4), (number,), stop=stop, sequence=name)
                one = await sampler.generate(first)
                await asyncio.sleep(0.02)
                prompt = (number, 4, *one.token_ids, 5, 6)
                return [one, await sampler.generate(Request(prompt, (number, 1), stop, sequence=name))]

            return await asyncio.gather(*(twice(n, name) for n, name in enumerate(names)))

    shared, own = asyncio.run(run(["same"] * 6)), asyncio.run(run([f"s{n}" for n in range(6)]))
    tokens = [[[c.token_ids for c in pair] for pair in pairs] for pairs in (shared, own)]
    assert tokens[0] == tokens[1]


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("packs", [True, False])
def test_a_beginning_that_requests_share_is_computed_once_and_changes_nothing(
    name: str, packs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not packs:
        monkeypatch.setattr("innersearch.policy.batch.packs", lambda model: False)
    model = make(name)
    draw = random.Random(3)
    beginning = tuple(draw.randrange(VOCABULARY) for _ in range(50))
    prompts = [(*beginning, *(draw.randrange(VOCABULARY) for _ in range(1 + n % 5))) for n in range(9)]
    read = 0

    def count(module: torch.nn.Module, arguments: tuple[object], given: dict[str, torch.Tensor]) -> None:
        nonlocal read
        read += given["input_ids"].numel()

    model.register_forward_pre_hook(count, with_kwargs=True)
    found, tokens = [], []
    for shared in (0, len(beginning)):
        read = 0
        asked = [Request(prompt, (n,), shared=shared) for n, prompt in enumerate(prompts)]
        done = TransformersPolicy(model, [END], max_batch=4).stream(asked, SAMPLING)
        found.append(sorted(done, key=lambda finished: finished.request))
        tokens.append(read)
    assert [one.completion.token_ids for one in found[0]] == [
        one.completion.token_ids for one in found[1]
    ]
    for one, other in zip(*found, strict=True):
        assert one.completion.logprobs == pytest.approx(other.completion.logprobs, abs=1e-5)
    assert tokens[1] < tokens[0] - 5 * len(beginning)
