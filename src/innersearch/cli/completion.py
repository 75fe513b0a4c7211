"""`innersearch completion`: verbs and options in a shell."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

from innersearch.cli.console import stdout

app = App(name="completion", help_format="plaintext")


@app.default
def completion(shell: Literal["bash", "zsh", "fish"] = "bash", *, install: bool = False) -> None:
    """Print what makes a shell complete verbs and options, or put it where the shell looks for it.

        innersearch completion zsh > ~/.zfunc/_innersearch
        eval "$(innersearch completion bash)"
        innersearch completion fish --install

    Args:
        shell: Shell that is to complete.
        install: Write it to where the shell looks for it, and leave its start-up files as they are.
    """
    from innersearch.cli import app as whole

    if install:
        stdout.print(f"written  {whole.install_completion(shell=shell, add_to_startup=False)}")
        stdout.print("next     start a new shell")
    else:
        stdout.out(whole.generate_completion(shell=shell), highlight=False)
