"""Directories that `save_to_disk` of datasets leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from innersearch.errors import DataError

_STATE, _SPLITS = "state.json", "dataset_dict.json"


def saved_parts(folder: Path) -> list[Path]:
    """The files of a saved data set, in its order; of several splits the only one. Empty where the
    directory is none.

    Raises:
        DataError: It has several splits, or its list of files is damaged or names what is not there.
    """
    if (folder / _SPLITS).is_file():
        splits = _list(folder / _SPLITS, "splits")
        if len(splits) != 1:
            named = ", ".join(str(folder / split) for split in splits)
            raise DataError(f"{folder} holds several splits: name one of {named}")
        folder /= splits[0]
    if not (folder / _STATE).is_file():
        return []
    files = [folder / name for name in _list(folder / _STATE, "_data_files")]
    for file in files:
        if not file.is_file():
            raise DataError(f"{folder} is incomplete: {file.name} is missing")
    return files


def _list(file: Path, key: str) -> list[str]:
    """The names under a key, plain or each as `{"filename": …}`; never above the directory."""
    try:
        value: Any = json.loads(file.read_text(encoding="utf-8"))
        selected = value.get("_indices_data_files")
        names = [str(item["filename"] if isinstance(item, dict) else item) for item in value[key]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataError(f"{file} is damaged: it lists no {key}") from None
    if selected:
        # Its rows would be others than those that were selected.
        raise DataError(f"{file.parent} was saved by an old version of datasets: save it again")
    if not names or any(Path(name).name != name for name in names):
        raise DataError(f"{file} is damaged: it lists {names[:3]}")
    return names
