"""Calls to hosts that the operator lists: ``grants = [{ http = ["keys.example.com"] }]``. A component imports ``wasi:http`` if
its policy imports this module::

    from handfast_policy import http

    def tenant(name: str) -> str | None:
        response = http.get(f"https://keys.example.com/tenants/{name}", timeout=0.1)
        return response.body.decode() if response.status == 200 else None

The gateway bounds time and size of each call, remembers answers to ``GET`` and ``HEAD``, and asks once for what several
instances want at the same time; a redirect is an answer like any other. The policy waits meanwhile, at the expense of its
``timeout``. A call that is refused or fails raises `HttpError`: decide what the handshake gets without an answer.
"""

from dataclasses import dataclass
from typing import Mapping, Optional, Union

try:
    from componentize_py_types import Err, Ok, Some
    from wit_world.imports import outgoing_handler as _handler
    from wit_world.imports import streams as _streams
    from wit_world.imports import wasi_http_types as _types
except ModuleNotFoundError:
    # Outside of the gateway, where a policy's tests put functions of their own in the place of these.
    _handler = None

# Bytes that wasi:io lets be written at once, and that are read at once.
_WRITTEN = 4096
_READ = 64 << 10


class HttpError(Exception):
    """Why there is no response. Its `kind` is

    - ``request``: no URL with ``http`` or ``https``, or a field that is not for a policy to set (``host``, ...);
    - ``not-allowed``: the host is not in the operator's list, or leads to an address that policies are not let near;
    - ``limited``: too many calls at once or in this second, or the host has failed so often that it is left alone;
    - ``timed-out``: there was no response in time;
    - ``too-large``: the request or the response is larger than the operator allows;
    - ``failed``: no connection, no TLS, no HTTP.
    """

    def __init__(self, kind: str):
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True)
class Response:
    """A response, complete."""

    status: int
    #: Names in lower case.
    fields: list[tuple[str, bytes]]
    body: bytes

    def field(self, name: str) -> Optional[bytes]:
        """The first field of this name."""
        return next((value for other, value in self.fields if other.lower() == name.lower()), None)


def get(url: str, timeout: Optional[float] = None) -> Response:
    """Asks for a resource. `timeout` is in seconds, and shortens what the operator allows."""
    return request("GET", url, timeout=timeout)


def request(
    method: str, url: str, *, fields: Mapping[str, Union[str, bytes]] = {}, body: bytes = b"", timeout: Optional[float] = None,
) -> Response:
    """Sends a request, and waits for the whole response."""
    if _handler is None:
        raise RuntimeError("there is no gateway to call hosts")
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("http", "https"):
        raise HttpError("request")
    end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    authority, path = rest[:end], rest[end:] or "/"
    if not path.startswith("/"):
        raise HttpError("request")
    try:
        asked = _types.OutgoingRequest(
            _types.Fields.from_list([(name, value.encode() if isinstance(value, str) else value) for name, value in fields.items()])
        )
        asked.set_method(_method(method))
        asked.set_scheme(_types.Scheme_Https() if scheme == "https" else _types.Scheme_Http())
        asked.set_authority(authority)
        asked.set_path_with_query(path)
        sent = asked.body() if body else None
    except Err:
        raise HttpError("request") from None
    options = None
    if timeout is not None:
        options = _types.RequestOptions()
        options.set_first_byte_timeout(max(0, round(timeout * 1e9)))
    try:
        with _handler.handle(asked, options) as answer:
            if sent is not None:
                _write(sent, body)
            return _answered(answer)
    except Err as error:
        raise HttpError(_kind(error.value)) from None


def _method(name: str):
    known = {"GET": "Get", "HEAD": "Head", "POST": "Post", "PUT": "Put"}.get(name)
    return getattr(_types, f"Method_{known}")() if known else _types.Method_Other(name)


def _write(body, content: bytes) -> None:
    with body.write() as stream:
        for at in range(0, len(content), _WRITTEN):
            try:
                stream.blocking_write_and_flush(content[at:at + _WRITTEN])
            except Err:
                raise HttpError("too-large") from None
    _types.OutgoingBody.finish(body, None)


def _answered(answer) -> Response:
    with answer.subscribe() as ready:
        ready.block()
    # An option of a result of a result: what the outer two say cannot be but so, once it is ready.
    result = answer.get()
    while isinstance(result, (Some, Ok)):
        result = result.value
    if isinstance(result, Err):
        raise result
    with result as response:
        with response.headers() as headers:
            fields = [(name, bytes(value)) for name, value in headers.entries()]
        content = bytearray()
        with response.consume() as body, body.stream() as stream:
            while True:
                try:
                    content += stream.blocking_read(_READ)
                except Err as error:
                    if isinstance(error.value, _streams.StreamError_Closed):
                        break
                    raise HttpError("failed") from None
        return Response(response.status(), fields, bytes(content))


def _kind(code) -> str:
    kinds = {
        "not-allowed": ("HttpRequestDenied", "DestinationIpProhibited"),
        "limited": ("ConnectionLimitReached", "DestinationUnavailable"),
        "timed-out": ("HttpResponseTimeout", "ConnectionTimeout", "DnsTimeout"),
        "too-large": (
            "HttpRequestBodySize", "HttpResponseBodySize", "HttpRequestHeaderSectionSize", "HttpRequestUriTooLong",
        ),
        "request": ("HttpRequestUriInvalid", "HttpRequestMethodInvalid"),
    }
    name = type(code).__name__.removeprefix("ErrorCode_")
    return next((kind for kind, names in kinds.items() if name in names), "failed")
