"""What agents of others asked the model, as segments: every sampled token once, in its own context."""

from __future__ import annotations

import random

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from innersearch.grammar import GRAMMARS, TAGS, MaskRule
from innersearch.policy.base import Completion
from innersearch.serve.capture import MOST_REFUSED, Capture, Exchange
from innersearch.types import Call, Finish, Kind, Source, StopReason


def completion(ids: list[int], finish: Finish = Finish.STOP) -> Completion:
    """Each token has a log-probability of its own, to be found again."""
    return Completion(ids, [-1.0 - i / 1000 for i in ids], [0.5] * len(ids), finish)


def say(capture: Capture, prompt: str, reply: str, *, ended: bool = False) -> str:
    """Ask and answer; the text of both."""
    asked = capture.ask(prompt)
    return prompt + capture.answer(asked, said(capture.tokenizer, reply, ended=ended))


def said(tokenizer: PreTrainedTokenizerFast, reply: str, *, ended: bool = False) -> Completion:
    ids = tokenizer.encode(reply, add_special_tokens=False)
    return completion([*ids, tokenizer.eos_token_id] if ended else ids)


@pytest.fixture(scope="module")
def plain() -> PreTrainedTokenizerFast:
    """A token per byte, so that none stands across a tag."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({byte: i for i, byte in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", pad_token="<pad>")


def test_a_prompt_that_goes_on_from_a_reply_stays_in_its_segment(plain) -> None:
    capture = Capture(plain)
    whole = say(capture, "Who?\n", "<think>hm</think><search>x</search>")
    say(capture, f"{whole}Found: y\n", "<answer>y</answer>")
    [segment], calls = capture.segments(MaskRule())
    assert calls == []
    kinds = [(span.kind, span.source, span.text) for span in segment.spans[1:]]
    assert kinds == [
        (Kind.THINK, Source.POLICY, "<think>hm</think>"),
        (Kind.SEARCH, Source.POLICY, "<search>x</search>"),
        (Kind.INFORMATION, Source.FORCED, "Found: y\n"),
        (Kind.ANSWER, Source.POLICY, "<answer>y</answer>"),
    ]
    assert segment.loss_mask == segment.sampled_mask
    assert plain.decode(segment.token_ids[: segment.prompt_len]) == "Who?\n"


def test_a_rewritten_history_begins_a_segment_of_its_own(plain) -> None:
    capture = Capture(plain)
    say(capture, "Who?\n", "a long thought")
    say(capture, "Who?\nsummary\n", "y")
    first, second = capture.segments(MaskRule())[0]
    assert sum(first.sampled_mask) + sum(second.sampled_mask) == capture.sampled
    assert plain.decode(second.token_ids[: second.prompt_len]) == "Who?\nsummary\n"


def test_of_parallel_requests_the_first_goes_on_and_the_others_have_it_as_prompt(plain) -> None:
    capture = Capture(plain)
    whole = say(capture, "Who?\n", "plan")
    both = [capture.ask(f"{whole}\n{number}\n") for number in (1, 2)]
    # They are answered in the other order.
    for asked in reversed(both):
        capture.answer(asked, said(plain, f"part {asked.text[-2]}"))
    first, second = capture.segments(MaskRule())[0]
    assert [span.text for span in first.spans if span.source is Source.POLICY] == ["plan", "part 1"]
    assert [span.text for span in second.spans if span.source is Source.POLICY] == ["part 2"]
    assert not any(second.sampled_mask[: second.prompt_len])
    assert second.token_ids[: second.prompt_len] == list(both[1].prompt_ids)


def test_a_request_that_is_sent_again_draws_anew_and_is_kept_beside_the_first(plain) -> None:
    capture = Capture(plain)
    asked = [capture.ask("Who?\n") for _ in range(2)]
    assert [one.again for one in asked] == [0, 1]
    for one, text in zip(asked, ("a", "b"), strict=True):
        capture.answer(one, said(plain, text))
    segments, _ = capture.segments(MaskRule())
    assert ["".join(s.text for s in segment.spans) for segment in segments] == ["a", "b"]


def test_what_a_client_never_got_is_not_there(plain) -> None:
    capture = Capture(plain)
    capture.ask("Who?\n")
    say(capture, "Who?\n", "x")
    assert len(capture.segments(MaskRule())[0]) == 1


def test_searches_belong_to_the_reply_that_asked_for_them(plain) -> None:
    capture = Capture(plain)
    capture.search(Call(0, "before", Source.RETRIEVER, engine="e"))
    whole = say(capture, "Who?\n", "<search>x</search>")
    capture.search(Call(1, "x", Source.RETRIEVER, engine="e"))
    whole = say(capture, f"{whole}[y]\n", "in words: search z")
    capture.search(Call(2, "z", Source.WEB, engine="e"))
    say(capture, f"{whole}[z]\n", "<answer>z</answer>")
    [segment], calls = capture.segments(MaskRule())
    assert sorted((call.id, call.input, call.turn) for call in calls) == [
        (0, "x", 0),
        (1, "before", 0),
        (2, "z", 1),
    ]
    found = [span.source for span in segment.spans if span.kind is Kind.INFORMATION]
    assert found == [Source.RETRIEVER, Source.WEB]
    assert next(s for s in segment.spans if s.kind is Kind.SEARCH).call_id == 0


def test_information_that_the_policy_made_up_carries_no_loss(plain) -> None:
    capture = Capture(plain)
    say(capture, "Who?\n", "<search>x</search><information>y</information><answer>y</answer>")
    [segment], [call] = capture.segments(MaskRule())
    assert call.source is Source.SELF_SEARCH
    masked = [span for span in segment.spans if span.source is Source.SELF_SEARCH]
    assert "y</information>" in masked[0].text
    assert not any(segment.loss_mask[masked[0].start : masked[0].end])


def test_an_agent_that_is_refused_for_ever_is_exhausted(plain) -> None:
    capture = Capture(plain)
    for _ in range(MOST_REFUSED):
        assert not capture.exhausted.is_set()
        capture.refuse(StopReason.TOKEN_BUDGET)
    assert capture.exhausted.is_set()
    assert capture.limit is StopReason.TOKEN_BUDGET


def history(capture: Capture, draw: random.Random) -> list[tuple[Exchange, Completion]]:
    """What a careless client asks: it goes on from any reply, repeats, rewrites, asks in parallel."""
    tokenizer = capture.tokenizer
    vocabulary = [i for i in range(len(tokenizer)) if i not in tokenizer.all_special_ids]
    words = [
        "<think>",
        "</think>",
        "<search>q</search>",
        "<information>",
        "é漢",
        " a b",
        "\n",
        "</answer>",
    ]
    done: list[tuple[Exchange, Completion]] = []
    waiting: list[Exchange] = []
    for _ in range(draw.randint(1, 12)):
        base = draw.choice(["Q\n", *(one.whole for one, _ in done)])
        if draw.random() < 0.2:
            base = base[: draw.randint(1, len(base))]
        prompt = base + "".join(draw.choices(words, k=draw.randint(0, 3)))
        waiting.append(capture.ask(prompt))
        while waiting and draw.random() < 0.7:
            asked = waiting.pop(draw.randrange(len(waiting)))
            ids = draw.choices(vocabulary, k=draw.randint(1, 9))
            finish = draw.choice([Finish.STOP, Finish.LENGTH, Finish.EOS])
            ids += [tokenizer.eos_token_id] if finish is Finish.EOS else []
            made = completion(ids, finish)
            capture.answer(asked, made)
            done.append((asked, made))
    return done


@pytest.mark.parametrize("seed", range(60))
def test_every_sampled_token_is_trained_on_once_in_the_context_it_was_sampled_in(
    seed: int, tokenizer: PreTrainedTokenizerFast
) -> None:
    draw = random.Random(seed)
    capture = Capture(tokenizer)
    done = history(capture, draw)
    grammar = draw.choice([TAGS, GRAMMARS["tool-call"], GRAMMARS["r1-searcher"]])
    segments, calls = capture.segments(MaskRule(information=False), grammar)
    wanted = sorted(
        ((*asked.prompt_ids, *made.token_ids[: n + 1]), made.logprobs[n])
        for asked, made in done
        for n in range(len(made.token_ids))
    )
    found = sorted(
        (tuple(segment.token_ids[: n + 1]), segment.logprobs[n])
        for segment in segments
        for n, sampled in enumerate(segment.sampled_mask)
        if sampled
    )
    assert found == wanted
    assert all(segment.loss_mask == segment.sampled_mask for segment in segments)
    assert len({call.id for call in calls}) == len(calls)
    for segment in segments:
        assert segment.spans[0].start == 0
        assert all(a.end == b.start for a, b in zip(segment.spans, segment.spans[1:], strict=False))
