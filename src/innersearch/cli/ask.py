"""`innersearch ask`: one question, with everything the model writes."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.types import NonNegativeFloat, PositiveInt

from innersearch.assemble.models import conventions_of, model_path
from innersearch.assemble.plans import open_plan
from innersearch.cli.console import stdout
from innersearch.cli.options import SearchOptions

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
    options: Annotated[SearchOptions, Parameter(name="*")] = SearchOptions(),  # noqa: B008
) -> None:
    """Ask a model one question and print its trajectory and its answer.

    Colours say what a part is for; information the model wrote for itself is dimmed, because training
    masks it. Examples:

        innersearch ask world "Who taught the spouse of Nemie?"
        innersearch ask runs/demo/model "Who employs the person who taught Jirara?"
        innersearch ask runs/demo/model "Who taught the spouse of Bulak?" --search hybrid
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
        options: Who answers the queries.
    """
    search = options.choice()
    path = model_path(model)
    from innersearch import prompts
    from innersearch.assemble.policies import parse_policy
    from innersearch.policy.loading import load_tokenizer
    from innersearch.rollout.episode import Task
    from innersearch.rollout.run import Rollout
    from innersearch.tools.search import SearchTool
    from innersearch.types import Question, Sampling
    from innersearch.view.terminal import print_trajectory

    tokenizer = load_tokenizer(path)
    chosen = parse_policy(policy)
    conventions = conventions_of(tokenizer if chosen.own else None)
    name = prompt or conventions.asks(real=search is not None and search.only_real)
    [prompt_ids] = prompts.encode_all(tokenizer, name, [question])
    message = prompts.render(name, question)
    task = Task(Question("ask", question, ()), prompt_ids, "ask", message=message)
    sampling = Sampling(temperature, max_new_tokens, seed)
    answering = chosen.open(path, tokenizer, max_batch=1)
    answers = SearchTool.itself()
    if search:
        answers = open_plan(search.settings(path, conventions), max_outage_s=15.0)
    with Rollout(answering, tokenizer, sampling, search=answers) as rollout:
        [trajectory] = rollout.run([task])
    print_trajectory(trajectory, stdout)
