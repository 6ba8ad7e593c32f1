// The conformance policy in TypeScript: ../README.md says what it does.

import {
    accept, answer, certificates, clock, drop, log, pass, passthrough, random, refuse, reject, type Admit, type Certificate,
    type ClientHello, type Configure, type Connection, type Decision, type Select, type Validate,
} from "handfast-policy";
import * as counter from "handfast-policy/counter";
import * as http from "handfast-policy/http";
import * as store from "handfast-policy/key-value";

let greeting = "";

export const configure: Configure = (config) => {
    if (typeof config.fail === "string") throw new Error(config.fail);
    greeting = String(config.greeting ?? "");
};

export const select: Select = (connection, hello) => {
    const [verb, rest] = cut(connection.listener);
    const [first, second] = cut(rest);
    switch (verb) {
        case "pass": return pass();
        case "drop": return drop();
        case "reject": return reject(Number(rest), "told to reject");
        case "passthrough": return passthrough(rest);
        case "answer": return answer(rest);
        case "echo": return pass(rest);
        case "greeting": return pass(greeting);
        case "report": report(connection, hello); return pass();
        case "find": return judge(certificates.find(rest), hello);
        case "tagged": return judge(certificates.tagged(first, second), hello);
        case "by-id": return judge(one(certificates.byId(rest)), hello);
        case "fallback": return judge(one(certificates.fallback()), hello);
        case "log": {
            const levels = [log.trace, log.debug, log.info, log.warn, log.error];
            for (let line = 0; line < 20; line++) levels[line % 5]!(`line ${line}`);
            return pass();
        }
        case "count": counter.add(first, Number(second)); return pass();
        case "store": return pass(steps());
        case "clock": return pass(`${Math.floor(clock.now())} ${clock.monotonic()}`);
        case "random": return pass(`${hex(random.bytes(16))} ${hex(random.bytes(16))} ${random.fraction()}`);
        case "http": return pass(call(first, second));
    }
    throw new Error("told to fail");
};

function cut(text: string): [string, string] {
    const at = text.indexOf(" ");
    return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

function one(found: Certificate | undefined): Certificate[] {
    return found === undefined ? [] : [found];
}

function judge(found: Certificate[], hello: ClientHello): Decision {
    for (const certificate of found.slice(0, 3)) {
        describe(certificate);
        say("usable", certificate.usableBy(hello));
    }
    const [first] = found;
    return first === undefined ? reject("unrecognized-name") : answer(first, String(found.length));
}

function report(connection: Connection, hello: ClientHello): void {
    const [client, server] = [connection.clientAddress, connection.serverAddress];
    const tlvs = connection.proxyTlvs.map(({ type, value }) => `${type}:${sum(value)}`);
    say(
        "connection", connection.listener, client.ip, client.port, server.ip, server.port, connection.proxied, joined(tlvs),
    );
    say("hello", hello.serverName ?? "-", joined(hello.alpn.map(sum)), hello.offersResumption);
    say(
        "numbers", joined(hello.protocolVersions), joined(hello.cipherSuites), joined(hello.signatureSchemes),
        joined(hello.namedGroups), joined(hello.extensions),
    );
    say("prints", hello.ja3, hello.ja4, sum(hello.raw));
}

function describe(certificate: Certificate): void {
    say(
        "certificate", certificate.id, joined(certificate.names), certificate.keyAlgorithm, certificate.keyBits,
        certificate.notBefore, certificate.notAfter,
    );
    const tags = certificate.tags.map(([key, value]) => `${key}=${value}`);
    say(
        "details", certificate.issuer, certificate.serial, certificate.fingerprint, sum(certificate.der), joined(tags),
        certificate.tag("team") ?? "-",
    );
}

function steps(): string {
    const live = 60_000;
    const said: string[] = [];
    const step = (work: () => unknown) => {
        try {
            said.push(String(work()));
        } catch (error) {
            said.push(error instanceof Error ? error.message : String(error));
        }
    };
    const get = () => step(() => { const value = store.get("k"); return value === undefined ? "-" : hex(value); });
    get();
    step(() => { store.set("k", Uint8Array.of(1, 2, 3), live); return "ok"; });
    get();
    store.remove("k");
    get();
    step(() => store.increment("k", 5, live));
    step(() => store.increment("k", -7, live));
    step(() => store.compareAndSet("k", undefined, Uint8Array.of(255), live));
    step(() => store.compareAndSet("k", Uint8Array.of(254, 255, 255, 255, 255, 255, 255, 255), Uint8Array.of(255), live));
    step(() => store.increment("k", 1, live));
    step(() => { store.set("k".repeat(300), Uint8Array.of(255), live); return "ok"; });
    return said.join(" ");
}

function call(method: string, rest: string): string {
    const [url, body] = cut(rest);
    try {
        const response = http.request(method, url, { fields: { "x-conformance": "1" }, body, timeout: 250 });
        return `${response.status} ${response.field("X-Answer") ?? "-"} ${sum(response.body)}`;
    } catch (error) {
        if (!(error instanceof http.HttpError)) throw error;
        return error.kind;
    }
}

export const validate: Validate = (connection, hello, chain) => {
    for (const peer of chain) {
        say("peer", peer.subject, peer.issuer, peer.serial, peer.fingerprint, peer.notBefore, peer.notAfter);
        say(
            "names", joined(peer.dnsNames), joined(peer.uris), joined(peer.emailAddresses),
            joined(peer.organizationalUnits), peer.commonName ?? "-", sum(peer.der),
        );
    }
    const leaf = chain[0]!;
    if (leaf.commonName === "revoked") return reject("certificate-revoked", "revoked");
    return accept({ subject: leaf.subject, uris: leaf.uris.join(" ") });
};

export const admit: Admit = (certificate) => {
    describe(certificate);
    const [name] = certificate.names;
    if (name?.startsWith("refused")) return refuse(`refused: ${name}`);
};

function say(...words: unknown[]): void {
    log.info(words.join(" "));
}

function joined(values: readonly unknown[]): string {
    return values.join(",") || "-";
}

function sum(bytes: Uint8Array): string {
    return `${bytes.length}:${bytes.reduce((total, byte) => (total + byte) % 65536, 0)}`;
}

function hex(bytes: Uint8Array): string {
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
