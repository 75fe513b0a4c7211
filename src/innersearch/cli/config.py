"""`innersearch config`: recipes as they are resolved."""

from __future__ import annotations

from cyclopts import App

from innersearch.cli.results import AsJson, show

app = App(name="config", help="Recipes as they are resolved.", help_format="plaintext")


@app.command(name="show")
def show_command(recipe: str = "", *, as_json: AsJson = False) -> None:
    """Show every setting of a recipe, its value, and where that comes from: a file, a base, a default.

    Without a recipe, the defaults of all. Each can be given to train by its dotted name. Examples:

        innersearch config show recipes/ssrl-world.toml
        innersearch config show recipes/controls/no-mask.toml
        innersearch config show
        innersearch config show recipes/ssrl.toml --json

    Args:
        recipe: A .toml file, or a bundled one such as recipes/ssrl-world.toml.
        as_json: Print the result as JSON, in place of text and tables.
    """
    from innersearch.assemble.recipes import origins, recipe_with
    from innersearch.config import Recipe
    from innersearch.config.reward import written
    from innersearch.runs import dotted
    from innersearch.view.tables import listed

    chosen, given = (recipe_with(recipe, {}), origins(recipe)) if recipe else (Recipe(), {})
    values = chosen.model_dump(mode="json", exclude={"stage"})
    values["reward"] = written(chosen.reward)
    flat = dotted(values) | {
        f"stage {number}.{name}": value
        for number, stage in enumerate(chosen.stage, 1)
        for name, value in dotted(stage.model_dump(mode="json", exclude_unset=True)).items()
    }
    rows = [(name, _shown(value), _origin(name, given)) for name, value in flat.items()]
    table = listed(("setting", "value", "from"), rows)
    show(chosen.model_dump(mode="json"), table, as_json=as_json)


def _origin(name: str, given: dict[str, str]) -> str:
    """The file that says it; a table that is replaced as a whole says all below it."""
    key = "stage" if name.startswith("stage ") else name
    while key and key not in given:
        key = key.rpartition(".")[0]
    return given.get(key, "default")


def _shown(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "–"
    return str(value) or "–"
