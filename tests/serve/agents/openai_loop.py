"""OpenAI's SDK: the tool loop of its documentation."""

import json
import os
import sys
import urllib.request

from openai import OpenAI

client = OpenAI()
parameters = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
tools = [
    {
        "type": "function",
        "function": {"name": "search", "description": "Search.", "parameters": parameters},
    }
]


def search(query: str) -> str:
    body = json.dumps({"query": query, "api_key": "any"}).encode()
    url = os.environ["INNERSEARCH_SEARCH_URL"] + "/tavily/search"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    return " ".join(row["content"] for row in json.load(urllib.request.urlopen(request))["results"])


messages = [{"role": "user", "content": sys.argv[1]}]
while True:
    reply = client.chat.completions.create(
        model=os.environ["OPENAI_MODEL"], messages=messages, tools=tools
    )
    message = reply.choices[0].message
    if not message.tool_calls:
        break
    messages.append(message)
    for call in message.tool_calls:
        found = search(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": found})
print(message.content)
