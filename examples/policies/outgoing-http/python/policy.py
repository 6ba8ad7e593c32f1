"""An example policy in Python: an endpoint says which tenant a server name belongs to, and its certificate is the answer.

    grants = [{ http = ["keys.example.com"] }]
    config = { endpoint = "https://keys.example.com" }

Asks ``GET <endpoint>/tenant/<server name>``. 200 is the tenant's name, and a certificate belongs to a tenant when its source
tagged it, ``tags = { tenant = "acme" }``. Whoever is nobody's, and everybody while there is no answer, is turned away.
"""

from handfast_policy import Alert, ClientHello, Connection, Decision, answer, certificates, http, reject

endpoint = ""


def configure(config: dict) -> None:
    global endpoint
    endpoint = config.get("endpoint", "")
    if not endpoint.startswith(("https://", "http://")):
        raise ValueError("endpoint is not a URL")


def select(connection: Connection, hello: ClientHello) -> Decision:
    try:
        response = http.get(f"{endpoint}/tenant/{hello.server_name or ''}")
    except http.HttpError as error:
        return reject(Alert.UNRECOGNIZED_NAME, error.kind.replace("-", " "))
    said = f"{response.status}, {len(response.body)} bytes"
    if response.status != 200:
        return reject(Alert.UNRECOGNIZED_NAME, said)
    own = certificates.tagged("tenant", response.body.decode())
    return answer(own[0], said) if own else reject(Alert.ACCESS_DENIED, said)
