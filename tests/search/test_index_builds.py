"""Builds of an index that meet: another build, a reader, a kill at any step, damage on the disk."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from innersearch.errors import SearchError
from innersearch.search.index import store, switch
from innersearch.search.index.bm25 import BM25Engine
from innersearch.search.index.dense import DenseEngine
from innersearch.types import Document
from tests.search.test_dense import WordEncoder

BEFORE = [Document(f"b{n}", "", f"before w{n} w{n * 7 % 5}") for n in range(12)]
AFTER = [Document(f"a{n}", "", f"after v{n} v{n * 3 % 5}") for n in range(9)]

Build = Callable[[Any, Path], Any]
KINDS: dict[str, tuple[Build, Callable[[Path], Any]]] = {
    "bm25": (BM25Engine.build, BM25Engine.open),
    "dense": (
        lambda documents, folder: DenseEngine.build(documents, folder, WordEncoder()),
        lambda folder: DenseEngine.open(folder, WordEncoder()),
    ),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def finds(engine: Any, documents: list[Document]) -> bool:
    """Whether each of the documents, and no other, comes first for its own text."""
    results = asyncio.run(engine.search([document.text for document in documents], 1))
    asyncio.run(engine.close())
    return [r.documents[0].id for r in results if r.documents] == [d.id for d in documents]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Held:
    """Documents of which the last one waits until it is let go."""

    def __init__(self, documents: list[Document]) -> None:
        self.under_way, self.go = threading.Event(), threading.Event()
        self._documents = documents

    def __iter__(self) -> Iterator[Document]:
        yield from self._documents[:-1]
        self.under_way.set()
        assert self.go.wait(60)
        yield self._documents[-1]


@pytest.mark.parametrize("spelling", ["index", "./index", "link", "../{}/index"])
def test_of_two_builds_one_is_refused_and_the_index_is_whole(
    tmp_path: Path, kind: str, spelling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    build, opening = KINDS[kind]
    build(BEFORE, Path("index"))
    Path("link").symlink_to("index")
    held = Held(AFTER)
    first = threading.Thread(target=build, args=(held, Path("index")))
    first.start()
    held.under_way.wait()
    other = Path(spelling.format(tmp_path.name))
    with pytest.raises(SearchError, match=rf"index is being written by process {os.getpid()} on"):
        build(BEFORE[:3], other)
    assert finds(opening(other), BEFORE)
    held.go.set()
    first.join()
    assert finds(opening(Path("index")), AFTER)
    build(BEFORE[:3], other)
    assert finds(opening(other), BEFORE[:3])
    assert names(tmp_path) == ["index", "link"]


def test_a_reader_that_opens_while_the_index_is_replaced_gets_one_of_the_two(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, opening = KINDS[kind]
    folder = tmp_path / "index"
    build(BEFORE, folder)
    documents = store.open_documents
    builds = [AFTER, BEFORE, AFTER]

    def replaced_meanwhile(place: Path) -> store.DocumentStore:
        if builds:
            new = builds.pop()
            with monkeypatch.context() as patch:
                patch.setattr(store, "open_documents", documents)
                build(new, folder)
        return documents(place)

    engine = opening(folder)
    monkeypatch.setattr(store, "open_documents", replaced_meanwhile)
    assert finds(opening(folder), AFTER)
    assert builds == []
    monkeypatch.undo()
    # Whoever had it open reads on.
    assert finds(engine, BEFORE)


_STEPS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "shutil.rmtree"}


def killed_at(step: int, folder: Path, work: Callable[[], object]) -> bool:
    """Whether a process that does the work dies before its so-manieth step on files of `folder`."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    left = step

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        # What is removed by the handle of its directory has a bare name.
        mine = event in ("os.remove", "os.rmdir") or str(folder) in str(arguments[:1])
        if event in _STEPS and mine:
            left -= 1
            if left < 0:
                os._exit(9)

    try:
        sys.addaudithook(count)
        work()
        os._exit(0)
    finally:
        os._exit(1)


def build_store(documents: list[Document], folder: Path) -> None:
    """What every index is built by, without an engine: there are many steps."""
    with store.building(folder) as part:
        written, sha256 = store.write_documents(documents, part)
        written.close()
        count = len(documents)
        store.write_settings(
            part, engine="toy", library="", documents=count, sha256=sha256, parameters={}
        )


def stored(folder: Path) -> list[Document] | None:
    """What a reader finds, where nothing can be repaired, as on a read-only mount; None for no index."""
    try:
        opened = store.opened(folder, "toy", lambda place, _: store.open_documents(place))
    except SearchError as error:
        if "no index" in str(error):
            return None
        raise
    documents = opened[:]
    opened.close()
    return documents


@pytest.mark.parametrize("exchanges", [True, False])
@pytest.mark.parametrize("replaces", [True, False])
def test_a_kill_at_any_step_leaves_a_whole_index_or_none(
    tmp_path: Path, exchanges: bool, replaces: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchanges:
        monkeypatch.setattr(switch, "exchange", lambda one, other: False)
    # A kill takes nothing from the system's buffers.
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    seen, died = [], True
    while died:
        folder = tmp_path / str(len(seen)) / "index"
        folder.parent.mkdir()
        if replaces:
            build_store(BEFORE, folder)
        died = killed_at(len(seen), folder, partial(build_store, AFTER, folder))
        seen.append(stored(folder))
        build_store(AFTER[:4], folder)
        assert stored(folder) == AFTER[:4]
        assert names(folder.parent) == ["index"]
    before = BEFORE if replaces else None
    assert len(seen) > 15
    switched = seen.index(AFTER)
    assert seen == [before] * switched + [AFTER] * (len(seen) - switched)
    assert 0 < switched < len(seen) - 1


def test_a_finished_build_that_was_killed_before_its_switch_is_found(tmp_path: Path, kind: str) -> None:
    build, opening = KINDS[kind]
    build(AFTER, tmp_path / "index")
    (tmp_path / "index").rename(tmp_path / "index.part")
    assert finds(opening(tmp_path / "index"), AFTER)
    (tmp_path / "index.part").rename(tmp_path / ".index.replaced")
    assert finds(opening(tmp_path / "index"), AFTER)
    assert names(tmp_path) == [".index.replaced"]


def test_what_others_keep_beside_an_index_stays(tmp_path: Path, kind: str) -> None:
    """A copy that somebody called old, and a folder of theirs where builds are made."""
    build, opening = KINDS[kind]
    build(BEFORE, tmp_path / "index.old")
    build(AFTER, tmp_path / "index")
    assert finds(opening(tmp_path / "index.old"), BEFORE)
    (tmp_path / "other.part").mkdir()
    (tmp_path / "other.part" / "thesis.tex").touch()
    with pytest.raises(SearchError, match=r"other\.part is in the way"):
        build(AFTER, tmp_path / "other")
    assert names(tmp_path / "other.part") == ["thesis.tex"]
    for name in ("index.part", "index.lock"):
        with pytest.raises(SearchError, match="give another name than"):
            build(AFTER, tmp_path / name)
    assert names(tmp_path) == ["index", "index.old", "other.part"]


def test_other_directories_are_not_taken_for_an_index(tmp_path: Path, kind: str) -> None:
    """A run has a settings.json too."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "settings.json").write_text('{"model": "m"}')
    (tmp_path / "run" / "trajectories.jsonl").write_text("{}\n")
    with pytest.raises(SearchError, match="in the way and no index"):
        KINDS[kind][0](AFTER, tmp_path / "run")
    assert names(tmp_path) == ["run"]


def test_vectors_of_another_length_are_not_appended_to(tmp_path: Path) -> None:
    class Fickle(WordEncoder):
        """Its endpoint has changed its model meanwhile."""

        def encode(self, texts: Any, kind: Any) -> Any:
            vectors = super().encode(texts, kind)
            return vectors[:, :32] if len(self.encoded) > 1024 else vectors

    documents = [Document(str(n), "", f"w{n}") for n in range(1100)]
    with pytest.raises(SearchError, match=r"width 32 .* others before"):
        DenseEngine.build(documents, tmp_path / "index", Fickle())
    whole = WordEncoder()
    DenseEngine.build(documents, tmp_path / "index", whole)
    assert len(whole.encoded) == 1100 - 1024


def flip(file: Path) -> None:
    """Another byte in the middle; the size stays."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_damage_that_keeps_sizes_is_seen_in_every_file(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, opening = KINDS[kind]
    folder = tmp_path / "index"
    build(BEFORE, folder)
    files = [name for name in names(folder) if name != "settings.json"]
    assert store.verify(folder) == (len(files), 0)
    for name in files:
        whole = (folder / name).read_bytes()
        flip(folder / name)
        with pytest.raises(SearchError, match="build it again"):
            opening(folder)
        with monkeypatch.context() as patch:
            patch.setattr(store, "_SMALL", 0)
            with pytest.raises(SearchError, match="build it again"):
                store.verify(folder)
        (folder / name).write_bytes(whole)
    assert finds(opening(folder), BEFORE)


def test_an_array_longer_than_its_header_says_is_damaged(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    DenseEngine.build(BEFORE, folder, WordEncoder())
    with (folder / "vectors.npy").open("ab") as file:
        file.write(b"\0" * 256)
    settings = json.loads((folder / "settings.json").read_text())
    settings["files"]["vectors.npy"] += 256
    (folder / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(SearchError, match=r"vectors.npy is not as long as it says"):
        DenseEngine.open(folder, WordEncoder())


def test_an_index_of_an_earlier_version_is_opened_and_says_what_cannot_be_compared(
    tmp_path: Path, kind: str
) -> None:
    build, opening = KINDS[kind]
    folder = tmp_path / "index"
    build(BEFORE, folder)
    settings = json.loads((folder / "settings.json").read_text())
    count = len(settings.pop("sha256"))
    (folder / "settings.json").write_text(json.dumps(settings))
    assert finds(opening(folder), BEFORE)
    assert store.verify(folder) == (1, count - 1)
    offsets = np.load(folder / "offsets.npy")
    np.save(folder / "offsets.npy", offsets[1:])
    settings["files"]["offsets.npy"] -= 8
    (folder / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(SearchError, match=r"offsets.npy"):
        opening(folder)
