import { log, pass, reject, type Configure, type Select } from "handfast-policy";

let names: string[] = [];

export const configure: Configure = (config) => {
    if (!Array.isArray(config["tls13-only"])) throw new Error("tls13-only is not a list of names");
    names = config["tls13-only"];
};

export const select: Select = (connection, hello) => {
    if (names.includes(hello.serverName ?? "") && !hello.protocolVersions.includes(0x0304)) {
        log.info(`${connection.clientAddress.ip} is too old`);
        return reject("protocol-version", "this name is for TLS 1.3 only");
    }
    return pass();
};
