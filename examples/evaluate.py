"""A model with and without a search engine: `python examples/evaluate.py MODEL OUTPUT [QUESTIONS]`."""

import sys

from innersearch import evaluate_agent, open_agent, read_questions

model, output, count = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 200
agent, questions = open_agent(model), read_questions("world:test")[:: max(1, 1200 // count)]
for name, engine in (("memory", None), ("searching", "world")):
    summary = evaluate_agent(agent, questions, f"{output}/{name}", engine=engine, metrics=["cover_em"])
    for group, em in summary["em"].items():
        print(f"{name} {group}: EM {em['value']:.3f} [{em['low']:.3f}, {em['high']:.3f}]")
