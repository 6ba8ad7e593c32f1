"""The conformance policy in Python: ../README.md says what it does."""

from handfast_policy import (
    Alert, Certificate, ClientHello, Connection, Decision, PeerCertificate, accept, answer, certificates, clock, counter, drop,
    http, key_value, log, pass_on, passthrough, random, refuse, reject,
)

greeting = ""


def configure(config: dict) -> None:
    global greeting
    if "fail" in config:
        raise ValueError(config["fail"])
    greeting = config.get("greeting", "")


def select(connection: Connection, hello: ClientHello) -> Decision:
    verb, _, rest = connection.listener.partition(" ")
    first, _, second = rest.partition(" ")
    match verb:
        case "pass":
            return pass_on()
        case "drop":
            return drop()
        case "reject":
            return reject(int(rest), "told to reject")
        case "passthrough":
            return passthrough(rest)
        case "answer":
            return answer(rest)
        case "echo":
            return pass_on().because(rest)
        case "greeting":
            return pass_on().because(greeting)
        case "report":
            report(connection, hello)
            return pass_on()
        case "find":
            return judge(certificates.find(rest), hello)
        case "tagged":
            return judge(certificates.tagged(first, second), hello)
        case "by-id":
            return judge(one(certificates.by_id(rest)), hello)
        case "fallback":
            return judge(one(certificates.fallback()), hello)
        case "log":
            levels = [log.trace, log.debug, log.info, log.warn, log.error]
            for line in range(20):
                levels[line % 5](f"line {line}")
            return pass_on()
        case "count":
            counter.add(first, int(second))
            return pass_on()
        case "store":
            return pass_on().because(store())
        case "clock":
            return pass_on().because(f"{int(clock.now())} {clock.monotonic()}")
        case "random":
            return pass_on().because(f"{random.bytes(16).hex()} {random.bytes(16).hex()} {random.unsigned()}")
        case "http":
            return pass_on().because(call(first, second))
        case "hash":
            return pass_on().because(str(hash(rest)))
    raise RuntimeError("told to fail")


def one(found):
    return [] if found is None else [found]


def judge(found: list[Certificate], hello: ClientHello) -> Decision:
    for certificate in found[:3]:
        describe(certificate)
        say("usable", certificate.usable_by(hello))
    if not found:
        return reject(Alert.UNRECOGNIZED_NAME)
    return answer(found[0], str(len(found)))


def report(connection: Connection, hello: ClientHello) -> None:
    client, server = connection.client_address, connection.server_address
    tlvs = [f"{type_}:{summed(value)}" for type_, value in connection.proxy_tlvs]
    say(
        "connection", connection.listener, ip(client.ip), client.port, ip(server.ip), server.port, connection.proxied,
        joined(tlvs),
    )
    say("hello", absent(hello.server_name), joined(map(summed, hello.alpn)), hello.offers_resumption)
    say(
        "numbers", joined(hello.protocol_versions), joined(hello.cipher_suites), joined(hello.signature_schemes),
        joined(hello.named_groups), joined(hello.extensions),
    )
    say("prints", hello.ja3, hello.ja4, summed(hello.raw))


def describe(certificate: Certificate) -> None:
    say(
        "certificate", certificate.id, joined(certificate.names), certificate.key_algorithm, certificate.key_bits,
        certificate.not_before, certificate.not_after,
    )
    tags = [f"{key}={value}" for key, value in certificate.tags.items()]
    say(
        "details", certificate.issuer, certificate.serial, certificate.fingerprint, summed(certificate.der), joined(tags),
        absent(certificate.tag("team")),
    )


def store() -> str:
    live = 60_000
    steps = []

    def step(function, *arguments):
        try:
            result = function(*arguments)
        except key_value.StoreError as error:
            result = error
        if isinstance(result, bytes):
            result = result.hex()
        steps.append(shown(result))

    def get():
        value = key_value.get(b"k")
        step(lambda: "-" if value is None else value)

    get()
    step(lambda: key_value.set(b"k", b"\1\2\3", live) or "ok")
    get()
    key_value.delete(b"k")
    get()
    step(key_value.increment, b"k", 5, live)
    step(key_value.increment, b"k", -7, live)
    step(key_value.compare_and_set, b"k", None, b"\xff", live)
    step(key_value.compare_and_set, b"k", b"\xfe" + b"\xff" * 7, b"\xff", live)
    step(key_value.increment, b"k", 1, live)
    step(lambda: key_value.set(b"k" * 300, b"\xff", live) or "ok")
    return " ".join(steps)


def call(method: str, rest: str) -> str:
    url, _, body = rest.partition(" ")
    try:
        response = http.request(method, url, fields={"x-conformance": "1"}, body=body.encode(), timeout=0.25)
    except http.HttpError as error:
        return error.kind
    field = response.field("X-Answer")
    return f"{response.status} {absent(field and field.decode())} {summed(response.body)}"


def validate(connection: Connection, hello: ClientHello, chain: list[PeerCertificate]):
    for peer in chain:
        say("peer", peer.subject, peer.issuer, peer.serial, peer.fingerprint, peer.not_before, peer.not_after)
        say(
            "names", joined(peer.dns_names), joined(peer.uris), joined(peer.email_addresses),
            joined(peer.organizational_units), absent(peer.common_name), summed(peer.der),
        )
    if chain[0].common_name == "revoked":
        return reject(Alert.CERTIFICATE_REVOKED, "revoked")
    return accept({"subject": chain[0].subject, "uris": " ".join(chain[0].uris)})


def admit(certificate: Certificate):
    describe(certificate)
    if certificate.names and certificate.names[0].startswith("refused"):
        return refuse(f"refused: {certificate.names[0]}")


def say(*words) -> None:
    log.info(" ".join(map(shown, words)))


def shown(value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def absent(value) -> str:
    return "-" if value is None else value


def joined(values) -> str:
    return ",".join(map(str, values)) or "-"


def summed(data: bytes) -> str:
    return f"{len(data)}:{sum(data) % 65536}"


def ip(address) -> str:
    if address.version == 4:
        return str(address)
    return ":".join(f"{int(group, 16):x}" for group in address.exploded.split(":"))
