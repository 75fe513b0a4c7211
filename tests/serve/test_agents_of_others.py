"""Agents that nobody here wrote, from PyPI as they are, through the two URLs (`make test-agents`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from innersearch.config import Recipe
from innersearch.rewards import Rubric
from innersearch.rollout.episode import Task
from innersearch.serve.programs import program_rollout
from innersearch.testing import ScriptedEngine
from innersearch.tools.search import SearchTool
from innersearch.types import Question, Source
from tests.serve.chat_models import chatml, writes

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-agents" / "bin" / "python"
AGENTS = Path(__file__).parent / "agents"
QUESTION = Question("q", "Who is the spouse of Nemie?", ("Zisara",))
CALL = '<tool_call>\n{"name": "search", "arguments": {"query": "spouse of Nemie"}}\n</tool_call>'
FINAL = '<tool_call>\n{"name": "final_answer", "arguments": {"answer": "Zisara"}}\n</tool_call>'


def reply(prompt: str) -> str:
    """It searches once, and then answers, by a tool where that is how the agent has it."""
    if "is Zisara" not in prompt:
        return CALL
    return FINAL if '"final_answer"' in prompt else "Zisara"


@pytest.mark.agents
@pytest.mark.parametrize("name", ["openai_loop", "smol", "langchain_agent"])
def test_an_agent_is_captured_as_it_is(name: str) -> None:
    assert PYTHON.exists(), "make test-agents installs them"
    tokenizer = chatml()
    engine = ScriptedEngine({"spouse of Nemie": ["The spouse of Nemie is Zisara."]})
    command = f"{PYTHON} {AGENTS / name}.py {{question}}"
    recipe = Recipe(
        agent={"command": command, "timeout_s": 300.0},
        search={"router": "always", "engine": "world"},
        rollout={"grammar": "tool-call"},
        sampling={"max_new_tokens": 4096},
    )
    search = SearchTool(engine, recipe.search.rule, recipe.search)
    policy = writes(tokenizer, reply)
    with program_rollout(recipe, policy, tokenizer, search, Rubric.read("em")) as rollout:
        [trajectory] = rollout.run([Task(QUESTION, (1,), "g")])
    assert trajectory.error is None
    assert (trajectory.answer, trajectory.reward) == ("Zisara", 1.0)
    assert (trajectory.agent.requests, trajectory.agent.refused) == (2, 0)
    assert [(call.input, call.error) for call in trajectory.calls] == [("spouse of Nemie", None)]
    sampled = [
        (token, logprob)
        for segment in trajectory.segments
        for token, logprob, own in zip(
            segment.token_ids, segment.logprobs, segment.sampled_mask, strict=True
        )
        if own
    ]
    assert {logprob for _, logprob in sampled} == {policy.logprob}
    last = FINAL if name == "smol" else "Zisara"
    assert tokenizer.decode([token for token, _ in sampled]) == f"{CALL}<|im_end|>{last}<|im_end|>"
    assert all(segment.loss_mask == segment.sampled_mask for segment in trajectory.segments)
    if name != "smol":  # It writes its history anew, with the calls as text.
        [segment] = trajectory.segments
        assert [s.source for s in segment.spans if s.source is Source.RETRIEVER] == [Source.RETRIEVER]
