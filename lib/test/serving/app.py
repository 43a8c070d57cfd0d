"""The HTTP side: routes, token, limits, and requests whose clients have gone."""

import asyncio
import base64
import binascii
import contextlib
import hmac
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib.test.serving import cvat, label_studio, plain
from lib.test.serving.cvat import States
from lib.test.serving.limits import Limits, Refused, parse_json
from lib.test.serving.worker import MakeSteps, Worker
from lib.utils.errors import InputError, SeqTrackError, printable

BODY_SECONDS = 60.0
"""How long a request may take to arrive."""
RETRY_SECONDS = 2
GONE = 499
"""Status that the log shows of a request whose client has gone; nobody receives it."""


@dataclass
class Service:
    """What all requests share.

    Attributes:
        worker: computes.
        token: what clients show; see ``is_allowed``.
        version: name of the network, as Label Studio shows it.
        roots: folders whose videos may be named.
        limits: of requests.
        states: targets of CVAT.
        requests: how many are being read, waiting or computed.
    """

    worker: Worker
    token: str
    version: str
    roots: tuple[Path, ...] = ()
    limits: Limits = field(default_factory=Limits)
    states: States = field(init=False)
    requests: int = 0

    def __post_init__(self) -> None:
        self.states = States(self.limits.states, 3600 * self.limits.hours)

    @contextlib.contextmanager
    def admitted(self) -> Iterator[None]:
        """Count a request before anything of it is read. Raises Refused (503) if there are too many."""
        if self.requests >= self.limits.jobs:
            raise Refused(503, f"{self.requests} requests are under way", {"Retry-After": str(RETRY_SECONDS)})
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1

    def is_allowed(self, authorization: str) -> bool:
        """Whether a header has the token: ``Bearer`` or ``Token``, or ``Basic`` with it as the password of anyone."""
        kind, _, value = authorization.partition(" ")
        if kind.lower() == "basic":
            try:
                value = base64.b64decode(value, validate=True).decode().partition(":")[2]
            except (binascii.Error, ValueError):
                return False
        elif kind.lower() not in ("bearer", "token"):
            return False
        return hmac.compare_digest(value.strip().encode(errors="replace"), self.token.encode())

    async def compute(self, request: Request, make: MakeSteps) -> Response:
        """Run a job to its end, or until the client has gone, which cancels it."""
        job = self.worker.submit(make)
        answer = asyncio.wrap_future(job.future)
        gone = asyncio.ensure_future(request.receive())  # after the body there is nothing to come but that
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            return _json(answer.result()) if answer.done() else Response(status_code=GONE)
        except asyncio.CancelledError:
            if not answer.cancelled():  # this request was, not the job
                raise
            raise Refused(503, "the service is stopping") from None
        finally:
            gone.cancel()
            job.cancel()
            answer.cancel()


class TokenCheck:
    """Lets requests without the token go no further."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "http" and not self._service.is_allowed(Request(scope).headers.get("authorization", "")):
            headers = {"WWW-Authenticate": 'Basic realm="seqtrack"'}
            await _error("the token is missing or wrong", 401, headers)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _json(answer: dict[str, Any]) -> JSONResponse:
    try:
        return JSONResponse(answer)
    except ValueError:  # of a region that is sent back as it came
        raise InputError("the request holds a number that is not finite, or a text that is not Unicode") from None


def _error(message: object, status: int, headers: Any = None) -> JSONResponse:
    return JSONResponse({"error": printable(message, 1000)}, status, headers)


def limited(receive: Receive, most: int) -> Receive:
    """``receive`` that raises Refused (413) once a body has more than so many bytes."""
    count = 0

    async def counted() -> Message:
        nonlocal count
        message = await receive()
        count += len(message.get("body", b""))
        if count > most:
            raise Refused(413, f"the request is larger than {most >> 20} MiB")
        return message

    return counted


async def read_body(request: Request, limits: Limits) -> dict[str, Any]:
    """The JSON object of a request; of a form, that of its field ``request``, with the files ``frames`` added.

    Raises:
        SeqTrackError: ``Refused`` (413, 408) if it is too large or too slow, ``InputError`` if it is no JSON object.
    """
    most = limits.body << 20
    if int(request.headers.get("content-length", "0")) > most:
        raise Refused(413, f"the request is larger than {limits.body} MiB")
    arriving = _read_parts(Request(request.scope, limited(request.receive, most)), limits)
    try:
        return await asyncio.wait_for(arriving, BODY_SECONDS)
    except asyncio.TimeoutError:
        raise Refused(408, f"the request has not arrived within {BODY_SECONDS:g} s") from None


async def _read_parts(request: Request, limits: Limits) -> dict[str, Any]:
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return await run_in_threadpool(parse_json, await request.body())
    async with request.form(max_files=limits.frames, max_fields=16) as form:
        text = form.get("request")
        if not isinstance(text, str):
            raise InputError("request: expected a field with JSON beside the files")
        frames = [await file.read() for file in form.getlist("frames") if not isinstance(file, str)]
        return await run_in_threadpool(parse_json, text.encode()) | {"frames": frames}


Handler = Callable[[Request], Awaitable[Response]]


def _computing(service: Service, start: Callable[[dict[str, Any]], MakeSteps]) -> Handler:
    """A route whose answer is computed."""

    async def handle(request: Request) -> Response:
        with service.admitted():
            make = await run_in_threadpool(start, await read_body(request, service.limits))
            return await service.compute(request, make)

    return handle


def _reading(service: Service, answer: dict[str, Any]) -> Handler:
    """A route that takes a JSON object and always gives the same answer."""

    async def handle(request: Request) -> Response:
        with service.admitted():
            await read_body(request, service.limits)
            return JSONResponse(answer)

    return handle


def make_app(service: Service) -> Starlette:
    """The application: every route, with one JSON line for whatever is refused."""
    version, limits, roots = service.version, service.limits, service.roots
    label_studio_predict = partial(label_studio.predict, limits=limits, roots=roots, version=version)
    posts = {
        "/": _computing(service, partial(cvat.track, limits=limits, states=service.states)),
        "/track": _computing(service, partial(plain.track, limits=limits, roots=roots)),
        "/predict": _computing(service, label_studio_predict),
        "/setup": _reading(service, {"model_version": version}),
        "/webhook": _reading(service, {"status": "ok"}),  # nothing is learned from annotations
    }

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "UP", "model_class": "SeqTrack", "model_version": version})

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=GONE)

    async def broken(_: Request, __: Exception) -> Response:
        return _error("an internal error, which the log of the service describes", 500)

    async def refused(_: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            return _error(error.detail, error.status_code, error.headers)
        return _error(error, *((error.status, error.headers) if isinstance(error, Refused) else (400,)))

    handlers = {SeqTrackError: refused, HTTPException: refused, ClientDisconnect: gone, Exception: broken}
    routes = [Route(path, health) for path in ("/", "/health")]
    routes += [Route(path, handler, methods=["POST"]) for path, handler in posts.items()]
    middleware = [Middleware(TokenCheck, service=service)]
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)


class Server(uvicorn.Server):
    """Serves until a signal, which cancels all jobs."""

    def __init__(self, service: Service) -> None:
        options: dict[str, Any] = {"http": "h11", "ws": "none", "lifespan": "off", "log_config": None}
        options |= {"proxy_headers": False, "server_header": False, "timeout_graceful_shutdown": 5}
        super().__init__(uvicorn.Config(make_app(service), limit_concurrency=2 * service.limits.jobs + 64, **options))
        self._worker = service.worker

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        self._worker.stop()
        super().handle_exit(sig, frame)
