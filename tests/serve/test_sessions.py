"""Sessions over a real server."""

from __future__ import annotations

import httpx2

from innersearch.serve.app import build_app
from innersearch.serve.server import serving_at
from innersearch.serve.serving import Serving
from innersearch.testing import ScriptedEngine


def test_a_session_is_begun_looked_at_and_ended() -> None:
    with serving_at(build_app(Serving(ScriptedEngine()))) as url, httpx2.Client(base_url=url) as client:
        begun = client.post("/sessions", json={"question": "Who?", "golden_answers": ["Belira"]}).json()
        assert begun["url"] == f"{url}/s/{begun['id']}"
        looked = client.get(f"/sessions/{begun['id']}").json()
        assert looked == {"id": begun["id"], "question": "Who?", "searches": 0}
        assert client.get(f"/s/{begun['id']}/healthz").json()["sessions"] == 1
        assert client.delete(f"/sessions/{begun['id']}").status_code == 200
        gone = client.get(f"/sessions/{begun['id']}")
        assert gone.status_code == 404
        assert "POST /sessions" in gone.json()["detail"]


def test_a_session_with_an_unknown_field_is_refused() -> None:
    with serving_at(build_app(Serving(ScriptedEngine()))) as url:
        answer = httpx2.post(f"{url}/sessions", json={"quesion": "Who?"})
    assert answer.status_code == 422
    assert "quesion" in answer.json()["detail"]
