"""What stands before the routes: the token, the size of the body, its type, and the counting of requests."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from typing import Any

from starlette.responses import JSONResponse

from pipeline.errors import InputError
from workflows.serve.limits import Refusal
from workflows.serve.metrics import Metrics

LOG = logging.getLogger(__name__)
OPEN = ("/", "/healthz", "/readyz", "/openapi.json")
"""Answered without the token: they tell nothing of tasks or texts."""
PATHS = (*OPEN, "/v1/predict", "/v1/tasks", "/metrics")
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


class Guard:
    """An ASGI application around another.

    Args:
        app: what answers.
        body: bytes that a request may have.
        token_sha256: of the bearer token; None asks for none.
        metrics: take every request's status and time.
    """

    def __init__(self, app: Any, body: int, token_sha256: str | None, metrics: Metrics) -> None:
        self.app = app
        self.body = body
        self.token_sha256 = token_sha256
        self.metrics = metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in PATHS else "other"
        began, status = time.perf_counter(), 0

        async def sending(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
            await send(message)

        try:
            await self._guarded(scope, receive, sending)
        except Exception:  # the application has answered with 500 before it let this through
            LOG.exception("a request failed")
        finally:
            # 499: who asked has gone, as web servers write it
            self.metrics.requests.labels(path, str(status or 499)).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - began)

    async def _guarded(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.lower(): value for name, value in scope["headers"]}
        try:
            self._check_token(scope["path"], headers)
            if scope["method"] == "POST":
                _check_type(headers)
                receive = _replay(await self._read(headers, receive), receive)
        except Refusal as refusal:
            await _refuse(refusal, scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _check_token(self, path: str, headers: dict[bytes, bytes]) -> None:
        if self.token_sha256 is None or path in OPEN:
            return
        kind, _, token = headers.get(b"authorization", b"").partition(b" ")
        found = hashlib.sha256(token.strip()).hexdigest()
        # Both sides are hashes: the time of the comparison says nothing of the token or of its length.
        if kind.lower() != b"bearer" or not hmac.compare_digest(found, self.token_sha256):
            what = "the token is wrong" if token else "a token is needed"
            raise Refusal(401, InputError(what, where="header Authorization", expected="Bearer TOKEN"))

    async def _read(self, headers: dict[bytes, bytes], receive: Any) -> bytes:
        """The whole body, unless it is larger than allowed."""
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.body:
            raise self._too_large(int(declared))
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise Refusal(499, InputError("the request was broken off"))
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.body:
                raise self._too_large(size)
            if not message.get("more_body"):
                return _utf8(b"".join(parts))

    def _too_large(self, size: int) -> Refusal:
        expected = f"at most {self.body} bytes"
        return Refusal(
            413, InputError("the request is too large", where="body", found=f"{size} bytes", expected=expected)
        )


def _utf8(body: bytes) -> bytes:
    """The body, which JSON wants in UTF-8."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        where, found = f"byte {error.start}", f"0x{body[error.start]:02x}"
        raise Refusal(422, InputError("the body is not UTF-8", where=where, found=found)) from error
    return body


def _check_type(headers: dict[bytes, bytes]) -> None:
    # Pages of other origins can send plain text to any server without asking it first, but not JSON.
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        where, found = "header Content-Type", kind.decode("latin-1") or "none"
        raise Refusal(
            415, InputError("the body is not declared as JSON", where=where, found=found, expected="application/json")
        )


def _replay(body: bytes, receive: Any) -> Any:
    """`receive` as the application calls it: the body that was read, then what comes after it."""
    given = False

    async def again() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _refuse(refusal: Refusal, scope: Any, receive: Any, send: Any) -> None:
    await refusal_response(refusal)(scope, receive, send)


def refusal_response(refusal: Refusal) -> JSONResponse:
    """A refusal as it is sent."""
    headers = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(refusal.body(), refusal.status, headers)
