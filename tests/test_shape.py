"""The house rules that a machine can check."""

from __future__ import annotations

import ast
import pickle
import re
from pathlib import Path

import pytest

from innersearch import errors

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "innersearch"
FILES = sorted(SOURCE.rglob("*.py"))

ORDER = """
    types errors extensions openmp progress rows metrics intervals replication gold stored records
    trajectories random_draws token_text thoughts grammar prompts weights identity locks sealed
    readers net data routing config checkpoints runs search pages memory tools policy rollout rewards
    simulator world_1 world real assemble evaluate train cold_start world_making view serve public
    testing cli
""".split()
"""Imports go down this list, never up."""


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


MODULE = re.compile(r"(?:pkg://)?innersearch(?:\.\w+)+")


def imported_rooms(tree: ast.AST) -> set[str]:
    """The rooms of imports, and of strings that are nothing but the dotted name of something in one."""
    names = []
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and MODULE.fullmatch(node.value)
        ):
            names.append(node.value.removeprefix("pkg://"))
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "innersearch":
                names += [f"innersearch.{alias.name}" for alias in node.names]
            names.append(node.module)
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("innersearch.")} & set(ORDER)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down_the_list_of_rooms(path: Path) -> None:
    if room(path) not in ORDER:
        assert path.name in ("__init__.py", "__main__.py")
        return
    above = ORDER[ORDER.index(room(path)) + 1 :]
    assert not imported_rooms(ast.parse(path.read_text())) & set(above)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_modules_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 450
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{node.name} is long"


def test_there_is_no_room_for_odds_and_ends() -> None:
    assert not [path for path in FILES if re.search(r"util|helper|manager|common|misc", path.name)]


PICKLES = re.compile(
    r"^\s*(import|from) (pickle|cPickle|dill|cloudpickle|joblib|shelve|marshal)\b"
    r"|torch\.(save|load)\("
    r"|allow_pickle=True|\.read_pickle\(|\.to_pickle\("
    r"|\b(all_gather|gather|broadcast|scatter|send|recv)_object(_list)?\(",
    re.MULTILINE,
)
"""What writes or reads pickle, on disk or between processes."""


def test_nothing_is_pickled() -> None:
    assert not [path for path in FILES if PICKLES.search(path.read_text())]
    for sample in ("import pickle", "torch.load(x)", "distributed.all_gather_object(a, b)"):
        assert PICKLES.search(sample)


def test_every_room_stands_in_the_architecture_and_every_module_says_what_it_is() -> None:
    architecture = (ROOT / "docs" / "architecture.md").read_text()
    for name in ORDER:
        assert f"`{name}`" in architecture or f"`{name}/`" in architecture
    for path in FILES:
        assert ast.get_docstring(ast.parse(path.read_text())) or path.name == "__main__.py", path


def test_errors_survive_pickling_and_are_drawn() -> None:
    """Workers of other trainers send them between processes."""
    kinds = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)]
    assert len(kinds) >= 7
    for kind in kinds:
        assert str(pickle.loads(pickle.dumps(kind("message")))) == "message"
        assert kind.__name__ in errors.__doc__
