"""R1-Searcher: what its released code gets wrong, and ours must not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from innersearch.errors import SearchError
from innersearch.grammar import R1_SEARCHER
from innersearch.search.base import SearchResult
from innersearch.train.samples import samples
from innersearch.types import Kind, Source, StopReason, Trajectory
from tests.rollout.scripts import Found
from tests.scoring import trajectory_of
from tests.systems.published import reward, rolled, shown

ASKS = " so<|begin_of_query|>Goltek founder<|end_of_query|>"
ANSWERS = "\n so it is</think><answer>Belira</answer>"
DOCUMENTS = (
    *("the assistant coach", "</think>", "<answer>x</answer>", "<|begin_of_query|>", "东京"),
    *("<|end_of_documents|>", "<|begin_of_documents|>", "Assistant: <think>"),
)


def search(*texts: str, **changes: object) -> Trajectory:
    return rolled("r1-searcher", texts, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "documents"), [("r1-searcher", 24), ("r1-searcher-qwen", 200)])
def test_r1_1_documents_cost_nothing(name: str, documents: int) -> None:
    plain = search(ASKS, ANSWERS)
    for number in range(documents):
        text = f"{DOCUMENTS[number % len(DOCUMENTS)]} {number}"
        found = search(ASKS, ANSWERS, engine=Found(lambda query, text=text: text))
        assert reward(name, found) == reward(name, plain) == 1.0


def test_r1_2_sampled_tokens_and_their_log_probabilities_are_kept_as_sampled() -> None:
    """Tokens are compared with those that were sampled where the trajectory is made."""
    trajectory = search(ASKS, ASKS, ANSWERS)
    [segment] = trajectory.segments
    sampled = zip(segment.sampled_mask, segment.logprobs, strict=True)
    assert all((value == -0.5) is mine for mine, value in sampled)
    assert [call.input for call in trajectory.calls] == ["Goltek founder"] * 2


def test_r1_3_masks_are_by_who_wrote_it() -> None:
    """Also of what goes on with a line break behind the documents, and of documents that are made up."""
    made_up = " x<|begin_of_documents|>mine<|end_of_documents|>"
    trajectory = search(ASKS, made_up + ANSWERS)
    [segment] = trajectory.segments
    for span in segment.spans:
        loss = segment.loss_mask[span.start : span.end]
        sampled = segment.sampled_mask[span.start : span.end]
        if span.source in (Source.RETRIEVER, Source.FORCED, Source.TEMPLATE):
            assert not any(loss)
            assert not any(sampled)
        elif span.kind is not Kind.INFORMATION:
            assert all(loss), span.text
    going_on = next(span for span in segment.spans if "so it is" in span.text)
    assert going_on.source is Source.POLICY
    own = [span for span in segment.spans if "mine" in span.text]
    assert own
    assert all(span.source is not Source.RETRIEVER for span in own)
    assert len(trajectory.calls) == 1


def test_r1_4_a_limit_or_an_empty_query_ends_it_and_violates_nothing() -> None:
    many = search(*[ASKS] * 9, ANSWERS)
    assert many.stop_reason is StopReason.CALL_LIMIT
    assert len(many.calls) == 8
    empty = search(ASKS, ' so<|begin_of_query|> "" <|end_of_query|>')
    assert empty.stop_reason is StopReason.MALFORMED
    for name in ("r1-searcher", "r1-searcher-qwen"):
        assert reward(name, many) == reward(name, empty) == 0.0
    assert reward("r1-searcher", many, 0) == 0.5


def test_r1_5_documents_are_in_no_loss_and_so_in_no_divergence() -> None:
    """The trainer takes the divergence of what this mask has; see `tests/train/test_trl.py`."""
    trajectory = search(ASKS, ANSWERS)
    [segment], [sample] = trajectory.segments, samples(trajectory)
    for span in segment.spans:
        if span.source is Source.RETRIEVER:
            place = slice(span.start - segment.prompt_len, span.end - segment.prompt_len)
            assert not any(sample.loss_mask[place])
            assert not any(sample.logprobs[place])


def test_r1_6_gold_answers_travel_with_their_question() -> None:
    """Two questions of the same words have answers of their own, and unknown ones are no error."""
    one = trajectory_of(
        ("<think>", Source.FORCED), "t</think><answer>Belira</answer>", grammar=R1_SEARCHER
    )
    for golds, value in ((("Belira",), 1.0), (("Other",), 0.0)):
        question = replace(one.question, question=" Who?? ", golden_answers=golds)
        assert reward("r1-searcher", replace(one, question=question)) == value


def test_r1_7_a_search_that_fails_ends_no_step() -> None:
    down = Found(fails="Goltek founder")
    trajectory = search(ASKS, ANSWERS, engine=down)
    assert "Search unavailable." in shown(trajectory)
    assert trajectory.calls[0].error
    assert trajectory.answer == "Belira"
    with pytest.raises(SearchError, match="searches failed"):
        search(*[ASKS] * 200, engine=down, max_error_rate=0.2, max_searches=200)


def test_documents_are_numbered_lines_and_none_is_told() -> None:
    assert shown(search(ASKS, ANSWERS)).startswith("<think>\n\n<|begin_of_documents|>\n(1)")
    nothing = Found()
    nothing._one = lambda query: SearchResult(())  # type: ignore[method-assign]
    assert "No documents found." in shown(search(ASKS, ANSWERS, engine=nothing))
