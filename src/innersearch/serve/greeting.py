"""What a server says when it starts: a line of curl for every API that it answers as."""

from __future__ import annotations

from collections.abc import Iterator

from innersearch.search.remote.apis import APIS

_EXAMPLE = "capital of Peru"


def lines(url: str, token_variable: str = "") -> Iterator[str]:
    """A line per API that can be pasted into a shell, behind the name of the API.

    Args:
        url: Address of the server.
        token_variable: Environment variable of the token, if one is wanted.
    """
    key = f' -H "Authorization: Bearer ${token_variable}"' if token_variable else ""
    for api in APIS.values():
        call = api.example.replace("{route}", f"{url}{api.routes[0]}").replace("QUERY", _EXAMPLE)
        yield f"{api.name:<11}curl -s{key} {call}"
