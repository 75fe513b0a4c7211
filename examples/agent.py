"""A search agent in thirty lines of plain Python, which is trained as it is.

It asks a model, searches where the model wants to, and prints the answer; it knows two addresses only.

    innersearch train recipes/agent-world.toml --agent "python examples/agent.py {question}"
"""

import json
import os
import re
import sys
import urllib.request

MODEL, SEARCH = os.environ["OPENAI_BASE_URL"], os.environ["INNERSEARCH_SEARCH_URL"]


def post(url: str, body: dict) -> dict:
    """The JSON that an address answers."""
    key = "Bearer " + os.environ["OPENAI_API_KEY"]
    headers = {"Content-Type": "application/json", "Authorization": key}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


messages = [{"role": "user", "content": sys.argv[1]}]
for _ in range(5):
    asked = {"model": "policy", "messages": messages, "stop": ["</search>"]}
    said = post(f"{MODEL}/chat/completions", asked)["choices"][0]["message"]["content"]
    query = re.search(r"<search>([^<]+)$", said)
    if query is None:
        break
    found = post(f"{SEARCH}/retrieve", {"queries": [query[1].strip()], "topk": 1, "return_scores": True})
    rows = found["result"][0]
    text = rows[0]["document"]["text"] if rows else "Nothing was found."
    messages.append({"role": "assistant", "content": f"{said}</search>"})
    messages.append({"role": "tool", "content": f"<information> {text}</information>"})
answers = re.findall(r"<answer>([^<]*)</answer>", said)
print(answers[-1].strip() if answers else "")
