"""Who may speak to the page: whoever knows its address, from a browser on this machine."""

import hmac
from collections.abc import Iterable

from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Gate:
    """Lets requests through whose path begins with the token, and takes it off.

    The Host header must be one of `hosts`: a page from elsewhere whose name was made to resolve to
    this machine (DNS rebinding) sends its own. A request that changes something must not come from
    another origin.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: Iterable[str]) -> None:
        self._app = app
        self._token = token
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # a websocket: there is none here, and the server closes it

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        if (reply := self._reply(scope)) is not None:
            await reply(scope, receive, send_with_headers)
            return
        path = scope["path"].removeprefix(f"/{self._token}")
        await self._app({**scope, "path": path}, receive, send_with_headers)

    def _reply(self, scope: Scope) -> Response | None:
        """What is answered here already; None where the request may pass."""
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        if headers.get("host", "").lower() not in self._hosts:
            return PlainTextResponse("This page is served on this machine only.\n", 421)
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in {f"http://{host}" for host in self._hosts}:
            return PlainTextResponse("Another page has no say here.\n", 403)
        given = scope["path"].split("/")[1]
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            return PlainTextResponse(
                "This address is not complete: open the one that label.py has printed.\n", 403
            )
        if scope["path"] == f"/{self._token}":  # relative addresses need the slash
            return RedirectResponse(f"/{self._token}/")
        return None
