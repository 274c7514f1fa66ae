"""Access to the web page: host names, requests from other sites, the token, and the login form.

Every answer has the same security headers. A browser that opens the page without a valid token gets a form, other
programs get a line of text; both with status 401. The form sends the token in the body of a POST request, never in an
address: addresses are stored in histories and logs. The answer stores it in a cookie that scripts cannot read.

Ownership: all methods run in the event loop of the page.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from http.cookies import SimpleCookie
from ipaddress import IPv4Network, IPv6Network, ip_address
from string import Template
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from .wrong_tokens import WrongTokens

if TYPE_CHECKING:
    from aiohttp import web

_COOKIE_AGE_S = 30 * 86400
_MAX_FORM_BYTES = 4096
_AFTER_LOGIN = "signed-in"
"""Query of the page after the login; `page.js` removes it from the address."""
_COOKIE_LOST = "This browser did not store the cookie. Open the page in its own tab."
"""For example in a frame of another site, without HTTPS."""
_HOST_PATTERN = re.compile(r"(\[[0-9a-f:.]+(?:%[\w.-]+)?\]|[\w.-]+)(?::[0-9]{1,5})?", re.IGNORECASE | re.ASCII)
"""Host header: a name or an address, with an optional port."""


@dataclass(frozen=True)
class PageOptions:
    """Options of the web page: allowed host names, reverse proxies, HTTPS, embedding."""

    hosts: frozenset[str] = frozenset()
    """Allowed names in the Host header, besides localhost, the host name, `NAME.local` and all IP addresses."""
    proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Reverse proxies whose `X-Forwarded-For`, `X-Forwarded-Host` and `X-Forwarded-Proto` headers are used."""
    path: str = ""
    """Path under which a reverse proxy serves the page, such as `/door`."""
    certificate: str = ""
    """PEM file; empty serves HTTP, otherwise HTTPS."""
    key: str = ""
    """PEM file with the key of the certificate; empty: the key is in `certificate`."""
    frame_ancestors: tuple[str, ...] = ()
    """Origins whose pages may show this page in a frame, such as `http://homeassistant.local:8123`."""


def make_headers(options: PageOptions) -> dict[str, str]:
    """Return the security headers of every answer."""
    ancestors = " ".join(options.frame_ancestors) or "'none'"
    return {
        "Content-Security-Policy": "default-src 'none'; img-src 'self'; connect-src 'self'; script-src 'self'; "
        f"style-src 'self'; form-action 'self'; frame-ancestors {ancestors}; base-uri 'none'",
        "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
        "Cross-Origin-Resource-Policy": "same-origin",
    }  # fmt: skip


class Access:
    """Checks of a request before it is answered.

    Attributes:
        headers: Security headers of every answer.
    """

    def __init__(self, host: str, token: str, options: PageOptions, login_form: str) -> None:
        """Store what is allowed.

        Args:
            host: Address or host name that the page listens on.
            token: The token; empty: none is required.
            options: Host names, proxies, HTTPS, embedding.
            login_form: HTML with the placeholders `$path`, `$message` and `$invalid`.
        """
        self._hosts = list_allowed_hosts(host) | options.hosts
        # Tokens and headers may contain any bytes.
        self._token = token.encode("utf-8", "surrogateescape")
        self._cookie = token
        self._options = options
        self._form = Template(login_form)
        self._wrong_tokens = WrongTokens()
        self.headers = make_headers(options)

    def check_site(self, request: web.BaseRequest) -> web.Response | None:
        """Return the refusal of a request for another host name or from a page of another site; None: it is allowed."""
        host = self._get_host_name(request)
        if host not in self._hosts and not _is_address(host):
            # DNS rebinding: a page of another site whose name resolves to this machine must not read the camera.
            return self.refuse(403, "host name not allowed; add ?host=NAME to the address of the sink")
        if not self._is_own_site(request, host):
            return self.refuse(403, "requests from pages of other sites are not allowed")
        return None

    def check_token(self, request: web.BaseRequest) -> web.Response | None:
        """Return the refusal of a request without a valid token; None: it is allowed."""
        if not self._token:
            return None
        candidates = [text for text in _list_tokens(request) if text]
        address = self._get_client_address(request)
        if candidates and (wait_s := self._wrong_tokens.get_wait_s(address)):
            return self._refuse_guesses(request, wait_s)
        # One valid token is enough: the header may hold the password of a proxy, and the cookie an old token.
        matches = [hmac.compare_digest(candidate, self._token) for candidate in candidates]
        if any(matches):
            return None
        for candidate in candidates:
            self._wrong_tokens.add(address, candidate)
        is_cookie_lost = not candidates and request.query_string == _AFTER_LOGIN
        return self._refuse_token(request, _COOKIE_LOST if is_cookie_lost else "")

    async def log_in(self, request: web.BaseRequest) -> web.Response:
        """Answer the login form: set the cookie and go to the page, or show the form again."""
        from aiohttp import web

        home = f"{self._options.path}/"
        if request.method != "POST" or not self._token:
            return web.Response(status=303, headers={**self.headers, "Location": home})
        token = await _read_form_token(request)
        if token is None:
            return self.refuse(400, f"expected a form with the field token, at most {_MAX_FORM_BYTES} bytes")
        address = self._get_client_address(request)
        if wait_s := self._wrong_tokens.get_wait_s(address):
            return self._refuse_guesses(request, wait_s)
        if not hmac.compare_digest(token, self._token):
            self._wrong_tokens.add(address, token)
            return self._refuse_token(request, "Wrong token.")
        answer = web.Response(status=303, headers={**self.headers, "Location": f"{home}?{_AFTER_LOGIN}"})
        is_secure = self._is_https(request)
        # A page of another site that may embed this one: the browser keeps the cookie for this pair of sites only.
        is_embedded = (
            is_secure and bool(self._options.frame_ancestors) and request.headers.get("Sec-Fetch-Dest") == "iframe"
        )
        # Not set_cookie: it needs Python 3.14 for Partitioned.
        answer.headers["Set-Cookie"] = (
            f"{SimpleCookie({'token': self._cookie})['token'].OutputString()}; HttpOnly; Max-Age={_COOKIE_AGE_S}; "
            f"Path={home}; SameSite={'None' if is_embedded else 'Strict'}"
            + ("; Secure" if is_secure else "")
            + ("; Partitioned" if is_embedded else "")
        )
        return answer

    def refuse(self, status: int, text: str) -> web.Response:
        """Return a refusal with one line of text."""
        from aiohttp import web

        return web.Response(status=status, text=f"{text}\n", headers=self.headers)

    def _refuse_guesses(self, request: web.BaseRequest, wait_s: int) -> web.Response:
        message = f"Too many wrong tokens. Try again in {wait_s} s."
        answer = self._show_form(message, 429) if _is_browser(request) else self.refuse(429, message)
        answer.headers["Retry-After"] = str(wait_s)
        return answer

    def _refuse_token(self, request: web.BaseRequest, message: str) -> web.Response:
        if _is_browser(request):
            return self._show_form(message, 401)
        return self.refuse(401, "token missing or wrong; expected 'Authorization: Bearer TOKEN'")

    def _show_form(self, message: str, status: int) -> web.Response:
        from aiohttp import web

        page = self._form.substitute(path=self._options.path, message=message, invalid=str(bool(message)).lower())
        # Without a referrer, browsers send the form with `Origin: null`.
        headers = {**self.headers, "Referrer-Policy": "same-origin"}
        return web.Response(status=status, text=page, content_type="text/html", headers=headers)

    def _is_from_proxy(self, request: web.BaseRequest) -> bool:
        try:
            peer = ip_address(request.remote or "")
        except ValueError:
            return False
        return any(peer in network for network in self._options.proxies)

    def _get_forwarded(self, request: web.BaseRequest, name: str) -> str:
        """Return the last value of a header of a trusted proxy, the one that the nearest proxy added; else empty."""
        if not self._is_from_proxy(request):
            return ""
        return request.headers.getall(name, [""])[-1].rpartition(",")[2].strip()

    def _get_client_address(self, request: web.BaseRequest) -> str:
        return self._get_forwarded(request, "X-Forwarded-For") or request.remote or ""

    def _get_host_name(self, request: web.BaseRequest) -> str:
        # Not request.host, which is an address of this machine if the header is missing. Two headers are ambiguous.
        host_headers = request.headers.getall("Host", [])
        if len(host_headers) != 1:
            return ""
        return parse_host_name(self._get_forwarded(request, "X-Forwarded-Host") or host_headers[0])

    def _is_https(self, request: web.BaseRequest) -> bool:
        return bool(self._options.certificate) or self._get_forwarded(request, "X-Forwarded-Proto") == "https"

    def _is_own_site(self, request: web.BaseRequest, host: str) -> bool:
        """Return False for a browser request from a page of another site.

        Allowed are a link that the user opens, and a frame in the pages that may embed this one. The browser checks
        the origin of these pages (`frame-ancestors`).
        """
        site = request.headers.get("Sec-Fetch-Site")
        if site is None and request.method == "POST" and "Origin" in request.headers:
            # Browsers send Sec-Fetch-Site only over HTTPS and on loopback.
            return _get_origin_host(request.headers["Origin"]) in (host, *self._hosts)
        if site in (None, "none", "same-origin"):
            return True
        frames = ("iframe",) if self._options.frame_ancestors else ()
        return (
            request.method == "GET"
            and request.headers.get("Sec-Fetch-Mode") == "navigate"
            and request.headers.get("Sec-Fetch-Dest") in ("document", *frames)
        )


async def _read_form_token(request: web.BaseRequest) -> bytes | None:
    """Return the field `token` of a form; None if the body is no such form."""
    from aiohttp import web

    length = request.content_length
    is_form = request.content_type == "application/x-www-form-urlencoded" and "Content-Encoding" not in request.headers
    if not is_form or length is None or length > _MAX_FORM_BYTES:
        return None
    try:
        body = (await request.content.readexactly(length)).decode("ascii", "replace")
    except (asyncio.IncompleteReadError, web.RequestPayloadError):
        return None
    try:
        fields = parse_qs(body, strict_parsing=True, max_num_fields=4, errors="surrogateescape")
    except ValueError:
        return None
    return fields.get("token", [""])[0].strip().encode("utf-8", "surrogateescape")


def _list_tokens(request: web.BaseRequest) -> Iterator[bytes]:
    """Yield what may be the token: of `Authorization: Bearer`, the password of `Basic`, the cookie."""
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        yield credentials.strip().encode("utf-8", "surrogateescape")
    elif scheme.lower() == "basic":
        with contextlib.suppress(ValueError):
            yield base64.b64decode(credentials, validate=True).partition(b":")[2]
    yield request.cookies.get("token", "").encode("utf-8", "surrogateescape")


def _is_browser(request: web.BaseRequest) -> bool:
    """Return True if a user opens an address in a browser; False for images, scripts and other programs."""
    return request.method in ("GET", "POST") and "text/html" in request.headers.get("Accept", "")


def list_allowed_hosts(host: str) -> frozenset[str]:
    """Return the names of this machine. IP addresses are always allowed: no other site can have one as its name."""
    host_name = socket.gethostname().lower()
    return frozenset(
        {"localhost", host_name, host_name.partition(".")[0], f"{host_name.partition('.')[0]}.local", host.lower()}
    )


def parse_host_name(host: str) -> str:
    """Return the name of `name:port` or `[address]:port` in lower case; empty if the text is neither."""
    found = _HOST_PATTERN.fullmatch(host)
    return found[1].strip("[]").removesuffix(".").lower() if found else ""


def _get_origin_host(origin: str) -> str:
    try:
        return (urlsplit(origin).hostname or "").removesuffix(".")
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
