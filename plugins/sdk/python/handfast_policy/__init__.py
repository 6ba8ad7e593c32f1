"""Write Handfast policies in Python.

A policy is a module that defines one or more hooks: the functions ``select``, ``validate``, ``admit``, and ``configure``
where it has settings::

    from handfast_policy import Alert, ClientHello, Connection, Decision, pass_on, reject

    def select(connection: Connection, hello: ClientHello) -> Decision:
        if (hello.server_name or "").endswith(".internal.example") and connection.listener != "office":
            return reject(Alert.UNRECOGNIZED_NAME, "an internal name from outside")
        return pass_on()

What a hook is given, and the certificates it looks up, are read when an attribute is read, and are valid until the hook
returns. Numbers of the TLS registries are in wire order, GREASE (RFC 8701) included. An exception becomes a line in the
log at error level, and ends the call without a verdict.

Outside of the gateway the module can be imported too, so that a policy's own tests can call its hooks with objects of their
own; what asks the gateway raises there.
"""

from __future__ import annotations

import enum
import json
import traceback
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Callable, Mapping, Optional, Union

try:
    from wit_world.imports import certificates as _certificates
    from wit_world.imports import clock as _clock
    from wit_world.imports import log as _log
    from wit_world.imports import random as _random

    try:
        from wit_world.imports import types as _types
    except ImportError:
        # Beside the types of `wasi:http`, componentize-py gives these the longer name.
        from wit_world.imports import handfast_policy_types as _types
except ModuleNotFoundError:
    # Outside of the gateway.
    _certificates = _clock = _log = _random = _types = None


class Alert(enum.IntEnum):
    """Alerts of the TLS registry (RFC 8446 section 6). Other numbers are allowed wherever an alert is, but 0."""

    UNEXPECTED_MESSAGE = 10
    HANDSHAKE_FAILURE = 40
    BAD_CERTIFICATE = 42
    UNSUPPORTED_CERTIFICATE = 43
    CERTIFICATE_REVOKED = 44
    CERTIFICATE_EXPIRED = 45
    CERTIFICATE_UNKNOWN = 46
    ILLEGAL_PARAMETER = 47
    UNKNOWN_CA = 48
    ACCESS_DENIED = 49
    DECODE_ERROR = 50
    DECRYPT_ERROR = 51
    PROTOCOL_VERSION = 70
    INSUFFICIENT_SECURITY = 71
    INTERNAL_ERROR = 80
    INAPPROPRIATE_FALLBACK = 86
    USER_CANCELED = 90
    MISSING_EXTENSION = 109
    UNSUPPORTED_EXTENSION = 110
    UNRECOGNIZED_NAME = 112
    BAD_CERTIFICATE_STATUS_RESPONSE = 113
    UNKNOWN_PSK_IDENTITY = 115
    CERTIFICATE_REQUIRED = 116
    NO_APPLICATION_PROTOCOL = 120


@dataclass(frozen=True)
class Decision:
    """What ``select`` answers: made by the functions below. Also what ``reject`` makes for ``validate``."""

    verdict: str
    value: Any = None
    reason: Optional[str] = None

    def because(self, reason: str) -> Decision:
        """Adds the reason, for the decision log. At most 256 bytes are kept."""
        return replace(self, reason=reason)


@dataclass(frozen=True)
class Acceptance:
    """What ``validate`` answers to let a client in: made by ``accept``."""

    attributes: Mapping[str, str]


@dataclass(frozen=True)
class Refusal:
    """What ``admit`` answers to keep a certificate from going live: made by ``refuse``."""

    reason: str


def pass_on() -> Decision:
    """No opinion: the next policy decides."""
    return Decision("pass")


def answer(certificate: Union[Certificate, str], reason: Optional[str] = None) -> Decision:
    """Answer with this certificate, or with the one of this id."""
    return Decision("certificate", certificate if isinstance(certificate, str) else certificate.id, reason)


def reject(alert: int, reason: Optional[str] = None) -> Decision:
    """End the handshake with this alert."""
    return Decision("reject", int(alert), reason)


def drop(reason: Optional[str] = None) -> Decision:
    """Close the connection without an answer."""
    return Decision("drop", None, reason)


def passthrough(upstream: str, reason: Optional[str] = None) -> Decision:
    """Do not terminate TLS: relay the bytes to the upstream of this name."""
    return Decision("passthrough", upstream, reason)


def accept(attributes: Optional[Mapping[str, str]] = None) -> Acceptance:
    """Let the client in. Each attribute becomes the request header ``x-client-<name>`` for upstreams; at most 32."""
    return Acceptance(attributes or {})


def refuse(reason: str) -> Refusal:
    """The certificate does not go live; the reason is for the operator."""
    return Refusal(reason)


@dataclass(frozen=True)
class Address:
    ip: Union[IPv4Address, IPv6Address]
    port: int


class _View:
    __slots__ = ("_self",)

    def __init__(self, self_: Any) -> None:
        self._self = self_


class Connection(_View):
    """The transport connection the handshake arrived on."""

    __slots__ = ()

    @property
    def listener(self) -> str:
        """The configured name of the listener."""
        return self._self.listener()

    @property
    def client_address(self) -> Address:
        """From the PROXY header where the listener trusts one, else the peer of the socket."""
        return _address(self._self.client_address())

    @property
    def server_address(self) -> Address:
        return _address(self._self.server_address())

    @property
    def proxied(self) -> bool:
        """Whether a PROXY header gave the addresses."""
        return self._self.proxied()

    @property
    def proxy_tlvs(self) -> list[tuple[int, bytes]]:
        """The fields of a PROXY version 2 header, in wire order."""
        return [(type_, bytes(value)) for type_, value in self._self.proxy_tlvs()]


class ClientHello(_View):
    """The ClientHello (RFC 8446 section 4.1.2), as the client sent it."""

    __slots__ = ()

    @property
    def server_name(self) -> Optional[str]:
        """Lower-cased A-labels; ``None`` without the extension."""
        return self._self.server_name()

    @property
    def alpn(self) -> list[bytes]:
        return [bytes(protocol) for protocol in self._self.alpn()]

    @property
    def protocol_versions(self) -> list[int]:
        return self._self.protocol_versions()

    @property
    def cipher_suites(self) -> list[int]:
        return self._self.cipher_suites()

    @property
    def signature_schemes(self) -> list[int]:
        return self._self.signature_schemes()

    @property
    def named_groups(self) -> list[int]:
        return self._self.named_groups()

    @property
    def extensions(self) -> list[int]:
        """The type of every extension."""
        return self._self.extensions()

    @property
    def ja3(self) -> str:
        return self._self.ja3()

    @property
    def ja4(self) -> str:
        return self._self.ja4()

    @property
    def raw(self) -> bytes:
        """The handshake message with its four-byte header; at most 64 KiB."""
        return bytes(self._self.raw())

    @property
    def offers_resumption(self) -> bool:
        return self._self.offers_resumption()


class Certificate(_View):
    """A certificate of the gateway. Its private key is never visible. Times are seconds since 1970."""

    __slots__ = ()

    @property
    def id(self) -> str:
        """What a verdict names it by."""
        return self._self.id()

    @property
    def names(self) -> list[str]:
        """The DNS names and IP addresses of the leaf."""
        return self._self.names()

    @property
    def key_algorithm(self) -> str:
        """``rsa``, ``ecdsa-p256``, ``ecdsa-p384``, ``ecdsa-p521``, ``ed25519`` or ``other``."""
        return self._self.key_algorithm().name.lower().replace("_", "-")

    @property
    def key_bits(self) -> int:
        return self._self.key_bits()

    @property
    def not_before(self) -> int:
        return self._self.not_before()

    @property
    def not_after(self) -> int:
        return self._self.not_after()

    @property
    def issuer(self) -> str:
        """In the form of RFC 4514."""
        return self._self.issuer()

    @property
    def serial(self) -> str:
        """Lower-case hexadecimal."""
        return self._self.serial()

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the leaf's DER in lower-case hexadecimal."""
        return self._self.fingerprint()

    @property
    def der(self) -> bytes:
        return bytes(self._self.der())

    @property
    def tags(self) -> dict[str, str]:
        """All tags that its source gave it, ordered by key."""
        return dict(self._self.tags())

    def tag(self, key: str) -> Optional[str]:
        return self._self.tag(key)

    def usable_by(self, hello: ClientHello) -> bool:
        """Whether the client can verify it (RFC 8446 section 4.2.3), and it is valid now."""
        return self._self.usable_by(hello._self)


class PeerCertificate(_View):
    """A certificate that a client presented, verified by the gateway. Times are seconds since 1970."""

    __slots__ = ()

    @property
    def subject(self) -> str:
        """In the form of RFC 4514."""
        return self._self.subject()

    @property
    def issuer(self) -> str:
        return self._self.issuer()

    @property
    def serial(self) -> str:
        return self._self.serial()

    @property
    def fingerprint(self) -> str:
        return self._self.fingerprint()

    @property
    def not_before(self) -> int:
        return self._self.not_before()

    @property
    def not_after(self) -> int:
        return self._self.not_after()

    @property
    def dns_names(self) -> list[str]:
        return self._self.dns_names()

    @property
    def uris(self) -> list[str]:
        """SPIFFE ids among them."""
        return self._self.uris()

    @property
    def email_addresses(self) -> list[str]:
        return self._self.email_addresses()

    @property
    def organizational_units(self) -> list[str]:
        return self._self.organizational_units()

    @property
    def common_name(self) -> Optional[str]:
        return self._self.common_name()

    @property
    def der(self) -> bytes:
        return bytes(self._self.der())


class certificates:
    """The gateway's certificates; at most 64 in a list. Not within ``configure``."""

    @staticmethod
    def find(name: str) -> list[Certificate]:
        """Those for a DNS name: exact names before wildcards, the latest first."""
        return [Certificate(found) for found in _gateway(_certificates).find(name)]

    @staticmethod
    def by_id(id: str) -> Optional[Certificate]:
        return _optional(_gateway(_certificates).by_id(id))

    @staticmethod
    def tagged(key: str, value: str) -> list[Certificate]:
        """Those with this tag, ordered by id."""
        return [Certificate(found) for found in _gateway(_certificates).tagged(key, value)]

    @staticmethod
    def fallback() -> Optional[Certificate]:
        """The listener's default."""
        return _optional(_gateway(_certificates).fallback())


class log:
    """Lines in the gateway's log, under the policy's name. At most 1,024 bytes of a message, and 16 messages a call."""

    @staticmethod
    def trace(message: str) -> None:
        _gateway(_log).write(_log.Level.TRACE, message)

    @staticmethod
    def debug(message: str) -> None:
        _gateway(_log).write(_log.Level.DEBUG, message)

    @staticmethod
    def info(message: str) -> None:
        _gateway(_log).write(_log.Level.INFO, message)

    @staticmethod
    def warn(message: str) -> None:
        _gateway(_log).write(_log.Level.WARN, message)

    @staticmethod
    def error(message: str) -> None:
        _gateway(_log).write(_log.Level.ERROR, message)


class clock:
    """Time, from the gateway's clock, as Python's own ``time`` is."""

    @staticmethod
    def now() -> float:
        """Seconds since 1970."""
        seconds, nanoseconds = _gateway(_clock).now()
        return seconds + nanoseconds / 1e9

    @staticmethod
    def monotonic() -> int:
        """Nanoseconds since some moment in the life of the gateway. Never goes backwards."""
        return _gateway(_clock).monotonic()


class random:
    """Randomness of the gateway's operating system, as ``secrets`` and ``os.urandom`` give. The generator of Python's ``random``
    was seeded when the policy was built: it repeats itself in every instance."""

    @staticmethod
    def bytes(length: int) -> bytes:
        """At most 4,096."""
        return bytes(_gateway(_random).bytes(length))

    @staticmethod
    def unsigned() -> int:
        """64 random bits."""
        return _gateway(_random).unsigned()


def _gateway(module: Any) -> Any:
    if module is None:
        raise RuntimeError("only a policy in the gateway can ask the gateway")
    return module


def _optional(found: Any) -> Optional[Certificate]:
    return None if found is None else Certificate(found)


def _address(address: Any) -> Address:
    value = address.ip.value
    if isinstance(address.ip, _types.IpAddress_Ipv4):
        return Address(IPv4Address(bytes(value)), address.port)
    return Address(IPv6Address(b"".join(group.to_bytes(2, "big") for group in value)), address.port)


# What the entry calls that `handfast-policy build` writes: from hooks to what the component exports.

if _types is not None:
    _ALERTS = {
        alert.value: getattr(_types, "Alert_" + "".join(word.capitalize() for word in alert.name.split("_")))
        for alert in Alert
    }


def _alert(number: int) -> Any:
    known = _ALERTS.get(number)
    return known() if known is not None else _types.Alert_Other(number)


def _select(hook: Callable, module: Any, connection: Any, hello: Any) -> Any:
    decision = _call(hook, Connection(connection), ClientHello(hello))
    case = getattr(module, "Verdict_" + decision.verdict.capitalize())
    if decision.verdict == "reject":
        verdict = case(_alert(decision.value))
    elif decision.value is None:
        verdict = case()
    else:
        verdict = case(decision.value)
    return module.Decision(verdict, decision.reason)


def _validate(hook: Callable, module: Any, error: type, connection: Any, hello: Any, chain: Any) -> Any:
    peers = [PeerCertificate(chain.certificate(index)) for index in range(chain.length())]
    judged = _call(hook, Connection(connection), ClientHello(hello), peers)
    if isinstance(judged, Acceptance):
        return [module.Attribute(name, value) for name, value in judged.attributes.items()]
    if judged.verdict != "reject":
        raise TypeError("`validate` answers with accept or reject")
    raise error(module.Rejection(_alert(judged.value), judged.reason))


def _admit(hook: Callable, error: type, certificate: Any) -> None:
    judged = _call(hook, Certificate(certificate))
    if judged is not None:
        raise error(judged.reason)


def _configure(hook: Callable, error: type, config: str) -> None:
    try:
        hook(json.loads(config))
    except Exception as problem:
        raise error(str(problem) or type(problem).__name__) from None


def _call(hook: Callable, *arguments: Any) -> Any:
    try:
        return hook(*arguments)
    except Exception:
        log.error(traceback.format_exc())
        raise RuntimeError("the hook failed") from None
