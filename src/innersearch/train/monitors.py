"""What is watched at every step: numbers computed from the trajectories themselves.

`METRICS` is the glossary; every name written to `metrics.jsonl` stands in it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from innersearch.metrics import vote
from innersearch.rewards.votes import VOTE
from innersearch.types import Source, Trajectory

METRICS = {
    "reward/mean": "Mean reward of the step's trajectories.",
    "reward/std": "Standard deviation of the reward over the step.",
    "reward/stderr": "Standard error of the mean reward, over the means of groups.",
    "reward/em": "Share of trajectories whose answer is an exact match.",
    "reward/format": "Mean format reward F.",
    "reward/NAME": "Mean of any other measure that the reward has a term for, under its name.",
    "search/calls": "Searches per trajectory, whoever answered them.",
    "search/real": "Searches per trajectory that an engine answered.",
    "search/failed_share": "Share of an engine's searches that failed.",
    "search/partial_share": "Share of an engine's searches that only some of its engines answered.",
    "search/latency_s": "Mean seconds that an engine took for a search.",
    "search/noise": "Share of an engine's searches that were answered badly on purpose.",
    "search/noise_wanted": "The probability of that, by the curriculum.",
    "search/mended_share": "Share of a simulator's outputs that had to be mended.",
    "policy/tokens": "Sampled tokens per trajectory.",
    "policy/entropy": "Mean entropy of the sampling distribution, nats per sampled token.",
    "policy/tokens_refilled": "Sampled tokens of all trajectories that were replaced by others.",
    "policy/trained_share": "Share of sampled tokens that carry loss.",
    "policy/correct_logprob": "Mean log-probability per trained token of correct trajectories, or of "
    "those in the majority where that is the reward; a fall precedes collapse (arXiv 2512.04220).",
    "policy/kl": "k3 divergence from the starting model, nats per trained token.",
    "policy/logprob_gap": "Mean difference between the log-probabilities of the trainer and of what "
    "samples, where that is vLLM or computes in bfloat16; nats per sampled token.",
    "policy/weights_cut": "Share of trained tokens whose importance weight was cut, with vLLM or a "
    "correction.",
    "policy/weights_low": "Share of trained tokens whose importance weight is below a half, then too.",
    "vote/share": "Share of a group that agrees with its label, the majority's answer.",
    "vote/unanimous": "Share of groups that agree without exception: they teach nothing but format.",
    "vote/none": "Share of trajectories without a vote.",
    "vote/answers": "Distinct answers per group.",
    "vote/label_accuracy": "Share of groups whose label is a gold answer; watched, never rewarded.",
    "group/constant_share": "Share of groups whose rewards are all equal: they teach nothing.",
    "group/refilled_share": "Share of the groups sampled for a step that were replaced by others "
    "(`trainer.refill`), since their rewards were all equal.",
    "group/taken": "Groups that were trained on or replaced so far: how far the run is in the order of "
    "questions, with `trainer.ahead` or `trainer.refill`.",
    "ahead/age_mean": "Mean age of the step's groups: steps between the oldest weights that sampled a "
    "token of one and those that it would have had without `trainer.ahead`.",
    "ahead/age_max": "The largest of these ages, at most `trainer.ahead`.",
    "ahead/wait_s": "Seconds that training waited for the groups of the step.",
    "ahead/held_s": "Mean seconds that its groups lay finished before they were trained on.",
    "agent/requests": "Requests to the model per run of a program.",
    "agent/segments": "Segments that they became.",
    "agent/refused": "Requests per run that were not answered: a limit was reached, or they were none.",
    "agent/idle_share": "Share of runs that asked the model nothing.",
    "agent/silent_share": "Share of runs without an answer.",
    "agent/failed_share": "Share of runs that ended with an exit code other than 0, or were stopped.",
    "stop/length": "Share of trajectories cut off by a limit, mostly that of tokens.",
    "stop/failed": "Share of trajectories that failed or ran out of time, and are not trained on.",
    "loss": "The trainer's loss.",
    "grad_norm": "Gradient norm before clipping.",
    "learning_rate": "Learning rate of the first parameter group.",
    "time/rollout_s": "Seconds spent sampling.",
    "time/step_s": "Seconds of the whole step.",
}

_UNWATCHED = ("f1", VOTE)
"""Components that are no metrics: EM says as much, and votes have metrics of their own."""

Observer = Callable[[int, Mapping[str, float]], None]
"""Called with each finished step and its metrics."""


def step_metrics(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """The metrics of one step's trajectories; a metric without any value is left out."""
    rewards = [t.reward or 0.0 for t in trajectories]
    metrics = {
        "reward/mean": statistics.fmean(rewards),
        "reward/std": statistics.pstdev(rewards),
        "search/calls": statistics.fmean(len(t.calls) for t in trajectories),
        "stop/length": _share(t.stop_reason.cut for t in trajectories),
    }
    if failed := _share(t.stop_reason.failed for t in trajectories):
        metrics["stop/failed"] = failed
    real = [call for trajectory in trajectories for call in trajectory.calls if call.engine]
    if real:
        metrics["search/real"] = len(real) / len(trajectories)
        metrics["search/failed_share"] = _share(call.error is not None for call in real)
        metrics["search/partial_share"] = _share(call.partial is not None for call in real)
        metrics["search/latency_s"] = statistics.fmean(call.latency_s for call in real)
    labelled = [call for call in real if call.label]
    if labelled:
        metrics["search/noise"] = _share(call.label == "noisy" for call in labelled)
    simulated = [call for call in real if call.source is Source.SIMULATOR]
    if simulated:
        metrics["search/mended_share"] = _share(bool(call.faults) for call in simulated)
    named = dict.fromkeys(name for t in trajectories for name in t.components)
    for name in (name for name in named if name not in _UNWATCHED):
        values = [t.components[name] for t in trajectories if name in t.components]
        metrics[f"reward/{name}"] = statistics.fmean(values)
    metrics |= _group_metrics(trajectories) | _token_metrics(trajectories)
    metrics |= _agent_metrics(trajectories)
    return metrics | (_vote_metrics(trajectories) if VOTE in trajectories[0].components else {})


def _share(flags: Iterable[bool]) -> float:
    return statistics.fmean(map(float, flags))


def _group_metrics(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    groups: dict[str, list[float]] = {}
    for trajectory in trajectories:
        groups.setdefault(trajectory.group_id, []).append(trajectory.reward or 0.0)
    means = [statistics.fmean(rewards) for rewards in groups.values()]
    spread = statistics.stdev(means) if len(means) > 1 else 0.0
    return {
        "reward/stderr": spread / math.sqrt(len(means)),
        "group/constant_share": _share(len(set(rewards)) == 1 for rewards in groups.values()),
    }


def _agent_metrics(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """How the programs ran, where some did."""
    ran = [(t, t.agent) for t in trajectories if t.agent is not None]
    if not ran:
        return {}
    return {
        "agent/requests": statistics.fmean(run.requests for _, run in ran),
        "agent/segments": statistics.fmean(len(t.segments) for t, _ in ran),
        "agent/refused": statistics.fmean(run.refused for _, run in ran),
        "agent/idle_share": _share(not run.requests for _, run in ran),
        "agent/silent_share": _share(t.answer is None for t, _ in ran),
        "agent/failed_share": _share(run.exit_code != 0 for _, run in ran),
    }


def _vote_metrics(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """How the groups voted; gold answers only say whether they were right."""
    groups: dict[str, list[Trajectory]] = {}
    for trajectory in trajectories:
        groups.setdefault(trajectory.group_id, []).append(trajectory)
    shares = [statistics.fmean(t.components[VOTE] for t in group) for group in groups.values()]
    winners = [next((t for t in g if t.components[VOTE] == 1.0), g[0]) for g in groups.values()]
    answers = [{vote(t.answer) for t in group} - {None} for group in groups.values()]
    metrics = {
        "vote/share": statistics.fmean(shares),
        "vote/unanimous": _share(share == 1.0 for share in shares),
        "vote/none": _share(vote(t.answer) is None for t in trajectories),
        "vote/answers": statistics.fmean(map(len, answers)),
    }
    known = [t.components["em"] * t.components[VOTE] for t in winners if "em" in t.components]
    if known:
        metrics["vote/label_accuracy"] = statistics.fmean(known)
    return metrics


def _token_metrics(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    sampled = trained = 0
    entropies: list[float] = []
    correct: list[float] = []
    for trajectory in trajectories:
        for segment in trajectory.segments:
            sampled += sum(segment.sampled_mask)
            trained += sum(segment.loss_mask)
            entropies += [e for e in segment.entropies or () if e is not None]
            if trajectory.components.get(VOTE, trajectory.components.get("em")) == 1.0:
                pairs = zip(segment.logprobs, segment.loss_mask, strict=True)
                correct += [logprob for logprob, loss in pairs if loss and logprob is not None]
    metrics = {
        "policy/tokens": sampled / len(trajectories),
        "policy/trained_share": trained / sampled,
    }
    if entropies:
        metrics["policy/entropy"] = statistics.fmean(entropies)
    if correct:
        metrics["policy/correct_logprob"] = statistics.fmean(correct)
    return metrics
