"""`innersearch ask`: one question, with everything the model writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from cyclopts.types import NonNegativeFloat, PositiveInt

from innersearch.assemble.models import conventions_of, model_path, rollout_settings
from innersearch.assemble.pages import demand_tools, tool_kinds_of, tools_of
from innersearch.assemble.plans import open_search
from innersearch.cli.console import stdout
from innersearch.cli.options import Dtype, RolloutOptions, SearchOptions
from innersearch.config import SearchSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from innersearch.config import RolloutSettings
    from innersearch.rollout.episode import Task
    from innersearch.types import Trajectory

app = App(name="ask", help_format="plaintext")


@app.default
def ask(
    model: str,
    question: str,
    *,
    policy: str = "transformers",
    prompt: str | None = None,
    temperature: NonNegativeFloat = 0.0,
    max_new_tokens: PositiveInt = 1024,
    seed: int = 0,
    dtype: Dtype = "auto",
    svg: Path | None = None,
    options: Annotated[SearchOptions, Parameter(name="*")] = SearchOptions(),  # noqa: B008
    writes: Annotated[RolloutOptions, Parameter(name="*")] = RolloutOptions(),  # noqa: B008
) -> None:
    """Ask a model one question and print its trajectory and its answer.

    Colours say what a part is for; information the model wrote for itself is dimmed, because training
    masks it. Examples:

        innersearch ask world "Who taught the spouse of Zerorn?"
        innersearch ask runs/demo/model "Who employs the person who taught Jirara?"
        innersearch ask runs/demo/model "Who leads Lascorp?" --search hybrid
        innersearch ask ~/models/Qwen2.5-1.5B-Instruct "Who wrote Dune?" --search serper
        innersearch ask ~/models/agent "Who wrote Dune?" --policy http:http://127.0.0.1:8000

    Args:
        model: Model directory or hub id; `world` is the bundled model.
        question: The question to be answered.
        policy: Who runs the model: transformers, vllm, http:URL,URL or chat:URL#NAME.
        prompt: Name of the prompt text; what the model expects by default.
        temperature: Sampling temperature; 0 takes the most likely token each time.
        max_new_tokens: Longest response, in tokens.
        seed: Seed of the random numbers, where the temperature is not 0.
        dtype: What the weights are computed in: float32, bfloat16, float16, stored (as they are), or
            auto: bfloat16 for models of some size on a CPU that is measured to be faster with it.
        svg: File that a picture of the trajectory is written to as well.
        options: Who answers the queries.
        writes: How the model writes, what it sees next, and when a trajectory ends.
    """
    search = options.choice()
    path = model_path(model)
    from innersearch.assemble.policies import parse_policy
    from innersearch.policy.loading import load_tokenizer
    from innersearch.rollout.run import Rollout
    from innersearch.types import Sampling

    chosen, tokenizer = parse_policy(policy), load_tokenizer(path)
    conventions = conventions_of(tokenizer if chosen.own else None)
    name = prompt or conventions.asks(real=search is not None and search.only_real)
    settings = rollout_settings(path, writes.given)
    chosen_search = search.settings(path, conventions) if search else SearchSettings()
    demand_tools(settings, chosen_search)
    task = _task(question, name, tokenizer, settings)
    answering = chosen.open(path, tokenizer, max_batch=1, dtype=dtype)
    answers = open_search(chosen_search if search else None, max_outage_s=15.0)
    tools = tools_of(settings, chosen_search, answers.engine)
    opened = (answering, tokenizer, Sampling(temperature, max_new_tokens, seed))
    with Rollout(*opened, search=answers, tools=tools, settings=settings) as rollout:
        [trajectory] = rollout.run([task])
    _show(trajectory, svg, f'innersearch ask {model} "{question}"')


def _show(trajectory: Trajectory, svg: Path | None, title: str) -> None:
    from innersearch.view.terminal import print_trajectory

    print_trajectory(trajectory, stdout)
    if svg is not None:
        from innersearch.cli.pictures import draw

        draw([trajectory], svg, title)


def _task(
    question: str, prompt: str, tokenizer: PreTrainedTokenizerFast, settings: RolloutSettings
) -> Task:
    """The task of a question to a policy that writes as settings say."""
    from innersearch import prompts
    from innersearch.grammar import grammar_of
    from innersearch.rollout.episode import Task
    from innersearch.tools.kinds import shown
    from innersearch.types import Question

    grammar = grammar_of(settings.grammar)
    schemas = shown(grammar, tool_kinds_of(settings))
    [ids] = prompts.encode_all(tokenizer, prompt, [question], grammar=grammar, tools=schemas)
    message = prompts.render(prompt, question, grammar)
    told = prompts.system(prompt)
    return Task(Question("ask", question, ()), ids, "ask", message=message, system=told)
