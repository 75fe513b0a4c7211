"""The programs that exports are for open them: `make test-exports`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from innersearch.cli import main
from tests.view.exporting import make_run

pytestmark = pytest.mark.exports


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("exports") / "run")


def test_inspect_reads_its_logs(run: Path, tmp_path: Path) -> None:
    from inspect_ai.log import list_eval_logs, read_eval_log

    assert main(["export", str(run), "--to", "inspect", "--output", str(tmp_path / "logs")]) == 0
    logs = {log.eval.task: log for log in map(read_eval_log, list_eval_logs(str(tmp_path / "logs")))}
    assert len(logs) == 8
    log = logs["careful-encyclopedia"]
    assert log.results.scores[0].metrics["mean"].value == 1.0
    roles = [message.role for message in log.samples[-1].messages]
    assert roles[:4] == ["user", "assistant", "tool", "assistant"]
    called = [call for m in log.samples[-1].messages for call in getattr(m, "tool_calls", None) or ()]
    assert {call.function for call in called} == {"search"}


def test_verifiers_loads_its_taskset(run: Path, tmp_path: Path, monkeypatch) -> None:
    import verifiers.v1 as vf
    from verifiers.v1.utils.loaders import import_taskset

    assert main(["export", str(run), "--to", "verifiers", "--output", str(tmp_path / "made")]) == 0
    monkeypatch.syspath_prepend(str(tmp_path / "made"))
    module = import_taskset("innersearch-run")
    taskset = module.SearchTaskset(vf.TasksetConfig(id="innersearch-run"))
    tasks = list(taskset)
    assert len(tasks) == 6
    [tools] = taskset.toolsets(taskset.config)
    found = asyncio.run(tools.search("teacher of Zerorn"))
    assert "had Kasara for many years" in found
    assert found.count("Doc ") == 2
    task, [gold] = tasks[0], tasks[0].data.golden_answers
    for reply, worth in ((f"<answer>{gold}</answer>", 1.0), (gold, 1.0), ("Nobody", 0.0)):
        assert asyncio.run(task.em(task.data, SimpleNamespace(last_reply=reply))) == worth
    assert [hook.__name__ for hook in task.hooks("reward")] == ["em"]
    sys.modules.pop(module.__name__)
