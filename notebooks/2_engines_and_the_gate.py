# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 2. Engines and the hybrid gate
#
# Who answers a query? An engine that costs money and time, or the model's own memory, which is free
# and may be wrong? This notebook asks three engines the same questions, then lets the bundled model
# answer from memory, and looks for a rule that says when to trust which: a **gate**.
#
# Everything happens in the embedded world, an invented encyclopedia of people, companies and places.
# The bundled model has read it: some facts hundreds of times, some rarely, some never; and some facts
# have *changed* since.

# %%
import tempfile
from collections import defaultdict
from pathlib import Path

import matplotlib.pyplot as plt

from innersearch import Agent, evaluate_agent, open_agent, open_engine, read_questions, read_trajectories
from innersearch.testing import ScriptedEngine, ScriptedPolicy

output = Path(tempfile.mkdtemp())
agent = open_agent("world")
asked = [question for question in read_questions("world:test") if question.metadata["depth"] == 1]
print(len(asked), "questions about one fact each, for example:")
for question in asked[:: len(asked) // 4][:4]:
    print(f"  {question.question:50s} gold: {', '.join(question.golden_answers)}  ({question.group})")

# %% [markdown]
# ## Three engines, one query
#
# An engine takes queries and gives one result for each. Ours are opened by name, as on the command
# line; one of your own is a class of a few lines. A policy that writes what it is told lets us watch
# them.

# %%
head, relation = asked[0].metadata["chain"][0], asked[0].metadata["relations"][0]
query = f"{relation} of {head}"
notes = ScriptedEngine({query: [f"My notes say nothing of {head}."]}, name="my notes")
engines = {
    "world": open_engine("world"),
    "world, all noise": open_engine("world", noise={"curve": "constant", "end": 1.0}),
    "my own": notes,
}
writes = ScriptedPolicy(agent.tokenizer, [f"<search> {query}</search>", "<answer> unknown</answer>"])
asks = Agent(writes, agent.tokenizer)
print("query:", query, "\n")
for name, engine in engines.items():
    [trajectory] = asks.roll_out(asked[0], engine=engine)
    [call] = trajectory.calls
    print(f"{name:18s} {call.source.value:10s} {[document.text for document in call.documents]}")

# %% [markdown]
# The second one is made worse on purpose, as ZeroSearch does in training: all of its results are
# wrong.
#
# ## What the model knows by heart
#
# Now the real model, searching its own memory, and then with an engine that answers everything. The
# bundled model is where training *begins*: it searches on after it has found something, and reads
# pages badly. So we look at one thing only: **does the information of the first search hold the gold
# answer?** We ask both at once. A gate at threshold 0 lets the model write first, notes how unsure it
# was (the mean entropy of the tokens that it wrote), takes that back, and asks the engine.

# %%
sample = asked[::4]
evaluate_agent(agent, sample, output / "both", engine="world", router="gate:entropy:0")
firsts = []
for trajectory in read_trajectories(output / "both"):
    if trajectory.calls and trajectory.calls[0].decision:
        call, gold = trajectory.calls[0], trajectory.question.golden_answers
        returned = " ".join(document.text for document in call.documents)
        firsts.append(
            {
                "group": trajectory.question.group,
                "doubt": call.decision.value,
                "memory": any(answer in (call.decision.own or "") for answer in gold),
                "engine": any(answer in returned for answer in gold),
            }
        )


def share(rows, name):
    """How often, in per cent."""
    return 100 * sum(row[name] for row in rows) / max(1, len(rows))


groups = defaultdict(list)
for row in firsts:
    groups[row["group"]].append(row)
print(
    f"{'first searches':16s} {'n':>4s} {'memory right':>13s} {'engine right':>13s} {'mean doubt':>11s}"
)
for group, rows in {**groups, "all": firsts}.items():
    doubt = sum(row["doubt"] for row in rows) / len(rows)
    memory, engine = share(rows, "memory"), share(rows, "engine")
    print(f"{group:16s} {len(rows):4d} {memory:12.1f}% {engine:12.1f}% {doubt:11.2f}")

# %% [markdown]
# `depth_1` are facts that the model has read, often or rarely; `never_stated` ones it never read;
# `changed` ones it read as they were before. The engine knows them all as they are now, where the
# query was written well enough to find them.
#
# ## A gate
#
# A gate asks the engine where the model was more unsure than a threshold. What would each threshold
# have cost, and what would it have got right? The two lines to beat: trusting memory only, and
# flipping a coin for each search.

# %%
thresholds = sorted({0.0, *(row["doubt"] for row in firsts)})
curve = []
for threshold in thresholds:
    searched = [row["doubt"] > threshold for row in firsts]
    right = [
        row["engine"] if real else row["memory"] for row, real in zip(firsts, searched, strict=True)
    ]
    curve.append((100 * sum(searched) / len(firsts), 100 * sum(right) / len(firsts)))
memory, engine_right = share(firsts, "memory"), share(firsts, "engine")

print(f"{'real searches':>14s} {'gate right':>11s} {'coin right':>11s}")
for wanted in (0, 20, 40, 60, 80, 100):
    real, right = min(curve, key=lambda point: abs(point[0] - wanted))
    coin = memory + (engine_right - memory) * real / 100
    print(f"{real:13.0f}% {right:10.1f}% {coin:10.1f}%")

figure, axes = plt.subplots(figsize=(5.5, 3.5))
axes.plot(*zip(*curve, strict=True), label="gate on entropy")
axes.plot([0, 100], [memory, engine_right], "--", color="grey", label="coin")
axes.set(xlabel="searches that the engine answers (%)", ylabel="information holds the answer (%)")
axes.legend()
figure.tight_layout()
figure.savefig(output / "gate.png")
plt.show()

# %% [markdown]
# ## The gate at work
#
# A threshold becomes a router: `gate:entropy:T`. `innersearch calibrate MODEL --data …` finds one on
# validation questions, keeps it in the model's folder, and `--search hybrid` uses it; here we take the
# median doubt.

# %%
middle = sorted(row["doubt"] for row in firsts)[len(firsts) // 2]
for name, how in {
    "memory only": {},
    f"gate {middle:.2f}": {"engine": "world", "router": f"gate:entropy:{middle}"},
    "engine only": {"engine": "world"},
}.items():
    summary = evaluate_agent(agent, sample, output / name.replace(" ", "-"), **how)
    em = summary["em"]["all"]
    value, low, high = (100 * em[part] for part in ("value", "low", "high"))
    searches = f"searches per question: {summary['searches']:.2f}, of them real: {summary['calls']:.2f}"
    print(f"{name:12s} EM {value:5.1f} [{low:.1f}, {high:.1f}] n={em['n']}   {searches}")

# %% [markdown]
# Exact match of whole trajectories is low, and can be lower with the engine than without: this model
# has not yet learnt to stop when it has read the answer, nor to read pages that are worded unlike what
# it was pre-trained on. That is what training is for.
#
# What a gate on entropy cannot see: a fact that has *changed* is remembered without doubt.
# [docs/hybrid.md](../docs/hybrid.md) has the router `learning`, which finds that out in use.
#
# Next: [train in the world](3_train_in_the_world.py).
