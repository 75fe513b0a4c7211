"""What models of the embedded world expect: bare questions, and one bare document per search."""

from __future__ import annotations

from dataclasses import replace

from innersearch.world.bundled import NAME
from innersearch.world.tokenizer import is_world
from innersearch.world_1 import conventions

WORLD = replace(conventions.WORLD, fits=is_world, engine=NAME, max_new_tokens=256)
