"""No address leads into a network that is not public: nothing is ever connected to there."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import httpcore2
import httpx2
import pytest

from innersearch.errors import SearchError
from innersearch.net.guarded import Guard, guarded_client, is_public
from innersearch.pages.web import WebPages
from tests.search_servers import Answer, LocalServer

PUBLIC = "93.184.216.34"

PRIVATE = """
    127.0.0.1 127.1.2.3 127.255.255.254 0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 172.16.0.1 172.31.9.9
    192.168.0.1 192.168.255.254 169.254.169.254 169.254.170.2 100.64.0.1 100.100.100.200 100.127.255.254
    192.0.0.1 192.0.0.192 192.0.2.7 198.18.0.1 198.19.255.1 198.51.100.1 203.0.113.9 192.88.99.1
    224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 168.63.129.16
    ::1 :: ::7f00:1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:10.0.0.1 ::ffff:169.254.169.254
    ::ffff:0:127.0.0.1 ::ffff:93.184.216.34 fe80::1 fe80::1%1 feb0::1 fec0::1 fc00::1 fd00:ec2::254
    fd12:3456:789a::1 ff02::1 ff0e::1 64:ff9b::127.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b::10.0.0.1
    64:ff9b:1::127.0.0.1 64:ff9b:1::5db8:d822 2002:7f00:1:: 2002:a00:1::1 2002:a9fe:a9fe::
    2002:c0a8:101::1 2001:0:5ef5:79fb:0:0:80ff:fffe 2001:0:7f00:1:0:0:a247:27dd
    2001:0:5db8:d822:0:0:f5ff:fffe 2001:db8::1 2001:10::1 2001:20::1 3fff::1 5f00::1 100::1 4000::1
    2606:4700::5efe:10.0.0.1 2606:4700::200:5efe:127.0.0.1 2606:4700::5efe:a9fe:a9fe
""".split()
"""Addresses that are not public, in their own form or inside another one."""
OPEN = """
    93.184.216.34 1.1.1.1 8.8.8.8 172.15.255.255 172.32.0.1 100.63.255.255 100.128.0.1 192.169.0.1
    169.253.0.1 223.255.255.1 2606:4700::1111 2a00:1450:4001:81b::200e 64:ff9b::5db8:d822
    2002:5db8:d822::1
    2606:4700::5efe:93.184.216.34
""".split()

WRITTEN = [
    *(
        f"http://{host}/"
        for host in ("127.0.0.1", "127.1", "127.0.1", "0", "0.0.0.0", "127.000.000.001")
    ),
    *(
        f"http://{host}/"
        for host in ("2130706433", "017700000001", "0x7f000001", "0x7f.1", "0x7f.0.0.1")
    ),
    *(f"http://{host}/" for host in ("0177.0.0.1", "0177.1", "127.0.0.0x1", "3232235521", "0xa9fea9fe")),
    *(f"http://{host}/" for host in ("2852039166", "169.254.43518", "0251.0376.0251.0376", "1.1")),
    *(f"http://{host}/" for host in ("①②⑦.⓪.⓪.①", "127。0。0。1", "１２７.0.0.1", "%31%32%37.0.0.1")),
    *(f"http://{host}/" for host in ("127.0.0.1.", "0x7f.1.", "127.1.", "LOCALHOST", "localhost.")),
    *(f"http://{host}/" for host in ("[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]")),
    *(
        f"http://{host}/"
        for host in ("[::ffff:7f00:1]", "[fe80::1%25lo]", "[fe80::1%25eth0]", "[::1%250]")
    ),
    *(f"http://{host}/" for host in ("ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "loc%61lhost", "local\u00adhost", "localhost%00.org")),
    "http://user@127.0.0.1/",
    "http://public.example@127.0.0.1/",
    "http://127.0.0.1@public.example/",
    "http://public.example:pass@localhost/",
    "http://127.0.0.1\\@public.example/",
    "http://public.example\\@127.0.0.1/",
    "http://public.example#@127.0.0.1:22/",
    "http://127.0.0.1:22/",
    "http://public.example:22/",
    "http://public.example:6379/",
    "http://public.example:0/",
    "http://public.example:65536/",
    "http://public.example:-1/",
    "https://127.0.0.1/",
    "https://[::1]/",
    "file:///etc/passwd",
    "file://127.0.0.1/etc/passwd",
    "gopher://127.0.0.1:6379/_INFO",
    "dict://127.0.0.1:11211/stat",
    "ftp://127.0.0.1/",
    "ldap://127.0.0.1/",
    "jar:http://127.0.0.1!/",
    "data:text/html,<p>hello",
    "javascript:alert(1)",
    "unix:///var/run/docker.sock",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/info",
    "//127.0.0.1/",
    "http:127.0.0.1/",
    "http:/127.0.0.1/",
    "http:///127.0.0.1/",
    "http://",
    "http://./",
    "http://../",
    "http://-/",
    "http://a..b/",
    "http:// 127.0.0.1/",
    "http://127.0.0.1\t/",
    "http://127.0.0.1\r\nHost: public.example/",
    "\x00http://127.0.0.1/",
    "127.0.0.1",
    "",
]
"""Ways to write an address that must lead nowhere; every name in them is one of this machine."""


class Recorder(httpcore2.AsyncNetworkBackend):
    """Notes where connections would go and makes none, except to the servers of a test."""

    def __init__(self, *real: int) -> None:
        self.went: list[tuple[str, int]] = []
        self._real = real
        self._dial = httpcore2.AnyIOBackend()

    async def connect_tcp(self, host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        if host == "127.0.0.1" and port in self._real:
            return await self._dial.connect_tcp(host, port, *args, **kwargs)
        self.went.append((host, port))
        raise httpcore2.ConnectError("recorded")


_sockets: list[list[Any]] = []


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _sockets:
        _sockets[-1].append(arguments[1])


sys.addaudithook(_listen)


@contextmanager
def every_connect() -> Iterator[list[Any]]:
    """Addresses of all sockets of this process that connect meanwhile, whoever opened them."""
    _sockets.append([])
    try:
        yield _sockets[-1]
    finally:
        _sockets.pop()


def resolving(*answers: str) -> Any:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return answers

    return resolve


def opened(address: str, guard: Guard, recorder: Recorder) -> str:
    """Why an address was not opened."""

    async def run() -> str:
        pages = WebPages(obeys=False, guard=guard, client=guarded_client(guard, dial=recorder))
        try:
            [found] = await pages.open([address])
        finally:
            await pages.close()
        assert found.page is None
        assert found.error
        return found.error

    return asyncio.run(run())


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_public_is_known_in_every_form(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", OPEN)
def test_what_is_public_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", WRITTEN)
def test_no_way_to_write_an_address_leads_to_this_machine(address: str) -> None:
    recorder = Recorder()
    with every_connect() as sockets:
        opened(address, Guard(resolve=resolving("127.0.0.1")), recorder)
    assert recorder.went == []
    assert sockets == []


NUMBERS = [address for address in WRITTEN if address.strip("[]htp:/x.0123456789abcdef%l") == ""]


@pytest.mark.parametrize("address", [*NUMBERS, "http://localhost/", "http://LOCALHOST./"])
def test_nor_does_it_with_the_resolver_of_the_system(address: str) -> None:
    recorder = Recorder()
    opened(address, Guard(), recorder)
    assert recorder.went == []


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_with_an_address_that_is_not_public_leads_nowhere(address: str) -> None:
    for answers in ([address], [PUBLIC, address], [address, PUBLIC], [PUBLIC] * 9 + [address]):
        recorder = Recorder()
        with every_connect() as sockets:
            why = opened("http://name.example/", Guard(resolve=resolving(*answers)), recorder)
        assert "no public address" in why
        assert recorder.went == []
        assert sockets == []


def test_a_public_name_is_connected_to_by_the_address_that_was_checked() -> None:
    recorder = Recorder()
    opened("https://name.example/", Guard(resolve=resolving(PUBLIC, "1.1.1.1")), recorder)
    assert recorder.went == [(PUBLIC, 443), ("1.1.1.1", 443)]


def test_a_resolver_that_changes_its_answer_is_asked_once_per_connection() -> None:
    """DNS rebinding: public when it is checked, private when it is connected to."""
    asked = count()

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return [PUBLIC] if next(asked) % 2 == 0 else ["127.0.0.1"]

    recorder, guard = Recorder(), Guard(resolve=rebinding)
    with every_connect() as sockets:
        for _ in range(10):
            opened("http://rebinding.example/", guard, recorder)
    assert recorder.went == [(PUBLIC, 80)] * 5
    assert next(asked) == 10
    assert sockets == []


HOSTS = (f"[{address}]" if ":" in address else address for address in PRIVATE if "%" not in address)
REDIRECTS = [*WRITTEN[:40], *(f"http://{host}/" for host in HOSTS)]


@pytest.mark.parametrize("status", [302, 308])
def test_redirects_lead_nowhere_either(status: int) -> None:
    """A server that is allowed sends on to everything that is not."""
    target = ""
    with LocalServer(lambda asked: Answer("", status, {"location": target})) as server:
        port = int(server.url.rpartition(":")[2])
        for target in REDIRECTS:
            try:
                target.encode("latin-1")
            except UnicodeEncodeError:
                continue
            recorder = Recorder(port)
            guard = Guard([f"127.0.0.1:{port}"], resolve=resolving("127.0.0.1"))
            with every_connect() as sockets:
                opened(f"{server.url}/page", guard, recorder)
            assert recorder.went == [], target
            assert {where[1] for where in sockets} == {port}
        assert server.asked


def test_a_redirect_to_a_name_that_has_become_private_leads_nowhere() -> None:
    with LocalServer(lambda asked: Answer("", 302, {"location": "http://other.example/"})) as server:
        port = int(server.url.rpartition(":")[2])
        recorder = Recorder(port)
        guard = Guard([f"own.example:{port}"], resolve=resolving("127.0.0.1"))
        assert "no public address" in opened(f"http://own.example:{port}/", guard, recorder)
        assert recorder.went == []


def test_what_is_allowed_is_allowed_by_host_and_port_only() -> None:
    with LocalServer(lambda asked: Answer(b"never", 200)) as server:
        port = int(server.url.rpartition(":")[2])
        guard = Guard(["own.example:1"], resolve=resolving("127.0.0.1"))
        recorder = Recorder(port)
        opened(f"http://own.example:{port}/", guard, recorder)
        opened(f"http://127.0.0.1:{port}/", guard, recorder)
        assert server.asked == []
        assert recorder.went == []


@pytest.mark.parametrize("allowed", ["", "http://host/", "host:80/x"])
def test_what_cannot_be_allowed_is_said(allowed: str) -> None:
    with pytest.raises(SearchError, match="HOST:PORT"):
        Guard([allowed])


def test_host_and_certificate_are_those_of_the_name() -> None:
    """Host and SNI say the name, although the address is connected to."""
    seen: dict[str, Any] = {}

    class Stream(httpcore2.AsyncNetworkStream):
        async def start_tls(
            self, ssl_context: Any, server_hostname: Any = None, timeout: Any = None
        ) -> Any:
            seen["sni"] = server_hostname
            return self

        async def write(self, buffer: bytes, timeout: float | None = None) -> None:
            seen["request"] = seen.get("request", b"") + buffer

        async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            return b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"

        async def aclose(self) -> None:
            pass

    class Dial(Recorder):
        async def connect_tcp(self, host: str, port: int, *args: Any, **kwargs: Any) -> Any:
            seen["address"] = host
            return Stream()

    async def run() -> None:
        async with guarded_client(Guard(resolve=resolving(PUBLIC)), dial=Dial()) as client:
            await client.get("https://name.example/x")

    asyncio.run(run())
    assert seen["address"] == PUBLIC
    assert seen["sni"] == "name.example"
    assert b"Host: name.example\r\n" in seen["request"]


def test_a_name_that_is_not_known_is_said() -> None:
    async def unknown(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    assert "no host of that name" in opened("http://no.example/", Guard(resolve=unknown), Recorder())


def test_no_proxy_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    recorder = Recorder()
    opened("http://name.example/", Guard(resolve=resolving(PUBLIC)), recorder)
    assert recorder.went == [(PUBLIC, 80)]


def test_cookies_and_users_are_not_carried_on() -> None:
    assert isinstance(guarded_client(Guard()), httpx2.AsyncClient)
    with LocalServer(lambda asked: Answer(b"x", 200, {"set-cookie": "a=b"})) as server:
        port = int(server.url.rpartition(":")[2])

        async def run() -> None:
            pages = WebPages([f"127.0.0.1:{port}"], obeys=False)
            await pages.open([server.url])
            await pages.open([server.url])
            await pages.close()

        asyncio.run(run())
        assert len(server.asked) == 2
        assert not any("cookie" in asked.headers for asked in server.asked)
