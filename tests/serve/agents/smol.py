"""smolagents: its agent of tool calls."""

import json
import os
import sys
import urllib.request

from smolagents import OpenAIServerModel, ToolCallingAgent, tool


@tool
def search(query: str) -> str:
    """Searches the web.

    Args:
        query: What to look for.
    """
    body = json.dumps({"q": query}).encode()
    url = os.environ["INNERSEARCH_SEARCH_URL"] + "/serper/search"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", "X-API-KEY": "any"})
    return " ".join(row["snippet"] for row in json.load(urllib.request.urlopen(request))["organic"])


model = OpenAIServerModel(os.environ["OPENAI_MODEL"], api_base=os.environ["OPENAI_BASE_URL"])
agent = ToolCallingAgent(tools=[search], model=model, verbosity_level=0, max_steps=4)
print(agent.run(sys.argv[1]))
