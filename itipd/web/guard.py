"""Who may ask what: Host, Origin and token of every request, and the headers that make a browser careful.

DNS rebinding (a foreign name that resolves to our loopback address) is refused by Host, cross-site requests by Origin
(RFC 6454 §7) and Sec-Fetch-Site, the rest by a bearer token (RFC 6750) or, for the page, by Basic (RFC 7617). It also
routes by the path as it was sent, so that `%2F` in a UID is no separator, and answers HEAD as GET without the body.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from itipd.web.problems import Kind, Problem

log = logging.getLogger(__name__)

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OPEN_PATHS = ("/livez", "/readyz", "/openapi.json", "/static/")  # nothing of any meeting is told there
ALWAYS = {
    # Nothing but our own two files and our own server: whatever a calendar smuggled into the page stays text.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: that would make a browser send `Origin: null` with our own forms (Fetch standard §3.2).
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Access:
    """`names`: Host names that are answered, None for any. `token`: what must be shown, None for nothing."""

    names: frozenset[str] | None
    token: str | None


def host_name(host: str) -> str:
    """The name or address in a Host header, lower-case, without port, brackets and final dot (RFC 9110 §7.2)."""
    name = host.strip().lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.rpartition(":")[0] or name
    return name.rstrip(".")


def is_loopback(name: str) -> bool:
    """True for `localhost` and loopback addresses: names that no foreign DNS server can point at us."""
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:  # a name: only what is configured counts
        return False


def check(scope: Scope, access: Access) -> None:
    """Raises Problem if this request must not be answered."""
    headers, path = Headers(scope=scope), scope["path"]
    hosts = headers.getlist("host")
    if len(hosts) > 1:  # RFC 9112 §3.2
        raise Problem(Kind.BAD_REQUEST, "Found more than one Host header, expected one.")
    host = hosts[0] if hosts else ""
    name = host_name(host)
    if access.names is not None and name not in access.names and not is_loopback(name):
        raise Problem(Kind.WRONG_HOST, "Found an unknown name in Host; expected localhost or a name in [http] names.")
    if scope["method"] not in SAFE_METHODS and not _same_site(headers, host, path):
        raise Problem(Kind.CROSS_SITE, "Origin or Sec-Fetch-Site says that the request comes from another site.")
    if access.token is not None and not path.startswith(OPEN_PATHS):
        _check_token(headers, path, access.token)


def _same_site(headers: Headers, host: str, path: str) -> bool:
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site not in (None, "same-origin", "none"):
        return False
    if origin is not None:
        theirs = _authority(origin)
        return theirs is not None and theirs == _authority(f"{origin.partition(':')[0]}://{host}")
    # No browser's request: fine for the API, which no browser authenticates by itself. A form of the page always
    # carries one of the two, and Basic credentials are sent along by the browser.
    return path.startswith("/v1/") or site is not None


def _authority(url: str) -> tuple[str, int | None] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        return (parts.hostname, port) if parts.hostname else None
    except ValueError:  # `Origin: null` and worse: equal to nothing
        return None


def _check_token(headers: Headers, path: str, token: str) -> None:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    shown = credentials.strip().encode("latin-1")  # the bytes that were sent
    api = path.startswith("/v1/") or path == "/v1"
    if scheme.lower() == "basic" and not api:
        # Never for the API: a browser adds Basic credentials to any site's request.
        try:
            shown = base64.b64decode(shown, validate=True).partition(b":")[2]
        except binascii.Error:
            shown = b""
    elif scheme.lower() != "bearer":
        shown = b""
    if not hmac.compare_digest(shown, token.encode()):
        wanted = 'Bearer realm="itipd"' if api else 'Basic realm="itipd", charset="UTF-8"'
        expected = "an Authorization header with the Bearer token" if api else "the token as the password, any user"
        detail = f"Expected {expected} of [http] token."
        raise Problem(Kind.UNAUTHORIZED, detail, headers={"WWW-Authenticate": wanted})


class Guard:
    """ASGI middleware around the whole application; the outermost, so that its own answers are careful too."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        head = scope["method"] == "HEAD"
        scope = dict(scope) | {"path": scope["raw_path"].decode("latin-1"), "root_path": ""}
        started = False

        async def careful(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                found = MutableHeaders(raw=message.setdefault("headers", []))
                for name, value in ALWAYS.items():
                    found.setdefault(name, value)
            elif head and message["type"] == "http.response.body":
                message = {"type": "http.response.body", "body": b"", "more_body": message.get("more_body", False)}
            await send(message)

        try:
            check(scope, self.access)
            await self.app(scope | {"method": "GET"} if head else scope, receive, careful)
        except Problem as problem:
            await problem.response()(scope, receive, careful)
        except Exception:
            log.exception("http: %s failed", scope["method"])
            if started:
                raise  # the server closes the connection: a half answer must not look like a whole one
            await Problem(Kind.INTERNAL, "The log of the server says what.").response()(scope, receive, careful)
