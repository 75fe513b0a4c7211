"""Agents of others, as small as they get: each is a program with nothing but Python's library."""

from __future__ import annotations

import sys
from pathlib import Path

_ASK = """
import json, os, sys, urllib.request
def ask(messages, **more):
    body = json.dumps({"model": "m", "messages": messages, **more}).encode()
    url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"]
user = [{"role": "user", "content": sys.argv[1]}]
"""


def program(folder: Path, body: str) -> str:
    """The command of a program that may `ask` the model; `user` holds the question as a message."""
    path = folder / f"agent{len(list(folder.glob('agent*.py')))}.py"
    path.write_text(_ASK + body, encoding="utf-8")
    return f"{sys.executable} -S {path} {{question}}"
