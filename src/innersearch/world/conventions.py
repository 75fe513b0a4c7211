"""What models of the embedded world expect: bare questions, and one bare document per search."""

from __future__ import annotations

from innersearch.config.conventions import Conventions
from innersearch.world.bundled import NAME
from innersearch.world.tokenizer import is_world

WORLD = Conventions(
    fits=is_world,
    prompt="world",
    real="world",
    direct="world-direct",
    max_new_tokens=224,
    engine=NAME,
    search={"k": 1, "style": "plain"},
    simulator={"prompt": "simulator-world", "max_new_tokens": 64},
    simulator_prompt="simulator-world",
    page=1,
    page_tokens=96,
    tuning={
        "epochs": 3,
        "max_pairs": 8000,
        "optimizer": "muon",
        "learning_rate": 1e-3,
        "muon_learning_rate": 0.01,
        "numbered": False,
    },
)
