"""How calls over a network fail: `TransientError` where another try may succeed, or `PermanentError`."""

from __future__ import annotations

from innersearch.errors import SearchError


class CallError(SearchError):
    """A call failed."""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "refused",
        sent: bool = True,
        refused: bool = False,
        said: str = "",
    ) -> None:
        super().__init__(message)
        self.reason = reason
        """A word or two to count by: `timeout`, `network`, `http 503`, `malformed`, `budget`."""
        self.sent = sent
        """Whether a request may have arrived."""
        self.refused = refused
        """Whether the server turned it away without working on it, which nobody charges for."""
        self.said = said
        """The beginning of what the server said about it, of which the message holds less."""

    @property
    def paid(self) -> bool:
        """Whether the call may have to be paid for."""
        return self.sent and not self.refused


class TransientError(CallError):
    """A call failed, but another try may succeed."""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "network",
        sent: bool = True,
        refused: bool = False,
        down: bool = True,
        limited: bool = False,
        setup: bool = False,
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(message, reason=reason, sent=sent, refused=refused or limited)
        self.down = down
        """Whether it counts towards an outage."""
        self.limited = limited
        """Whether the server is up and only wants fewer calls: HTTP 429, or what an API sends for it."""
        self.setup = setup
        """Whether it speaks of a wrong address or setting, as long as the server never answered."""
        self.retry_after_s = retry_after_s
        """Seconds that the server asked to wait."""


class PermanentError(CallError):
    """A call failed, and would fail again."""
