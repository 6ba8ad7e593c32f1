import { log, pass, reject } from "handfast-policy";

let names = [];

/** @type {import("handfast-policy").Configure} */
export const configure = (config) => {
    if (!Array.isArray(config["tls13-only"])) throw new Error("tls13-only is not a list of names");
    names = config["tls13-only"];
};

/** @type {import("handfast-policy").Select} */
export const select = (connection, hello) => {
    if (names.includes(hello.serverName ?? "") && !hello.protocolVersions.includes(0x0304)) {
        log.info(`${connection.clientAddress.ip} is too old`);
        return reject("protocol-version", "this name is for TLS 1.3 only");
    }
    return pass();
};
