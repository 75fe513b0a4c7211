"""What a small model knows of the atlas: each relation asked in the form of six answered questions.

    python benchmarks/real_probe.py [MODEL] [QUESTIONS PER RELATION]

Greedy, in bfloat16, the line behind "Answer:". The examples are of validation, the questions of test.
"""

from __future__ import annotations

import copy
import sys
from collections import defaultdict

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from innersearch.assemble.sources import load_questions
from innersearch.intervals import proportion
from innersearch.metrics import exact_match
from innersearch.random_draws import draw
from innersearch.real.facts import RELATIONS
from innersearch.types import Question
from innersearch.view.tables import percent

SHOTS, TOKENS = 6, 10


def of_relation(source: str, relation: str) -> list[Question]:
    return sorted(load_questions(f"{source}:{relation}"), key=lambda q: draw("probe", q.id))


def examples(relation: str) -> str:
    """Six answered questions, each about another country or element."""
    chosen: dict[str, Question] = {}
    for question in of_relation("atlas:validation", relation):
        chosen.setdefault(question.metadata["unit"], question)
    shown = list(chosen.values())[:SHOTS]
    return "".join(f"Question: {q.question}\nAnswer: {q.golden_answers[0]}\n\n" for q in shown)


@torch.no_grad()
def answers(model, tokenizer, before: str, asked: list[Question]) -> list[str]:
    """The answers in order; questions of one length are one batch, so that nothing is padded."""
    ids = [tokenizer(f"Question: {q.question}\nAnswer:").input_ids for q in asked]
    known = model(tokenizer(before, return_tensors="pt").input_ids, use_cache=True).past_key_values
    lengths, written = defaultdict(list), [""] * len(asked)
    for place, each in enumerate(ids):
        lengths[len(each)].append(place)
    for places in lengths.values():
        cache = copy.deepcopy(known)
        cache.batch_repeat_interleave(len(places))
        current, made = torch.tensor([ids[place] for place in places]), []
        for _ in range(TOKENS):
            logits = model(current, past_key_values=cache, use_cache=True).logits
            current = logits[:, -1:].argmax(-1)
            made.append(current)
        for place, row in zip(places, torch.cat(made, 1), strict=True):
            written[place] = tokenizer.decode(row).split("\n")[0].strip()
    return written


def main() -> None:
    path = sys.argv[1] if len(sys.argv) > 1 else "runs/real/model"
    most = int(sys.argv[2]) if len(sys.argv) > 2 else 40
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16).eval()
    for relation in RELATIONS:
        asked = of_relation("atlas:test", relation)[:most]
        found = answers(model, tokenizer, examples(relation), asked)
        right = [exact_match(a, q.golden_answers) for a, q in zip(found, asked, strict=True)]
        share = proportion(sum(right), len(right))
        print(f"{relation:20s} n={len(right):3d}  EM {percent(share._asdict())}", flush=True)


if __name__ == "__main__":
    main()
