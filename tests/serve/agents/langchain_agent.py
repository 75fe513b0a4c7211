"""LangChain: its agent, with its tool for SearXNG."""

import os
import sys

from langchain.agents import create_agent
from langchain_community.utilities import SearxSearchWrapper
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

searx = SearxSearchWrapper(searx_host=os.environ["INNERSEARCH_SEARCH_URL"] + "/searxng")


@tool
def search(query: str) -> str:
    """Searches the web."""
    return searx.run(query)


agent = create_agent(ChatOpenAI(model=os.environ["OPENAI_MODEL"]), tools=[search])
print(agent.invoke({"messages": [{"role": "user", "content": sys.argv[1]}]})["messages"][-1].content)
