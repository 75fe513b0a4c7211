"""Runs a command, kills it once a file has a line, and runs it again with --resume.

    python benchmarks/killed.py runs/ssrl/metrics.jsonl innersearch train x.toml --output runs/ssrl

By SIGKILL, which no process can catch. What the command returns the second time is what this returns; a
command that ended before its file had a line was not killed, and that is an error.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

POLL_S = 0.05


def main() -> int:
    file, command = Path(sys.argv[1]), sys.argv[2:]
    process = subprocess.Popen(command)
    while process.poll() is None and not has_line(file):
        time.sleep(POLL_S)
    if process.poll() is not None:
        print(f"{file} had no line when the command ended, with status {process.returncode}")
        return process.returncode or 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    print(f"killed once {file} had a line; going on with --resume", flush=True)
    return subprocess.run([*command, "--resume"], check=False).returncode


def has_line(file: Path) -> bool:
    return file.is_file() and b"\n" in file.read_bytes()


if __name__ == "__main__":
    sys.exit(main())
