"""`innersearch serve`: what it prints works, and it ends well."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from innersearch.cli import main, serve
from innersearch.config import SearchSettings
from innersearch.errors import ConfigError
from innersearch.search.base import InformedEngine
from innersearch.search.remote.apis import APIS
from innersearch.search.wrappers.slow import Slow
from innersearch.serve.opening import Troubles, open_served

TOKEN = "canary-5d20e1"


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_every_line_that_it_prints_can_be_pasted_and_it_finishes_when_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "innersearch", "serve", "world", "--port", "0"]
    options = ["--token-env", "GATEWAY_TOKEN", "--record", str(tmp_path / "tape.sqlite")]
    environment = {**os.environ, "GATEWAY_TOKEN": TOKEN}
    process = subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline() for _ in APIS]
        for line in lines:
            name, _, call = line.partition(" ")
            done = subprocess.run(
                ["bash", "-c", call.replace("capital of Peru", "Who taught Nemie?")],
                env=environment,
                capture_output=True,
                check=True,
            )
            answer = json.loads(done.stdout)
            assert "error" not in answer, (name, answer)
            assert len(done.stdout) > 200, name
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert [line.split(" ")[0] for line in lines] == list(APIS)
    assert said.count(" 200 ") == len(APIS)
    assert "taught" not in said
    assert TOKEN not in "".join(lines) + said
    assert TOKEN.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_commands_of_the_documentation_are_understood() -> None:
    text = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
    commands = re.findall(r"^innersearch serve (.*)$", text, re.MULTILINE)
    assert len(commands) >= 9
    for command in commands:
        tokens = shlex.split(command, comments=True)
        _, given, _ = serve.app.parse_args(tokens, exit_on_error=False, print_error=False)
        assert given.arguments


def refused(*arguments: str) -> int:
    return main(["serve", *arguments])


def test_what_cannot_be_served_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SHORT", "secret")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        cases = [
            ([], "no engine given"),
            (["wrold"], "did you mean 'world'"),
            (["world", "--port", str(taken.getsockname()[1])], "another --port"),
            (["world", "--port", "0", "--token-env", "SHORT"], "SHORT holds no token"),
            (["world", "--port", "0", "--token-env", "UNSET"], "UNSET holds no token"),
            (["world", "--port", "0", "--fail", "1.5"], "0 to 1"),
            (["world", "--port", "0", "--latency", "soon"], "web, or seconds"),
            (["world", "--port", "0", "--noise-start", "0.5"], "--noise-steps"),
            (["world", "--port", "0", "--with", "real"], "NAME=ENGINE"),
            (["world", "--port", "0", "--replay", "tape.sqlite"], "leave out the engine"),
            (["--port", "0", "--replay", str(tmp_path / "none")], "no record at"),
        ]
        for arguments, message in cases:
            status = refused(*(arguments if "--port" in arguments else [*arguments, "--port", "0"]))
            said = capsys.readouterr().err
            assert (status, said.count("innersearch: ")) == (1, 1), arguments
            assert message in said
            assert "secret" not in said


def test_troubles_stand_around_the_engine_and_noise_grows_with_the_step() -> None:
    troubles = Troubles(noise=0.75, noise_steps=100, fail=0.05, latency="web", seed=3)
    engine = open_served(SearchSettings(engine="world"), troubles)
    assert isinstance(engine, Slow)
    assert isinstance(engine, InformedEngine)
    assert engine.curriculum is not None
    assert [round(engine.curriculum.at(step), 2) for step in (50, 100)] == [0.25, 0.75]
    assert (engine.identity["failing"], engine.identity["noise_end"]) == (0.05, 0.75)
    with pytest.raises(ConfigError, match="share"):
        open_served(SearchSettings(engine="world"), Troubles(noise=1.5))


def test_nothing_is_made_worse_where_nobody_asks_for_it() -> None:
    assert not isinstance(open_served(SearchSettings(engine="world")), InformedEngine)
