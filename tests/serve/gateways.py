"""Gateways on free ports of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

from innersearch.search.base import Engine
from innersearch.serve.app import build_app
from innersearch.serve.limits import Limits
from innersearch.serve.server import serving_at
from innersearch.serve.serving import Serving
from innersearch.types import Document


@contextmanager
def gateway(serving: Serving | Engine) -> Iterator[httpx2.Client]:
    """A client of a server that lives as long as the block."""
    if not isinstance(serving, Serving):
        serving = Serving(serving)
    with (
        serving_at(build_app(serving), limits=serving.limits) as url,
        httpx2.Client(base_url=url, timeout=30) as client,
    ):
        yield client


def limited(**limits: float) -> Limits:
    """Limits, some of them given."""
    return Limits(**limits)  # type: ignore[arg-type]


LIMA = Document("lima", "Lima", "Lima is the capital of Peru.", "https://example.org/lima", 2.5)
CUSCO = Document("cusco", "Cusco", "Cusco lies in <b>Peru</b> & high.", None, 1.5)
