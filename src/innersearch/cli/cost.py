"""`innersearch cost`: what the searches of a recipe cost, tier by tier, before and after the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cyclopts import App
from cyclopts.types import NonNegativeFloat, NonNegativeInt

from innersearch.assemble.recipes import open_recipe, run_recipe
from innersearch.cli.results import AsJson, show
from innersearch.config import Recipe
from innersearch.errors import ConfigError
from innersearch.evaluate.cost import Cost, Simulator, forecast_costs, published_costs, run_searches
from innersearch.view.costs import (
    BILLIONS,
    RUN_HEADS,
    USD_HOUR,
    Counted,
    cost_table,
    counted_searches,
    prompt_tokens,
    rollout_seconds,
    run_rows,
    simulators,
)
from innersearch.view.tables import markdown

app = App(name="cost", help_format="plaintext")


@app.default
def cost(
    recipe: str = "",
    *,
    run: Path | None = None,
    published: bool = False,
    searches_per_trajectory: NonNegativeFloat = 2.0,
    billions: tuple[float, ...] = BILLIONS,
    gpus: NonNegativeInt = 1,
    usd_hour: NonNegativeFloat = USD_HOUR,
    measured: float | None = None,
    hours: NonNegativeFloat = 0.0,
    as_json: AsJson = False,
) -> None:
    """Show what a recipe's searches cost if the policy, a simulator or a search API answers them.

    Without retries and caches, at list prices. Examples:

        innersearch cost recipes/zerosearch.toml
        innersearch cost recipes/zerosearch.toml --searches-per-trajectory 1.6 --hours 12 --published
        innersearch cost recipes/zerosearch.toml --billions 7 --gpus 2 --measured 21000
        innersearch cost recipes/zerosearch.toml --billions 0.5 --gpus 0 --usd-hour 0 --measured 50
        innersearch cost --run runs/zerosearch-world
        innersearch cost --published

    Args:
        recipe: A .toml file; with --run the recipe of that run by default.
        run: Directory of a finished run, to show what its searches came to beside the forecast.
        published: Show ZeroSearch's own cost table (arXiv:2505.04588) as well.
        searches_per_trajectory: Mean number of searches of a trajectory.
        billions: Parameters of a simulator, in billions; can be given several times.
        gpus: GPUs of each simulator; 0 for a CPU of your own.
        usd_hour: US dollars for an hour of one GPU, 0 for your own; by default what an H100 SXM cost on
            demand in May 2026.
        measured: Tokens per second, read and written, of the simulator named by --billions on all its
            GPUs; estimated from the GPUs' peak by default.
        hours: How long the run takes; simulators are rented all that time. 0 rents them only while they
            compute.
        as_json: Print the result as JSON, in place of text and tables.
    """
    if not (recipe or run or published):
        raise ConfigError("nothing to show: give a recipe, --run DIR or --published")
    if measured is not None and len(billions) != 1:
        raise ConfigError("--measured is the rate of one simulator: name its size with one --billions")
    found: dict[str, Any] = {}
    texts = []
    if recipe or run:
        chosen = run_recipe(run) if run and not recipe else open_recipe(recipe)
        searches = _searches(chosen, searches_per_trajectory)
        read = prompt_tokens(chosen.search.simulator)
        models = simulators(read, billions, gpus=gpus, usd_hour=usd_hour, measured=measured)
        forecast = _forecast(chosen, searches, models, hours)
        counted = counted_searches(run, chosen.search.simulator) if run else []
        table = _with_run(run, counted, forecast) if run else cost_table(forecast)
        texts += [_described(chosen, searches_per_trajectory, searches), table]
        found |= {"searches": searches, "forecast": forecast, "counted": counted}
    if published:
        texts += ["published by ZeroSearch: 200 steps of 64 questions × 5 trajectories, 12 hours"]
        texts += [cost_table(found.setdefault("published", list(published_costs())))]
    show(found, "\n".join(texts), as_json=as_json)


def forecast_table(recipe: Recipe, per_trajectory: float = 2.0) -> str:
    """What a recipe's searches would cost tier by tier, before the first one."""
    searches = _searches(recipe, per_trajectory)
    models = simulators(prompt_tokens(recipe.search.simulator))
    table = cost_table(_forecast(recipe, searches, models, 0.0))
    return f"{_described(recipe, per_trajectory, searches)}\n{table}"


def _searches(recipe: Recipe, per_trajectory: float) -> int:
    plan = recipe.trainer
    return run_searches(plan.steps * plan.prompts_per_step * plan.group_size, per_trajectory)


def _forecast(recipe: Recipe, searches: int, models: Sequence[Simulator], hours: float) -> list[Cost]:
    return forecast_costs(
        searches,
        documents=recipe.search.k,
        words=recipe.search.simulator.words,
        simulators=models,
        run_s=3600 * hours,
    )


def _described(recipe: Recipe, per_trajectory: float, searches: int) -> str:
    plan = recipe.trainer
    return (
        f"{recipe.name}: {plan.steps} steps of {plan.prompts_per_step} questions × {plan.group_size} "
        f"trajectories × {per_trajectory:g} searches = {searches:,} searches"
    )


def _with_run(run: Path, real: Sequence[Counted], forecast: Sequence[Cost]) -> str:
    seconds = rollout_seconds(run)
    took = "" if seconds is None else f", rollouts {seconds:,.1f} s"
    searches = sum(row.cost.searches for row in real)
    return f"{run}: {searches:,} searches{took}\n{markdown(RUN_HEADS, run_rows(real, forecast))}"
