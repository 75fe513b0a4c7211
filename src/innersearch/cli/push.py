"""`innersearch push`: a model with its card, to a directory or to the Hugging Face hub."""

from __future__ import annotations

import shutil
from pathlib import Path

from cyclopts import App

from innersearch.cli.console import stdout
from innersearch.errors import ConfigError, DataError

app = App(name="push", help_format="plaintext")

RECORDS = ("recipe.json", "environment.json", "spent.json")
"""What goes along, where a run has it."""


@app.default
def push(run: Path, *, to: str, private: bool = False, card_only: bool = False) -> None:
    """Hand on the model of a run with a card: recipe, data, metrics and their intervals.

    The card's figures are those of the evaluations under RUN/eval/. A directory is written, a hub id
    is uploaded to, with the token that huggingface_hub knows. Examples:

        innersearch push runs/demo --to ~/models/demo-agent
        innersearch push runs/demo --to me/demo-agent --private
        innersearch push runs/demo --to card --card-only

    Args:
        run: Directory of the run, whose model/ is handed on.
        to: A directory that does not exist or is empty, or an id on the hub, OWNER/NAME.
        private: Make the repository on the hub private.
        card_only: Write the card alone, to look at it first.
    """
    from innersearch.records import begun, replace_text
    from innersearch.view.card import model_card

    model = run / "model"
    if not (model / "config.json").is_file():
        raise DataError(f"{run} holds no model/: give the directory of a run that is complete")
    text = model_card(run, Path(to).name)
    if not card_only and _is_hub_id(to):
        _upload(run, model, text, to, private=private)
        return
    if private:
        raise ConfigError(f"--private is for the hub, and {to} is a directory: leave it out")
    folder = Path(to).expanduser()
    begun(folder, resume=False, what="push")
    if not card_only:
        shutil.copytree(model, folder, dirs_exist_ok=True)
        for name in RECORDS:
            if (run / name).is_file():
                shutil.copyfile(run / name, folder / name)
    replace_text(folder / "README.md", text)
    stdout.print(f"written  {folder}")
    stdout.print(f"card     {folder / 'README.md'}")


def _is_hub_id(to: str) -> bool:
    """Whether that is an id on the hub: OWNER/NAME, and no directory that there is."""
    parts = to.split("/")
    plain = all(part and not part.startswith((".", "~")) for part in parts)
    return len(parts) == 2 and plain and not Path(parts[0]).is_dir()


def _upload(run: Path, model: Path, card: str, to: str, *, private: bool) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    hub = HfApi()
    records = {name: (run / name).read_bytes() for name in RECORDS if (run / name).is_file()}
    try:
        hub.create_repo(to, private=private, exist_ok=True)
        hub.upload_folder(repo_id=to, folder_path=model, commit_message="Model")
        for name, content in {**records, "README.md": card.encode()}.items():
            hub.upload_file(repo_id=to, path_or_fileobj=content, path_in_repo=name)
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise ConfigError(
            f"the hub refused {to} (HTTP {status}): log in with `hf auth login` and a token that may "
            "write there, or give another OWNER/NAME"
        ) from error
    stdout.print(f"pushed  https://huggingface.co/{to}")
