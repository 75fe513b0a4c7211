"""Rows dealt by length: none is lost, none changes its update, and no token of any goes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from innersearch.train.trl.padding import by_length, lengths, passes

PAD = -1


def rows_of(seed: int, count: int, asked: int = 7, written: int = 40) -> dict[str, Any]:
    """Rows of random lengths as TRL pads them; each token names its row and place."""
    draws = torch.Generator().manual_seed(seed)
    prompts = torch.randint(1, asked + 1, (count,), generator=draws)
    completions = torch.randint(1, written + 1, (count,), generator=draws)
    names = 1000 * (torch.arange(count) + 100 * seed)[:, None]
    prompt_mask = (torch.arange(asked) >= asked - prompts[:, None]).long()
    completion_mask = (torch.arange(written) < completions[:, None]).long()
    return {
        "prompt_ids": (names + torch.arange(asked)).where(prompt_mask.bool(), torch.tensor(PAD)),
        "prompt_mask": prompt_mask,
        "completion_ids": (names + 500 + torch.arange(written)).where(
            completion_mask.bool(), torch.tensor(PAD)
        ),
        "completion_mask": completion_mask,
        "advantages": names[:, 0].float(),
        "num_items_in_batch": completion_mask.sum(),
        "num_images": None,
    }


def written(rows: dict[str, Any]) -> dict[float, tuple[list[int], list[int]]]:
    """By advantage, which names the row: the tokens of its prompt and its completion."""
    return {
        float(advantage): (prompt[prompt != PAD].tolist(), completion[completion != PAD].tolist())
        for advantage, prompt, completion in zip(
            rows["advantages"], rows["prompt_ids"], rows["completion_ids"], strict=True
        )
    }


@pytest.mark.parametrize("together", [1, 2, 4])
def test_rows_stay_in_their_update_and_whole(together: int) -> None:
    parts = [rows_of(seed, count=8) for seed in range(4)]
    dealt = by_length(parts, together)
    assert len(dealt) == len(parts)
    for start in range(0, 4, together):
        before = [written(part) for part in parts[start : start + together]]
        after = [written(part) for part in dealt[start : start + together]]
        assert {k: v for part in after for k, v in part.items()} == {
            k: v for part in before for k, v in part.items()
        }
        order = torch.cat([lengths(part) for part in dealt[start : start + together]])
        assert (order.diff() >= 0).all()


@pytest.mark.parametrize("size", [1, 3, 8, 20])
def test_a_pass_is_as_wide_as_its_longest_row(size: int) -> None:
    rows = rows_of(5, count=8)
    found = passes(rows, size)
    sizes = [min(size, 8 - start) for start in range(0, 8, size)]
    assert [len(part["completion_ids"]) for part in found] == sizes
    assert {k: v for part in found for k, v in written(part).items()} == written(rows)
    for part in found:
        assert part["completion_ids"].size(1) == int(part["completion_mask"].sum(1).max())
        assert part["prompt_ids"].size(1) == int(part["prompt_mask"].sum(1).max())
        assert part["num_items_in_batch"] == rows["num_items_in_batch"]


def test_per_token_values_are_cut_and_values_per_row_are_not() -> None:
    rows = rows_of(2, count=6)
    rows["sampling_per_token_logps"] = rows["completion_ids"].float()
    rows["importance_sampling_ratio"] = torch.ones(6, 1)
    [part] = passes(rows, 6)
    assert part["sampling_per_token_logps"].equal(part["completion_ids"].float())
    assert part["importance_sampling_ratio"].shape == (6, 1)
    assert part["advantages"].shape == (6,)


def test_rows_without_a_token_that_counts_are_no_trouble() -> None:
    rows = rows_of(2, count=4)
    rows["completion_mask"] = torch.zeros_like(rows["completion_mask"])
    [part] = passes(rows, 4)
    assert part["completion_ids"].size(1) == 1
