"""The first certificate for the server name that the client can use, else no opinion."""

from handfast_policy import ClientHello, Connection, Decision, answer, certificates, pass_on


def select(connection: Connection, hello: ClientHello) -> Decision:
    name = hello.server_name
    if name is None:
        return pass_on()
    for certificate in certificates.find(name):
        if certificate.usable_by(hello):
            return answer(certificate)
    return pass_on()
