# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 4. Serve, and two URLs
#
# Agents that exist already know two addresses: one of a model, and one of a search API. If both lead
# here, such an agent is measured and trained as it is, without a line changed. This notebook starts a
# server on this machine (127.0.0.1, a free port), asks it as several search APIs, asks the agent
# behind it, and then lets a program that knows nothing of this package run against it, and looks at
# what was captured. The server ends with the notebook.
#
# On the command line the same server is `innersearch serve world --agent world`.

# %%
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

from innersearch import open_server, read_questions

server = open_server("world", agent="world")
print("serving at", server.url)


def ask(url, body=None):
    """What a JSON API answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


# %% [markdown]
# ## One engine, many search APIs
#
# The same encyclopedia answers as Search-R1's retriever, as Tavily, as Serper and as others;
# [docs/serving.md](../docs/serving.md) has a line for each client.

# %%
question = next(q for q in read_questions("world:test") if q.metadata["relations"] == ["spouse"])
query = f"spouse of {question.metadata['chain'][0]}"

found = ask(f"{server.url}/retrieve", {"queries": [query], "topk": 2, "return_scores": True})
for row in found["result"][0]:
    print(f"Search-R1  {row['score']:6.2f}  {row['document']['text']}")
for row in ask(f"{server.url}/tavily/search", {"query": query, "max_results": 2})["results"]:
    print(f"Tavily     {row['score']:6.2f}  {row['content']}")
for row in ask(f"{server.url}/serper/search", {"q": query, "num": 2})["organic"]:
    print(f"Serper             {row['snippet']}")

# %% [markdown]
# ## The agent as a model
#
# At `/v1/chat/completions` an agent answers as a model of OpenAI's API would. It thinks and searches
# by itself: its own memory (`self`), or the engine (`always`). Whether it is right is another matter;
# the bundled model is untrained.

# %%
print(question.question, " gold:", ", ".join(question.golden_answers))
for mode in ("self", "always"):
    body = {
        "model": "agent",
        "messages": [{"role": "user", "content": question.question}],
        "search": mode,
    }
    said = ask(f"{server.url}/v1/chat/completions", body)
    message, usage = said["choices"][0]["message"], said["usage"]
    print(f"\nsearch: {mode}")
    print("  answer   ", message["content"])
    print("  searches ", usage["searches"], "of them by the engine:", usage["engine_searches"])
    print("  cites    ", [cited["url_citation"]["url"] for cited in message["annotations"]])

# %% [markdown]
# ## Two URLs
#
# `examples/agent.py` is an agent in thirty lines of plain Python. It imports nothing of this package:
# it reads the address of its model from `OPENAI_BASE_URL` and that of its search from
# `INNERSEARCH_SEARCH_URL`. A *session* gives both for one run of it.

# %%
try:
    here = Path(__file__).parent
except NameError:  # in a notebook
    here = Path.cwd()
example = next(
    folder / "examples" / "agent.py"
    for folder in (here, *here.parents)
    if (folder / "examples").is_dir()
)


def run_agent(question):
    """One run of the agent: its session, and the line that it printed."""
    about = {"question": question.question, "golden_answers": list(question.golden_answers)}
    session = ask(f"{server.url}/sessions", about)
    urls = {
        "OPENAI_BASE_URL": f"{session['url']}/v1",
        "INNERSEARCH_SEARCH_URL": session["url"],
        "OPENAI_API_KEY": "none",
    }
    done = subprocess.run(
        [sys.executable, str(example), question.question],
        env={**os.environ, **urls},
        capture_output=True,
        text=True,
        check=True,
    )
    return session, done.stdout.strip()


runs = []
print(f"{'question':45s} {'gold':10s} {'printed':10s} searches")
for asked in read_questions("world:test", ["depth_1"])[::90]:
    session, printed = run_agent(asked)
    searches = ask(f"{server.url}/sessions/{session['id']}")["searches"]
    runs.append((searches, session))
    print(f"{asked.question:45s} {asked.golden_answers[0]:10s} {printed or '-':10s} {searches:8d}")

# %% [markdown]
# ## What was captured
#
# While the agent ran, the server kept every token that it let the model sample, with its
# log-probability, and every search. That is what a trainer needs, so `innersearch train
# recipes/agent-world.toml --agent "python examples/agent.py {question}"` trains the model inside an
# agent that was never written to be trained.

# %%
_, session = max(runs, key=lambda one: one[0])
captured = ask(f"{session['url']}/trajectory")
for number, segment in enumerate(captured["segments"], 1):
    sampled, learnt = sum(segment["sampled_mask"]), sum(segment["loss_mask"])
    print(
        f"segment {number}: {len(segment['token_ids'])} tokens, {sampled} sampled, {learnt} trained on"
    )
    for span in segment["spans"]:
        if span["source"] != "template":
            print(f"  {span['kind']:12s} {span['text']}")

# %% [markdown]
# The log-probabilities are those of the distribution that the tokens were drawn from, token by token:

# %%
segment = captured["segments"][0]
drawn = [value for value in segment["logprobs"] if value is not None]
assert len(drawn) == sum(segment["sampled_mask"])
print(len(drawn), "log-probabilities, the first of them:", [round(value, 3) for value in drawn[:8]])

# %%
server.close()
print("the server has ended")
