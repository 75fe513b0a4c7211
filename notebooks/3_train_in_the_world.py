# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 3. Train in the world
#
# The bundled model has fewer than a million parameters and has read an invented encyclopedia. It can
# write queries, and answer them from memory. What it does not know yet is when to stop. Here it learns
# a little of that, by reinforcement: it answers each question several times, and what did better than
# the others of its group becomes more likely. A few steps on one core, in about a minute; `make demo`
# does eighty, and measures everything.

# %%
import json
import tempfile
from itertools import groupby
from pathlib import Path

import matplotlib.pyplot as plt

from innersearch import evaluate_agent, open_agent, read_questions, read_trajectories, train_agent

output = Path(tempfile.mkdtemp())

# %% [markdown]
# ## Before
#
# Questions of one and two hops that training never sees, answered greedily from memory. Every figure
# comes with its n and 95 % interval.

# %%
validation = [
    question
    for question in read_questions("world:validation")
    if question.group in ("depth_1", "depth_2")
][::4]


def measure(model, name):
    """Exact match by group, and how often it searched."""
    summary = evaluate_agent(model, validation, output / name)
    for group, em in summary["em"].items():
        low, high = 100 * em["low"], 100 * em["high"]
        print(f"{name:7s} {group:8s} EM {100 * em['value']:5.1f} [{low:4.1f}, {high:4.1f}]  n={em['n']}")
    print(f"{name:7s} searches per question: {summary['searches']:.2f}\n")
    return summary


before = measure(open_agent("world"), "before")

# %% [markdown]
# One of its trajectories, block by block:

# %%


def show(trajectory):
    """The question, what was written, and what it was worth."""
    print(trajectory.question.question, " gold:", ", ".join(trajectory.question.golden_answers))
    for span in trajectory.segments[0].spans:
        if span.text.strip() and span.source != "template":
            print(f"  {span.kind:12s} {span.text}")


show(next(read_trajectories(output / "before")))

# %% [markdown]
# ## Training
#
# A recipe is a file of values; `ssrl-world` is a bundled one, and what is given here stands above it.
# Each step takes 8 questions, 8 trajectories each, and one step of the optimizer. The reward is 0.9 ×
# exact match + 0.1 × a well-formed answer.

# %%
run = train_agent(
    "ssrl-world",
    output / "run",
    groups=["depth_1"],
    trainer={"steps": 10, "prompts_per_step": 8, "group_size": 8, "warmup_steps": 1, "save_every": 10},
)
steps = [json.loads(line) for line in run.metrics.read_text().splitlines()]
print("step  reward     EM  searches  tokens  trained on  seconds")
for step in steps:
    reward, em, searches = step["reward/mean"], step["reward/em"], step["search/calls"]
    tokens, share, seconds = step["policy/tokens"], step["policy/trained_share"], step["time/step_s"]
    print(f"{step['step']:4d} {reward:7.3f} {em:6.3f} {searches:9.2f} {tokens:7.1f}", end=" ")
    print(f"{share:11.0%} {seconds:8.1f}")

# %% [markdown]
# *Trained on* is the share of sampled tokens that the loss sees; what the model wrote as information
# is masked ([notebook 1](1_grammar_and_masks.py)).

# %%
figure, axes = plt.subplots(figsize=(5.5, 3))
axes.plot(
    [step["step"] for step in steps], [step["reward/mean"] for step in steps], marker="o", label="reward"
)
axes.set(xlabel="step", ylabel="mean reward of 64 trajectories", ylim=(0, 1))
searches = axes.twinx()
searches.plot(
    [step["step"] for step in steps], [step["search/calls"] for step in steps], "--", color="grey"
)
searches.set(ylabel="searches per trajectory (dashed)", ylim=(0, 4))
figure.tight_layout()
figure.savefig(output / "training.png")
plt.show()

# %% [markdown]
# ## What one group looks like
#
# The samples of one question differ, and that difference is all there is to learn from: the advantage
# of a trajectory is its reward less the mean of its group. A group of equal rewards teaches nothing.

# %%
written = sorted(read_trajectories(run.path), key=lambda one: (one.step, one.group_id, one.repetition))
grouped = [list(members) for _, members in groupby(written, key=lambda one: (one.step, one.group_id))]
flat = sum(len({member.reward for member in members}) == 1 for members in grouped)
print(f"{len(grouped)} groups, {flat} of them with equal rewards\n")

mixed = max(grouped, key=lambda members: len({member.reward for member in members}))
mean = sum(member.reward for member in mixed) / len(mixed)
print(mixed[0].question.question, " gold:", ", ".join(mixed[0].question.golden_answers))
for member in mixed:
    answer, reward = member.answer or "none", member.reward
    less = f"reward {reward:.2f}  less the mean {reward - mean:+.2f}"
    print(f"  answer {answer:12s} searches {len(member.calls)}  {less}")

# %% [markdown]
# ## After
#
# The same questions again. `compare` on the command line tells whether a difference is more than
# chance, question by question; here we look at the two tables.

# %%
after = measure(open_agent(str(run.model)), "after")
show(next(read_trajectories(output / "after")))

# %%
for group in before["em"]:
    old, new = (100 * summary["em"][group]["value"] for summary in (before, after))
    print(
        f"{group:8s} EM {old:5.1f} → {new:5.1f}   ({new - old:+.1f} points, n={after['em'][group]['n']})"
    )
print(f"searches {before['searches']:.2f} → {after['searches']:.2f}")

# %% [markdown]
# Ten steps of 64 trajectories from one seed are a look at the machinery, and no result: those are in
# [docs/evidence.md](../docs/evidence.md), over worlds and seeds, with controls, and with what
# reinforcement does *not* do here.
#
# Next: [serve it, and train an agent through two URLs](4_serve_and_two_urls.py).
