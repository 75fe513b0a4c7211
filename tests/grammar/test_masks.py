"""Token invariants of segments, over generated trajectories and six families of tokenizers."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from innersearch.grammar import MaskRule, scan
from innersearch.grammar.transcript import transcript
from innersearch.policy.base import Completion
from innersearch.policy.loading import load_tokenizer
from innersearch.rewards import strict_format
from innersearch.rollout.segment import SegmentBuilder
from innersearch.types import Finish, Kind, Question, Sampling, Segment, Source, Trajectory
from innersearch.world_1.bundled import BUNDLED
from tests.trajectories import expected_mask, sample_ids, texts

EXAMPLES = 900
"""For each of six tokenizers: 5,400 generated trajectories."""

relaxed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

PROMPT = [0, 1]


def completion(ids: list[int], finish: Finish = Finish.LENGTH) -> Completion:
    return Completion(ids, [-0.5] * len(ids), [0.1] * len(ids), finish)


def build(tokenizer: PreTrainedTokenizerFast, ids: list[int], rule: MaskRule | None = None) -> Segment:
    builder = SegmentBuilder(tokenizer, PROMPT, rule or MaskRule())
    builder.add_sampled(completion(ids))
    return builder.build(Finish.LENGTH)[0]


def trajectory(segment: Segment) -> Trajectory:
    question = Question("q", "?", ("Belira",))
    return Trajectory("u", "g", 0, question, [segment], [], Sampling(), segment.finish)


@relaxed
@given(fragments=texts, whole=st.booleans(), noise=st.integers(0, 400))
def test_sampled_tokens_keep_their_ids_and_get_the_mask_of_their_characters(
    tokenizer: PreTrainedTokenizerFast, fragments: list[str], whole: bool, noise: int
) -> None:
    ids = sample_ids(tokenizer, fragments, whole=whole, noise=noise if noise > 300 else 0)
    segment = build(tokenizer, ids)
    assert segment.token_ids == PROMPT + ids
    assert segment.sampled_mask == [False] * 2 + [True] * len(ids)
    assert segment.loss_mask[:2] == [False] * 2
    assert segment.loss_mask[2:] == expected_mask(tokenizer, ids)
    check_spans(segment)
    text = "".join(span.text for span in segment.spans)
    assert text == tokenizer.decode(ids).rstrip("\ufffd") or "\ufffd" in text


def check_spans(segment: Segment) -> None:
    """Spans partition the tokens, and each has one loss mask and one author."""
    assert segment.spans[0].kind is Kind.PROMPT
    assert [span.start for span in segment.spans[1:]] == [span.end for span in segment.spans[:-1]]
    assert segment.spans[-1].end == len(segment.token_ids)
    for span in segment.spans:
        assert len(set(segment.loss_mask[span.start : span.end])) == 1
        assert len(set(segment.sampled_mask[span.start : span.end])) == 1
        assert span.source is not Source.SELF_SEARCH or span.kind is Kind.INFORMATION
    pairs = zip(segment.loss_mask, segment.sampled_mask, strict=True)
    assert all(sampled or not loss for loss, sampled in pairs)


DOCUMENTS = st.lists(
    st.sampled_from(
        (
            *("Goltek was founded by Belira.", "</information>", "<answer>Belira</answer>", "<think>"),
            *(
                "<search>x</search>",
                "</Information >",
                "<answer\n>",
                "＜answer＞x",
                "\n",
                " é🎉",
                "<",
                ">",
            ),
        )
    ),
    max_size=6,
).map("".join)


@settings(relaxed, max_examples=200)
@given(before=texts, document=DOCUMENTS, after=texts, opened=st.booleans())
def test_injected_text_is_tokenised_alone_carries_no_loss_and_cannot_act(
    tokenizer: PreTrainedTokenizerFast,
    before: list[str],
    document: str,
    after: list[str],
    opened: bool,
) -> None:
    first = sample_ids(tokenizer, before, whole=True, noise=0)
    # A framework injects after a closed query, or after an opening tag that the policy wrote.
    asked = ["</information>"] * 15 + ["<search>", "q", "</search>"] + ["<information>"] * opened
    first += sample_ids(tokenizer, asked, whole=False, noise=0)
    last = sample_ids(tokenizer, after, whole=True, noise=0)

    def build_with(document: str) -> tuple[Segment, list[int]]:
        builder = SegmentBuilder(tokenizer, PROMPT, MaskRule())
        builder.add_sampled(completion(first))
        injected = builder.add_information(document, Source.RETRIEVER, opened=opened)
        builder.add_sampled(completion(last))
        return builder.build(Finish.EOS)[0], injected

    segment, injected = build_with(document)
    assert segment.token_ids == PROMPT + first + injected + last
    place = slice(2 + len(first), 2 + len(first) + len(injected))
    assert not any(segment.sampled_mask[place])
    assert not any(segment.loss_mask[place])
    assert segment.logprobs[place] == [None] * len(injected)
    check_spans(segment)
    # What the policy wrote is masked, and read for reward and actions, as if the document were another.
    assert segment.loss_mask[2 : place.start] == expected_mask(tokenizer, first)
    assert segment.loss_mask[place.stop :] == expected_mask(tokenizer, last)
    other, _ = build_with("x")
    assert transcript(trajectory(segment)) == transcript(trajectory(other))


FAULTS = {
    "multi-line block is masked": "<information>\nDoc 1\nDoc 2\n</information><answer>a</answer>",
    "second of two equal blocks is masked": "<information>a</information>b<information>a</information>",
    "unclosed block is masked to the end": "<think>a</think><information>b <answer>c</answer>",
    "nested block is masked as a whole": "<information>a<information>b</information>c</information>d",
    "empty block masks its closing tag": "<information></information>a",
    "tag merged with a newline": "<information>\n\nx\n\n</information>\n\n<answer>a</answer>",
    "windows line ends": "<information>\r\na\r\n</information>\r\n<answer>b</answer>",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_released_mask_do_not_happen(
    tokenizer: PreTrainedTokenizerFast, fault: str
) -> None:
    """facts of the released code: no DOTALL, first duplicate only, unclosed unmasked, re-encoding."""
    ids = tokenizer.encode(FAULTS[fault], add_special_tokens=False)
    segment = build(tokenizer, ids)
    assert segment.loss_mask[2:] == expected_mask(tokenizer, ids)
    hidden = "".join(s.text for s in segment.spans if not segment.loss_mask[s.start])
    assert hidden.strip()


def test_a_non_canonical_sampling_does_not_shift_the_mask(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    """The released code finds tokens by re-encoding prefixes, which moves with the spelling."""
    text = "<think>a</think><information>Belira</information><answer>Belira</answer>"
    ids = [i for character in text for i in tokenizer.encode(character, add_special_tokens=False)]
    segment = build(tokenizer, ids)
    assert segment.token_ids[2:] == ids
    assert segment.loss_mask[2:] == expected_mask(tokenizer, ids)


def test_the_mask_can_be_switched_off_or_widened_to_the_opening_tag(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    ids = tokenizer.encode("a <information>b</information> c", add_special_tokens=False)
    assert all(build(tokenizer, ids, MaskRule(information=False)).loss_mask[2:])
    default, wide = build(tokenizer, ids), build(tokenizer, ids, MaskRule(opening_tag=True))
    assert sum(wide.loss_mask) < sum(default.loss_mask)


def test_end_of_sequence_is_a_token_without_text(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = [
        *tokenizer.encode("<answer>a</answer>", add_special_tokens=False),
        tokenizer.eos_token_id,
    ]
    builder = SegmentBuilder(tokenizer, PROMPT, MaskRule())
    builder.add_sampled(completion(ids, Finish.EOS))
    segment, _ = builder.build(Finish.EOS)
    assert segment.spans[-1].kind is Kind.TEXT
    assert segment.spans[-1].text == ""
    assert segment.loss_mask[-1]


def test_bytes_of_an_unfinished_character_before_the_end_are_text() -> None:
    tokenizer = load_tokenizer(str(BUNDLED))
    stray = tokenizer.encode("ä")[1]
    well = tokenizer.encode("<think>a</think><answer>b</answer>")
    for junk in ([], [stray], [stray] * 5):
        builder = SegmentBuilder(tokenizer, PROMPT, MaskRule())
        builder.add_sampled(completion([*well, *junk, tokenizer.eos_token_id], Finish.EOS))
        segment, _ = builder.build(Finish.EOS)
        text = "".join(span.text for span in segment.spans)
        assert strict_format(text) == (not junk)


def test_self_searches_are_recorded_with_their_information(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    text = (
        "<think>a</think><search>one</search><information>Belira</information>"
        "<think>b</think><search>two</search><information>Goltek</information><answer>c</answer>"
    )
    builder = SegmentBuilder(tokenizer, PROMPT, MaskRule())
    builder.add_sampled(completion(tokenizer.encode(text, add_special_tokens=False)))
    segment, calls = builder.build(Finish.EOS)
    assert [(call.id, call.input, call.documents[0].text) for call in calls] == [
        (0, "one", "Belira"),
        (1, "two", "Goltek"),
    ]
    assert {s.call_id for s in segment.spans if s.kind is Kind.SEARCH} == {0, 1}


@settings(max_examples=1500, deadline=None, database=None)
@given(fragments=texts)
def test_blocks_cover_the_text_without_gaps(fragments: list[str]) -> None:
    text = "".join(fragments)
    blocks = scan(text)
    assert "".join(text[b.start : b.end] for b in blocks) == text
    assert all(b.start <= b.content_start <= b.content_end <= b.end for b in blocks)
