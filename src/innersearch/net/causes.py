"""Why a connection failed, in words, without the text of the error: it can hold headers, and a key."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator

import httpx2

from innersearch.net.addresses import place
from innersearch.net.calls import CallError, PermanentError, TransientError
from innersearch.net.client import proxy_variable, trust_variable

_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)
_PLAIN_PORT = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE")


def broken(error: Exception, name: str, url: httpx2.URL, *, begun: bool = False) -> CallError:
    """What a transport error means for a call to `name` at `url`, whose answer may have `begun`.

    Causes that waiting does not mend, such as an unknown host or a certificate that cannot be trusted,
    are marked as `setup`: they are final until the server has answered once.
    """
    variable = proxy_variable(url)
    where = place(url) + (f" through the proxy of {variable}" if variable else "")
    sent = not isinstance(error, _NOT_SENT)
    if isinstance(error, httpx2.TimeoutException):
        step = "connection" if isinstance(error, httpx2.ConnectTimeout) else "answer"
        return TransientError(f"{name} gave no {step} in time at {where}", reason="timeout", sent=sent)
    if isinstance(error, httpx2.ProxyError):
        return _by_proxy(error, name, where)
    if isinstance(error, httpx2.DecodingError):
        return PermanentError(f"{name} sent a body that cannot be decompressed", reason="malformed")
    if not isinstance(error, httpx2.TransportError) or isinstance(
        error, httpx2.LocalProtocolError | httpx2.UnsupportedProtocol
    ):
        return PermanentError(f"{name} cannot be asked at {where}: {type(error).__name__}", sent=False)
    cause, setup = ("it broke off in mid-answer", False) if begun else _cause(error, url)
    said = f"{name} cannot be reached at {where}: {cause}"
    return TransientError(said, reason="network", sent=sent, setup=setup)


def _by_proxy(error: httpx2.ProxyError, name: str, where: str) -> CallError:
    status = str(error)[:3]
    if not status.isdigit():
        return TransientError(f"{name} cannot be reached at {where}: the proxy failed", sent=False)
    said = f"{name} cannot be reached at {where}: the proxy answered HTTP {status}"
    return TransientError(said, sent=False, setup=status < "500")


def _cause(error: Exception, url: httpx2.URL) -> tuple[str, bool]:
    """Words, and whether it speaks of a wrong address or setting."""
    chain = list(_chain(error))
    for told in (
        *(_tls(cause) for cause in chain if isinstance(cause, ssl.SSLError)),
        *(_lookup(cause) for cause in chain if isinstance(cause, socket.gaierror)),
        *(_system(cause) for cause in chain if isinstance(cause, OSError)),
    ):
        if told is not None:
            return told
    if any(type(cause).__module__.startswith("h11") for cause in chain):
        hint = ", does it want https://?" if url.scheme == "http" else ""
        return f"what answers there does not speak HTTP{hint}", True
    if isinstance(error, httpx2.RemoteProtocolError):
        return "it hung up without an answer", False
    return type(error).__name__, False


def _chain(error: BaseException | None, depth: int = 12) -> Iterator[BaseException]:
    if error is None or not depth:
        return
    yield error
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _chain(inner, depth - 1)
    yield from _chain(error.__cause__ or error.__context__, depth - 1)


def _tls(error: ssl.SSLError) -> tuple[str, bool]:
    if isinstance(error, ssl.SSLCertVerificationError):
        variable = trust_variable()
        trusted = f"{variable} decides whose are" if variable else "name its authority by SSL_CERT_FILE"
        return f"its certificate is not trusted ({error.verify_message}); {trusted}", True
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "it hung up in the TLS handshake", False
    reason = str(error.reason or type(error).__name__)
    if reason in _PLAIN_PORT:
        return "it speaks no TLS there: write http://, or correct the port", True
    return f"TLS failed ({reason})", True


def _lookup(error: socket.gaierror) -> tuple[str, bool]:
    if error.errno == socket.EAI_AGAIN:
        return "its name cannot be looked up at the moment", False
    return "there is no host of that name", True


def _system(error: OSError) -> tuple[str, bool] | None:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused, nothing listens there", False
    if error.errno is None or error.errno not in errno.errorcode:
        return None
    return os.strerror(error.errno).lower(), False
