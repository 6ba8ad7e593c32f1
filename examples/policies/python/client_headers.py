"""An example policy in Python: which workloads get in, and what upstreams learn of them.

    config = { trust-domain = "example.org", paths = ["/ns/shop/*", "/ns/billing/sa/*"] }

The gateway has verified the client's chain by the time this is asked. It accepts a client whose certificate carries exactly
one SPIFFE id (https://spiffe.io/docs/latest/spiffe-specs/spiffe-id/) of the trust domain whose path fits a pattern, and
hands the upstream what it needs to decide the rest, as request headers: ``x-client-spiffe-id``, ``x-client-namespace`` where
the path has one, ``x-client-common-name`` and ``x-client-certificate`` (the fingerprint).
"""

from fnmatch import fnmatchcase

from handfast_policy import Alert, ClientHello, Connection, PeerCertificate, accept, log, reject

SCHEME = "spiffe://"

trust_domain = ""
paths: list[str] = []


def configure(config: dict) -> None:
    global trust_domain, paths
    unknown = config.keys() - {"trust-domain", "paths"}
    if unknown:
        raise ValueError(f"unknown setting {min(unknown)}")
    trust_domain = config.get("trust-domain", "")
    if not trust_domain or "/" in trust_domain:
        raise ValueError("trust-domain is not a name like example.org")
    paths = config.get("paths", ["*"])
    for path in paths:
        if path != "*" and not path.startswith("/"):
            raise ValueError(f"the path {path!r} does not begin with a slash")


def validate(connection: Connection, hello: ClientHello, chain: list[PeerCertificate]):
    leaf = chain[0]
    ids = [uri for uri in leaf.uris if uri.startswith(SCHEME)]
    if len(ids) != 1:
        return reject(Alert.BAD_CERTIFICATE, f"{len(ids)} SPIFFE ids, and one is wanted")

    domain, slash, rest = ids[0].removeprefix(SCHEME).partition("/")
    path = slash + rest
    if domain != trust_domain:
        return reject(Alert.UNKNOWN_CA, f"the trust domain is {domain}, not {trust_domain}")
    if not any(fnmatchcase(path, pattern) for pattern in paths):
        log.info(f"{ids[0]} from {connection.client_address.ip} fits no path")
        return reject(Alert.ACCESS_DENIED, f"{path} fits no path of the policy")

    attributes = {"spiffe-id": ids[0], "certificate": leaf.fingerprint}
    segments = path.split("/")
    if len(segments) > 2 and segments[1] == "ns":
        attributes["namespace"] = segments[2]
    if leaf.common_name:
        attributes["common-name"] = leaf.common_name
    return accept(attributes)
