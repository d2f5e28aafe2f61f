"""Who may ask, what every answer carries, and how a refusal reads."""

import html
from collections.abc import Collection
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fgsam_jax.errors import InputError, printable

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

# Nothing from elsewhere, nothing inline; pictures of a match stand in its answer.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_SENTENCES = {
    404: "there is nothing at this address",
    405: "this address is not asked in this way",
}


class Guard:
    """Around an application: refuses what comes by way of other sites, and adds headers.

    A site can make a browser send it requests under a name of its own that leads to this machine
    (DNS rebinding): so the name must be one of `hosts`. And a page of another site can post here:
    so what is not read only must come from the page itself, or from no browser.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None = LOOPBACK):
        """Args:
        app: to guard.
        hosts: names under which it is asked, without ports; None: any.
        """
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await (self._refused(Request(scope)) or self._app)(scope, receive, send_with_headers)

    def _refused(self, request: Request) -> Response | None:
        headers = request.headers
        host = headers.get("host", "")
        if self._hosts is not None and _name(f"//{host}") not in self._hosts:
            names = ", ".join(sorted(self._hosts))
            return refusal(request, 421, f"this is {names}, and not {printable(host)!r}")
        if request.method not in ("GET", "HEAD") and _other_site(headers, host):
            return refusal(request, 403, "another site may not send anything here")
        return None


def refusal(
    request: Request, status: int, text: str, headers: dict[str, str] | None = None
) -> Response:
    """A sentence, as a page for a person and as JSON for a program."""
    sentence = text[:1].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"error": sentence}, status, headers)
    title = f"{status} {HTTPStatus(status).phrase}"
    page = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="stylesheet" href="/page.css"></head>'
        f'<body class="refusal"><h1>{title}</h1><p>{html.escape(sentence)}</p>'
        '<p><a href="/">To the gallery</a></p></body></html>'
    )
    return HTMLResponse(page, status, headers)


async def told(request: Request, error: Exception) -> Response:
    """The answer to a request that has failed."""
    if isinstance(error, HTTPException):
        own = error.detail != HTTPStatus(error.status_code).phrase
        text = error.detail if own else _SENTENCES.get(error.status_code, error.detail)
        headers = dict(error.headers or {})
        if allowed := headers.get("Allow"):
            text += f", but by {allowed}"
        return refusal(request, error.status_code, text, headers)
    if isinstance(error, InputError):
        return refusal(request, 400, str(error))
    if isinstance(error, ClientDisconnect):
        return refusal(request, 400, "the file did not come whole")
    return refusal(request, 500, "the server has failed; its terminal shows why")


def _other_site(headers: Headers, host: str) -> bool:
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        return True
    return headers.get("sec-fetch-site", "none") not in ("same-origin", "none")


def _name(url: str) -> str | None:
    """The name of a host, without its port."""
    try:
        return urlsplit(url).hostname
    except ValueError:  # an address of IPv6 that is none
        return None
