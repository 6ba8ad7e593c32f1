from handfast_policy import Alert, ClientHello, Connection, Decision, log, pass_on, reject

names: list[str] = []


def configure(config: dict) -> None:
    global names
    names = config.get("tls13-only")
    if not isinstance(names, list):
        raise ValueError("tls13-only is not a list of names")


def select(connection: Connection, hello: ClientHello) -> Decision:
    if hello.server_name in names and 0x0304 not in hello.protocol_versions:
        log.info(f"{connection.client_address.ip} is too old")
        return reject(Alert.PROTOCOL_VERSION, "this name is for TLS 1.3 only")
    return pass_on()
