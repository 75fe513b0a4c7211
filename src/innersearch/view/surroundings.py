"""What there is around a run: versions, optional parts, keys by name only, processor, memory and GPU.

>>> sorted(surroundings())
['cpu', 'extras', 'gpu', 'keys', 'memory_gb', 'os', 'variables', 'versions']
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from innersearch import __version__, openmp
from innersearch.errors import EXTRAS, installing

_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")
"""What makes a processor fast at products of matrices, as Linux calls it."""
_VARIABLES = ("INNERSEARCH_DATA", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "HF_HOME", "HF_HUB_OFFLINE")
"""Variables that change what happens here; their values are no secrets."""
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def surroundings() -> dict[str, Any]:
    """All of it, as JSON can hold it. Of keys it is told whether they are set, never what they are."""
    return {
        "versions": package_versions(),
        "os": platform.platform(),
        "cpu": {**_processor(), **openmp.described()},
        "memory_gb": _memory_gb(),
        "gpu": _gpus(),
        "extras": extras(),
        "keys": {name: bool(os.environ.get(name)) for name in keys()},
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def package_versions() -> dict[str, str]:
    """Versions of Python and of what innersearch needs and is installed."""
    found = {"python": platform.python_version(), "innersearch": __version__}
    told = ((name, _version(name)) for name in _requirements())
    return found | {name: version for name, version in told if version}


def extras() -> dict[str, list[str]]:
    """Which modules each extra lacks; nothing of those that are installed."""
    found: dict[str, list[str]] = {extra: [] for extra in sorted(set(EXTRAS.values()))}
    for module, extra in EXTRAS.items():
        if find_spec(module) is None:
            found[extra].append(module)
    return found


def lacking(extra: str, missing: list[str]) -> str:
    """An extra in a few words.

    >>> lacking("lora", ["peft"])
    "lacks peft: pip install -e '.[lora]' in a clone of innersearch"
    """
    return f"lacks {', '.join(missing)}: {installing(extra)}" if missing else "yes"


def keys() -> list[str]:
    """Environment variables that hold keys of servers."""
    from innersearch.evaluate.judge import KEY_VARIABLE as JUDGE
    from innersearch.policy.servers import KEY_VARIABLE as POLICY
    from innersearch.search.index.embeddings import KEY_VARIABLE as EMBEDDINGS
    from innersearch.search.remote.dialects import DIALECTS
    from innersearch.simulator.writers import KEY_VARIABLE as SIMULATOR

    web = [dialect.key_variable for dialect in DIALECTS.values() if dialect.key_variable]
    return [*web, POLICY, SIMULATOR, JUDGE, EMBEDDINGS, "HF_TOKEN"]


def _requirements() -> list[str]:
    """Packages that innersearch or one of its extras needs."""
    try:
        told = requires("innersearch") or []
    except PackageNotFoundError:
        return []
    names = {match[0] for match in map(_NAME.match, told) if match}
    return sorted(names - {"innersearch"})


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> dict[str, Any]:
    text = _read(Path("/proc/cpuinfo"))
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    there = set(flags[1].split()) if flags else set()
    return {
        "name": name[1] if name else platform.processor() or platform.machine(),
        "features": [feature for feature in _FEATURES if feature in there],
    }


def _memory_gb() -> float | None:
    if not hasattr(os, "sysconf"):
        return None
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)


def _gpus() -> list[str]:
    """Names and memory of GPUs, as the driver tells them: torch would take seconds to import."""
    if (tool := shutil.which("nvidia-smi")) is None:
        return []
    asked = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in told.splitlines() if line.strip()]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
