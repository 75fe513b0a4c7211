"""`innersearch ask`: one question, with everything the model writes."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.types import NonNegativeFloat, PositiveInt

from innersearch.cli.console import stdout
from innersearch.cli.engines import SearchOptions, open_plan
from innersearch.cli.sources import default_prompt, model_path

app = App(name="ask", help_format="plaintext")


@app.default
def ask(
    model: str,
    question: str,
    *,
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

    Args:
        model: Model directory or hub id; `world` is the shipped model.
        question: The question.
        prompt: Prompt text; what the model expects by default.
        temperature: 0 takes the most likely token each time.
        max_new_tokens: Longest response.
        seed: Of the random numbers, where the temperature is not 0.
        options: Who answers the queries.
    """
    path = model_path(model)
    from innersearch import prompts
    from innersearch.policy.loading import load_model, load_tokenizer
    from innersearch.policy.transformers import TransformersPolicy
    from innersearch.rollout.episode import Task
    from innersearch.rollout.run import Rollout
    from innersearch.types import Question, Sampling
    from innersearch.view.terminal import print_trajectory
    from innersearch.world.tokenizer import is_world

    tokenizer, loaded = load_tokenizer(path), load_model(path)
    name = prompt or default_prompt(tokenizer, real=options.only_real)
    limit = loaded.config.get_text_config().max_position_embeddings
    sampling = Sampling(temperature, min(max_new_tokens, limit), seed)
    policy = TransformersPolicy.of(loaded, tokenizer, 1)
    task = Task(Question("ask", question, ()), prompts.encode(tokenizer, name, question), "ask")
    settings = options.resolved(path, world=is_world(tokenizer))
    plan = open_plan(settings, max_outage_s=15.0) if settings else None
    with Rollout(policy, tokenizer, sampling, plan=plan) as rollout:
        [trajectory] = rollout.run([task])
    print_trajectory(trajectory, stdout)
