"""Links of the docs to files of the repository outside docs/, which the site holds as well.

A link that leads to nothing stays as it is, and ends a strict build.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"\]\(((?:\.\./)+[^)#\s]+)(#[^)\s]*)?\)")
_NAMED = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)#\s]+)\)")
FOLDER = "repository"
"""Where such files lie in the site."""


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """The page with links to what the site holds; folders are named and not linked."""
    depth = posixpath.dirname(page.file.src_uri)

    def outside(link: str) -> str:
        """The path in the repository; empty where a link stays inside of docs/, or leads to nothing."""
        path = posixpath.normpath(posixpath.join("docs", depth, link))
        return "" if path.startswith(("docs/", "..")) or not (ROOT / path).exists() else path

    def named(found: re.Match[str]) -> str:
        path = outside(found[2])
        return f"{found[1]} (`{path}`)" if path and (ROOT / path).is_dir() else found[0]

    def linked(found: re.Match[str]) -> str:
        path = outside(found[1])
        if not path:
            return found[0]
        # Not as Markdown: it would become a page, with links of its own.
        uri = f"{FOLDER}/{path}" + (".txt" if path.endswith((".md", ".py", ".toml")) else "")
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
        return f"]({posixpath.relpath(uri, depth or '.')})"

    return _LINK.sub(linked, _NAMED.sub(named, markdown))
