"""Who may ask: requests of other sites are refused, and, where there is a token, those without it.

A page of another site can make a browser send requests here. It cannot forge Host, Origin and Sec-Fetch-Site: a name
that was pointed at this machine (DNS rebinding) is seen in the first, and what another site sends in the others.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import final
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from saywhy.errors import SaywhyError

COOKIE = "saywhy"
SHORTEST_TOKEN = 12  # characters
LOCAL = ("127.0.0.1", "localhost", "::1")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
"""Of every answer."""
OPEN = ("/static/", "/login")
"""What is answered without the token: the page's own script and style, which everybody has, and where it is given."""
_LOGIN = """<!doctype html><html lang="en"><meta charset="utf-8"><title>saywhy</title>
<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/static/style.css">
<main class="login"><h1>saywhy</h1><p>{said}</p>
<form method="post" action="/login"><label>Token <input type="password" name="token" autocomplete="current-password"
 required autofocus></label> <button>Log in</button></form></main></html>"""
_ASKED = "The token of the command line that started this server."
_WRONG = "This is not the token."
_LONGEST = 4096  # bytes of a login form
_PAUSE = 0.5  # seconds after a wrong token


@final
@dataclass(frozen=True)
class Access:
    """host: the address that is listened on. token: None: none is asked for. names: more names of this machine.

    Raises SaywhyError for an address that others reach without a token, and for a token that can be guessed.
    """

    host: str = "127.0.0.1"
    token: str | None = field(default=None, repr=False)
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise SaywhyError(
                f"--token: {len(self.token)} characters can be guessed; give {SHORTEST_TOKEN} or more, such as of "
                "python -c 'import secrets; print(secrets.token_urlsafe())'"
            )
        if self.token is None and not is_local(self.host):
            raise SaywhyError(
                f"--host {self.host} lets others ask, who must know a --token of {SHORTEST_TOKEN} characters or more; "
                "or leave --host out, and only this machine may ask"
            )

    @property
    def any_address(self) -> bool:
        """Whether this machine is asked by whatever address it has: one that listens to all has many."""
        return self.host in ("0.0.0.0", "::", "")


def is_local(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@final
class Guard:
    """Around an application: refuses who may not ask, before anything of a body is read."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access
        self._session = secrets.token_urlsafe(32)  # what the cookie holds: the token itself goes nowhere
        self._hosts = frozenset(one.lower() for one in _hosts(access))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # websockets: none are spoken

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                if "cache-control" not in headers:
                    headers["Cache-Control"] = "no-store"
            await send(message)

        request = Request(scope, receive)
        answer = self._foreign(request) or await self._unknown(request)
        await (answer or self._app)(scope, receive, sent)

    def _foreign(self, request: Request) -> Response | None:
        """A refusal of what another site made a browser send; None for all else."""
        host = request.headers.get("host", "")
        if not self._ours(host):
            return _refusal(421, "this server is not known by that name; see --allow-host")
        navigation = request.method == "GET" and request.headers.get("sec-fetch-mode") == "navigate"
        site = request.headers.get("sec-fetch-site", "none")
        if site not in ("same-origin", "none") and not (navigation and request.url.path in ("/", "/login")):
            return _refusal(403, "requests of other sites are refused")
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return _refusal(403, "requests of other sites are refused")
        return None

    def _ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._hosts:
            return True
        return self._access.any_address and _is_address(name)

    async def _unknown(self, request: Request) -> Response | None:
        """What is answered to who has no token, or gives it; None for who may go on."""
        path, token = request.url.path, self._access.token
        if token is None:
            return RedirectResponse("/", 303) if path == "/login" else None
        if path == "/login":
            return await self._login(request)
        if request.method == "GET" and path == "/" and "token" in request.query_params:
            given = request.query_params["token"]
            rest = urlencode([(k, v) for k, v in request.query_params.multi_items() if k != "token"])
            if _same(given, token):
                return self._welcome(request, f"/?{rest}" if rest else "/")
            await asyncio.sleep(_PAUSE)
            return HTMLResponse(_LOGIN.format(said=_WRONG), 401)
        if path.startswith(OPEN) or self._known(request, token):
            return None
        if path == "/":
            return RedirectResponse("/login", 303)
        if "authorization" in request.headers:
            await asyncio.sleep(_PAUSE)
        return _refusal(401, "give the token: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})

    def _known(self, request: Request, token: str) -> bool:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and _same(given.strip(), token):
            return True
        return _same(request.cookies.get(COOKIE, ""), self._session)

    async def _login(self, request: Request) -> Response:
        if request.method in ("GET", "HEAD"):
            return HTMLResponse(_LOGIN.format(said=_ASKED))
        if request.method != "POST":
            return _refusal(405, "GET and POST are answered here", {"Allow": "GET, POST"})
        body = b""
        try:
            async with asyncio.timeout(10):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > _LONGEST:
                        return _refusal(413, "no token is so long")
        except (TimeoutError, ClientDisconnect):
            return _refusal(408, "the token did not come")
        given = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0]
        if _same(given, self._access.token or ""):
            return self._welcome(request, "/")
        await asyncio.sleep(_PAUSE)
        return HTMLResponse(_LOGIN.format(said=_WRONG), 401)

    def _welcome(self, request: Request, where: str) -> Response:
        answer = RedirectResponse(where, 303)
        answer.set_cookie(
            COOKIE, self._session, httponly=True, samesite="strict", path="/", secure=request.url.scheme == "https"
        )
        return answer


def _same(given: str, expected: str) -> bool:
    """Whether two texts are the same, in a time that says nothing of where they differ."""
    return bool(expected) and hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def _hosts(access: Access) -> Iterable[str]:
    yield from access.names
    if not access.any_address:
        yield access.host.strip("[]")
    if is_local(access.host) or access.any_address:
        yield from LOCAL
    if access.any_address:
        yield socket.gethostname()


def _is_address(name: str) -> bool:
    """Whether a host is numbers: a name that is pointed elsewhere later is none."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _refusal(status: int, error: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": error}, status, headers)
