"""Who may ask: anybody on this machine's own address, elsewhere only who has the token; never a foreign page in a browser."""

import hmac
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection


@dataclass(frozen=True, kw_only=True)
class Access:
    """token: without it nothing is answered; None: no token is asked for, and only requests to a loopback name are taken, so that
    no page from elsewhere can reach the server under a name of its own (DNS rebinding)."""

    token: str | None = None

    def problem(self, connection: HTTPConnection) -> tuple[int, str] | None:
        """Status and words with which a request is refused; None for one that is answered."""
        host = urlsplit(f"//{connection.headers.get('host', '')}").hostname or ""
        if self.token is None and not is_loopback(host):
            return (
                421,
                f"this server answers on this machine only, and not as {host!r}; start it with --host and a token",
            )
        origin = connection.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != connection.headers.get("host"):
            return 403, f"a page of {origin} may not use this server"
        if self.token is not None and not hmac.compare_digest(_token_of(connection).encode(), self.token.encode()):
            return (
                401,
                "give the token that `emovox serve` printed: as header `Authorization: Bearer TOKEN` or as ?token=TOKEN",
            )
        return None


def _token_of(connection: HTTPConnection) -> str:
    kind, _, given = connection.headers.get("authorization", "").partition(" ")
    return given.strip() if kind.lower() == "bearer" else connection.query_params.get("token", "")


def is_loopback(host: str) -> bool:
    """Of a name or an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
