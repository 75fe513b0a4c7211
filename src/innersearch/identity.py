"""What a run or an evaluation is made of: by content, and not by the names of files.

Written into its folder as identity.json. Going on with other weights, another tokenizer, template,
prompt, question file or index would mix two things in one table, so that is refused, and comparisons say
what is not the same.

* weights: see `innersearch.weights`; of servers they cannot be seen, and only what those call them is
  kept;
* configuration, generation config: their JSON, without what no result depends on;
* tokenizer: as it was loaded, without the state that its use leaves; chat template: its text;
* prompt text: ours; prompts: the tokens of every question's prompt, on the day of the run where the
  template asks for one;
* questions, pairs: ids, texts and gold answers in their order; engine: its identity.

Versions, the name of the model and the day are kept beside them and not compared.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired

from typing_extensions import TypedDict

from innersearch import prompts
from innersearch.errors import DataError, RunError
from innersearch.prompts.templates import day, fix_day
from innersearch.records import write_json
from innersearch.stored import read_json, read_object
from innersearch.weights import fingerprint

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Parts = dict[str, Any]
"""What something is made of, by the name of the part: texts, and of an engine a mapping."""

FILE = "identity.json"


class _Recorded(TypedDict):
    day: str
    model: NotRequired[str]


class _Kept(TypedDict):
    """What identity.json holds."""

    made_of: Parts
    recorded: _Recorded


_log = logging.getLogger(__name__)
_OF_NO_RESULT = ("transformers_version", "_name_or_path", "use_cache", "dtype", "torch_dtype")
_STATE = ("padding", "truncation")
_NAMES = {
    "weights": "the weights of {model}",
    "configuration": "the config.json of {model}",
    "generation config": "the generation_config.json of {model}",
    "tokenizer": "the tokenizer of {model}",
    "chat template": "the chat template of {model}",
    "questions": "the questions",
    "pairs": "the pairs",
    "prompt text": "the text of the prompt",
    "prompts": "the prompts, as the chat template renders them,",
    "engine": "the search engine",
    "judge": "the judge",
    "settings": "the settings",
}
_OF_MODEL = ("weights", "configuration", "generation config", "tokenizer", "chat template")
_WITHIN_PROMPTS = {"tokenizer", "chat template", "questions", "prompt text"}
"""What changes the prompts: then those need not be named too."""
_SHOWN = 24


def of_model(path: str, tokenizer: PreTrainedTokenizerBase) -> Parts:
    """Weights, configurations, tokenizer and template of a model directory or hub id.

    Raises:
        ModelError: Its weights are damaged.
    """
    parts: Parts = {}
    if folder := snapshot(path):
        parts["weights"] = fingerprint(folder)
        parts["configuration"] = _of_json(folder / "config.json")
        parts["generation config"] = _of_json(folder / "generation_config.json")
    return {name: value for name, value in parts.items() if value} | of_tokenizer(tokenizer)


def of_served(name: str, tokenizer: PreTrainedTokenizerBase, stated: str = "") -> Parts:
    """The same for a model behind servers, whose weights are theirs to know; they may have `stated`
    what they loaded.
    """
    loaded = f" from {stated}" if stated else ""
    return {"weights": f"not seen, served as {name}{loaded}"} | of_tokenizer(tokenizer)


def of_tokenizer(tokenizer: PreTrainedTokenizerBase) -> Parts:
    """A tokenizer and its chat template."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state = json.loads(backend.to_str()) if backend is not None else tokenizer.get_vocab()
    content = {key: value for key, value in state.items() if key not in _STATE}
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    return {
        "tokenizer": _sha256([content, special]),
        "chat template": _sha256(tokenizer.chat_template) if tokenizer.chat_template else "none",
    }


def of_prompts(name: str, encoded: Iterable[Sequence[int]]) -> Parts:
    """The text of a prompt, and the tokens of the prompts made of it."""
    tokens = _sha256([list(ids) for ids in encoded])
    slots = prompts.render(name, "{question}", date="{date}"), prompts.system(name, date="{date}")
    return of_texts(*filter(None, slots)) | {"prompts": tokens}


def of_texts(*texts: str) -> Parts:
    """Texts of prompts."""
    return {"prompt text": _sha256(texts)}


def of_pairs(pairs: Iterable[str]) -> Parts:
    """What a simulator learns from, one text each."""
    return {"pairs": _sha256(list(pairs))}


def snapshot(path: str) -> Path | None:
    """Where the files of a model lie: its directory, or of a hub id the copy of one commit."""
    if not path or Path(path).is_dir():
        return Path(path) if path else None
    try:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(path, "config.json")
    except (ImportError, ValueError):
        return None
    return Path(found).parent if isinstance(found, str) else None


def _of_json(file: Path) -> str:
    if not file.is_file():
        return ""
    content = read_json(file)
    if not isinstance(content, dict):
        raise DataError(f"{file} is damaged, it holds no JSON object: restore it")
    return _sha256({key: value for key, value in content.items() if key not in _OF_NO_RESULT})


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def demand_same(folder: Path, made_of: Parts, model: str, what: str) -> None:
    """Refuse to go on in a folder with other things than its records come from.

    Raises:
        RunError: Something changed; it is named. Or the folder's identity.json is damaged.
    """
    changed = differing(parts_in(folder), made_of)
    if not changed:
        return
    recorded = _read(folder)["recorded"].get("model", model)
    model = model if model == recorded else f"{model}, instead of {recorded},"
    raise RunError(
        f"cannot resume {folder}: {changes(changed, model, what)}; start anew with another --output, or "
        "give what it began with"
    )


def changes(changed: Mapping[str, tuple[Any, Any]], model: str, what: str) -> str:
    """What `differing` found, in words."""
    names = [_NAMES.get(name, name).format(model=model) for name in changed]
    details = "; ".join(f"{_short(before)} → {_short(now)}" for before, now in changed.values())
    return f"{' and '.join(names)} changed since this {what} began: {details}"


def name_of(folder: Path, made_of: Parts, model: str) -> str:
    """The name by which a folder knows a model: a directory that was moved is the same by its content.

    Raises:
        DataError: The folder's identity.json is damaged.
    """
    before = parts_in(folder)
    seen = known_by_content(folder) and "weights" in made_of
    if seen and all(made_of.get(name) == before.get(name) for name in _OF_MODEL):
        return str(_read(folder)["recorded"].get("model", model))
    return model


def known_by_content(folder: Path) -> bool:
    """Whether the weights behind the records of a folder were seen, so that no name is needed.

    Raises:
        DataError: The folder's identity.json is damaged.
    """
    return str(parts_in(folder).get("weights", "")).startswith(("sha256:", "sampled"))


def demand_same_model(folder: Path, made_of: Parts, model: str, what: str) -> None:
    """The same, unless it is another model by name: who checks settings says that better.

    Raises:
        RunError: As `demand_same`.
    """
    if _read(folder).get("recorded", {}).get("model") == model:
        demand_same(folder, made_of, model, what)


def keep(folder: Path, made_of: Parts, model: str, versions: Mapping[str, str]) -> None:
    """Write down what the records of a folder come from, once.

    Of one that was begun before this was kept, what it goes on with is noted, and that is said.
    """
    if (folder / FILE).is_file():
        return
    if (folder / "metrics.jsonl").is_file() or (folder / "greedy.jsonl").is_file():
        _log.warning(
            "note: %s was begun without a note of what it is made of, so that nothing says whether "
            "model, questions and prompts are still the same",
            folder,
        )
    recorded = {"model": model, "day": day().isoformat(), "versions": dict(versions)}
    if (place := snapshot(model)) and not Path(model).is_dir():
        recorded["commit"] = place.name
    write_json(folder / FILE, {"made_of": made_of, "recorded": recorded})


def parts_in(folder: Path) -> Parts:
    """What was kept in a folder; nothing in one that was begun before that.

    Raises:
        RunError: The file is damaged.
    """
    return dict(_read(folder).get("made_of", {}))


def use_day(folder: Path) -> None:
    """Let chat templates that ask for a day see that on which the run in a folder began; the present one
    where none did.

    Raises:
        RunError: The folder's identity.json is damaged.
    """
    kept = _read(folder).get("recorded", {}).get("day")
    fix_day(date.fromisoformat(kept) if kept else _present())


def _present() -> date:
    return date.today()


def _read(folder: Path) -> dict[str, Any]:
    file = folder / FILE
    if not file.exists():
        return {}
    found = read_object(file, _Kept)
    try:
        date.fromisoformat(found["recorded"]["day"])
    except ValueError as error:
        raise RunError(f"{file} is damaged: its day is {found['recorded']['day'][:40]!r}") from error
    return found


def differing(before: Parts, now: Parts) -> dict[str, tuple[Any, Any]]:
    """The parts that both have and that are not the same, before and now."""
    found = {
        name: (before[name], now[name])
        for name in _NAMES
        if name in before and name in now and before[name] != now[name]
    }
    if _WITHIN_PROMPTS & set(found):
        found.pop("prompts", None)
    return {name: _by_key(*pair) for name, pair in found.items()}


def between(a: Path, b: Path) -> dict[str, list[str]]:
    """What is not the same in two folders, by its name, as [of a, of b].

    Raises:
        RunError: An identity.json is damaged.
    """
    found = {
        name: [_short(value) for value in pair]
        for name, pair in differing(parts_in(a), parts_in(b)).items()
    }
    days = [_read(folder).get("recorded", {}).get("day") for folder in (a, b)]
    if "prompts" in found and None not in days and days[0] != days[1]:
        found["day of the prompts"] = days
    return found


def _by_key(before: Any, now: Any) -> tuple[Any, Any]:
    """Of two mappings only what they differ in."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return before, now
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    return tuple({key: side.get(key) for key in keys} for side in (before, now))  # type: ignore[return-value]


def _short(value: Any) -> str:
    """A value as far as a line has room.

    >>> _short("sha256:" + 64 * "a" + " (12 bytes)")
    'sha256:aaaaaaaaaaaaaaaaa…'
    """
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(part)}" for key, part in value.items())
    text = str(value)
    return text if len(text) <= _SHOWN or text.startswith("not seen") else text[:_SHOWN] + "…"
