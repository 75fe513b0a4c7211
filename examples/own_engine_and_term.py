"""An engine and a reward term of one's own: `python examples/own_engine_and_term.py RUN [STEPS]`."""

import sys

from innersearch import Document, SearchResult, Source, read_trajectories, train_agent
from innersearch.world_1.encyclopedia import Encyclopedia


class Facts:
    """Finds the facts in which every word of a query stands."""

    name, source, identity = "facts", Source.RETRIEVER, {"engine": "facts", "version": 1}

    def __init__(self):
        self.facts = [document.text for document in Encyclopedia.generate().documents()]

    async def search(self, queries, k):
        return [SearchResult(self.find(query.split(), k)) for query in queries]

    def find(self, words, k):
        found = [fact for fact in self.facts if words and all(word in fact for word in words)]
        return tuple(Document(str(number), "", text) for number, text in enumerate(found[:k]))

    async def close(self):
        pass


def few_calls(scored):
    """1 for an answer after at most two searches."""
    return float(len(scored.calls) <= 2)


output, steps = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20
run = train_agent(
    "search-r1-world",
    output,
    engine=Facts(),
    measures={"few_calls": few_calls},
    reward="0.9*em + 0.1*few_calls",
    trainer={"steps": steps},
)
calls = [call for trajectory in read_trajectories(run.path) for call in trajectory.calls]
print(f"{len(calls)} searches, {sum(bool(call.documents) for call in calls)} found something")
