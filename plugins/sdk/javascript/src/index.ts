/**
 * Write Handfast policies in JavaScript or TypeScript.
 *
 * A policy is a module that exports one or more hooks: `select`, `validate`, `admit`, and `configure` where it has settings.
 *
 * ```ts
 * import { pass, reject, type Select } from "handfast-policy";
 *
 * export const select: Select = (connection, hello) =>
 *     hello.serverName?.endsWith(".internal.example") && connection.listener !== "office"
 *         ? reject("unrecognized-name", "an internal name from outside")
 *         : pass();
 * ```
 *
 * What a hook is given, and the certificates it looks up, are read when a property is read, and are valid until the hook
 * returns. Numbers of the TLS registries are in wire order, GREASE (RFC 8701) included.
 */

import * as wit from "handfast:policy/certificates@1.0.0";
import * as clockImport from "handfast:policy/clock@1.0.0";
import { write } from "handfast:policy/log@1.0.0";
import * as randomImport from "handfast:policy/random@1.0.0";
import type * as types from "handfast:policy/types@1.0.0";

/** Chooses the certificate a client gets, or refuses it. Called on every ClientHello, resumed handshakes included. */
export type Select = (connection: Connection, hello: ClientHello) => Decision;

/** Judges the certificate a client presented, once the gateway has verified its chain. */
export type Validate = (connection: Connection, hello: ClientHello, chain: PeerCertificate[]) => Validation;

/** Judges a certificate of the gateway before any client gets it. */
export type Admit = (certificate: Certificate) => Admission;

/**
 * Takes the policy's `config` table. What it throws is for the operator, who wrote that table: the policy is not loaded, and a
 * version of it that is running goes on.
 */
export type Configure = (config: Record<string, unknown>) => void;

/** An alert by its name in the TLS registry, or by its number (RFC 8446 section 6). */
export type Alert =
    | "unexpected-message" | "handshake-failure" | "bad-certificate" | "unsupported-certificate"
    | "certificate-revoked" | "certificate-expired" | "certificate-unknown" | "illegal-parameter" | "unknown-ca"
    | "access-denied" | "decode-error" | "decrypt-error" | "protocol-version" | "insufficient-security"
    | "internal-error" | "inappropriate-fallback" | "user-canceled" | "missing-extension" | "unsupported-extension"
    | "unrecognized-name" | "bad-certificate-status-response" | "unknown-psk-identity" | "certificate-required"
    | "no-application-protocol"
    | number;

/** What `select` answers: made by `pass`, `answer`, `reject`, `drop` or `passthrough`. */
export type Decision = { verdict: { tag: string; val?: unknown }; reason: string | null };

/** What `validate` answers: made by `accept` or `reject`. */
export type Validation = { attributes: Record<string, string> } | Decision;

/** What `admit` answers: made by `refuse`, or nothing to admit. */
export type Admission = { refused: string } | void;

/** No opinion: the next policy decides. */
export function pass(reason?: string): Decision {
    return { verdict: { tag: "pass" }, reason: reason ?? null };
}

/** Answer with this certificate, or with the one of this id. Reasons are for the decision log; 256 bytes are kept. */
export function answer(certificate: Certificate | string, reason?: string): Decision {
    const id = typeof certificate === "string" ? certificate : certificate.id;
    return { verdict: { tag: "certificate", val: id }, reason: reason ?? null };
}

/** End the handshake with this alert. */
export function reject(alert: Alert, reason?: string): Decision {
    const val = typeof alert === "number" ? { tag: "other", val: alert } : { tag: alert };
    return { verdict: { tag: "reject", val }, reason: reason ?? null };
}

/** Close the connection without an answer. */
export function drop(reason?: string): Decision {
    return { verdict: { tag: "drop" }, reason: reason ?? null };
}

/** Do not terminate TLS: relay the bytes to the upstream of this name. */
export function passthrough(upstream: string, reason?: string): Decision {
    return { verdict: { tag: "passthrough", val: upstream }, reason: reason ?? null };
}

/** Let the client in. Each attribute becomes the request header `x-client-<name>` for upstreams; at most 32. */
export function accept(attributes: Record<string, string> = {}): Validation {
    return { attributes };
}

/** The certificate does not go live; the reason is for the operator. */
export function refuse(reason: string): Admission {
    return { refused: reason };
}

export interface Address {
    /** `192.0.2.1` or `2001:db8:0:0:0:0:0:1`. */
    ip: string;
    port: number;
}

/** The transport connection the handshake arrived on. */
export class Connection {
    #self: types.Connection;
    constructor(self: types.Connection) { this.#self = self; }

    /** The configured name of the listener. */
    get listener(): string { return this.#self.listener(); }
    /** From the PROXY header where the listener trusts one, else the peer of the socket. */
    get clientAddress(): Address { return address(this.#self.clientAddress()); }
    get serverAddress(): Address { return address(this.#self.serverAddress()); }
    /** Whether a PROXY header gave the addresses. */
    get proxied(): boolean { return this.#self.proxied(); }
    /** The fields of a PROXY version 2 header, in wire order. */
    get proxyTlvs(): { type: number; value: Uint8Array }[] {
        return this.#self.proxyTlvs().map(([type, value]) => ({ type, value }));
    }
}

/** The ClientHello (RFC 8446 section 4.1.2), as the client sent it. */
export class ClientHello {
    #self: types.ClientHello;
    constructor(self: types.ClientHello) { this.#self = self; }

    /** Lower-cased A-labels; undefined without the extension. */
    get serverName(): string | undefined { return this.#self.serverName() ?? undefined; }
    /** In the client's order. `text` makes a string of one. */
    get alpn(): Uint8Array[] { return this.#self.alpn(); }
    get protocolVersions(): number[] { return this.#self.protocolVersions(); }
    get cipherSuites(): number[] { return this.#self.cipherSuites(); }
    get signatureSchemes(): number[] { return this.#self.signatureSchemes(); }
    get namedGroups(): number[] { return this.#self.namedGroups(); }
    /** The type of every extension. */
    get extensions(): number[] { return this.#self.extensions(); }
    get ja3(): string { return this.#self.ja3(); }
    get ja4(): string { return this.#self.ja4(); }
    /** The handshake message with its four-byte header; at most 64 KiB. */
    get raw(): Uint8Array { return this.#self.raw(); }
    get offersResumption(): boolean { return this.#self.offersResumption(); }

    /** For `Certificate.usableBy`. */
    static handle(hello: ClientHello): types.ClientHello { return hello.#self; }
}

/** A certificate of the gateway. Its private key is never visible. Times are seconds since 1970. */
export class Certificate {
    #self: types.Certificate;
    constructor(self: types.Certificate) { this.#self = self; }

    /** What a verdict names it by. */
    get id(): string { return this.#self.id(); }
    /** The DNS names and IP addresses of the leaf. */
    get names(): string[] { return this.#self.names(); }
    /** `rsa`, `ecdsa-p256`, `ecdsa-p384`, `ecdsa-p521`, `ed25519` or `other`. */
    get keyAlgorithm(): string { return this.#self.keyAlgorithm(); }
    // componentize-qjs 0.4.5 reads an unsigned integer as a signed one.
    get keyBits(): number { return this.#self.keyBits() >>> 0; }
    get notBefore(): number { return this.#self.notBefore(); }
    get notAfter(): number { return this.#self.notAfter(); }
    /** In the form of RFC 4514. */
    get issuer(): string { return this.#self.issuer(); }
    /** Lower-case hexadecimal. */
    get serial(): string { return this.#self.serial(); }
    /** SHA-256 over the leaf's DER in lower-case hexadecimal. */
    get fingerprint(): string { return this.#self.fingerprint(); }
    get der(): Uint8Array { return this.#self.der(); }
    /** All tags that its source gave it, ordered by key. */
    get tags(): [string, string][] { return this.#self.tags(); }
    tag(key: string): string | undefined { return this.#self.tag(key) ?? undefined; }
    /** Whether the client can verify it (RFC 8446 section 4.2.3), and it is valid now. */
    usableBy(hello: ClientHello): boolean { return this.#self.usableBy(ClientHello.handle(hello)); }
}

/** A certificate that a client presented, verified by the gateway. Times are seconds since 1970. */
export class PeerCertificate {
    #self: types.PeerCertificate;
    constructor(self: types.PeerCertificate) { this.#self = self; }

    /** In the form of RFC 4514. */
    get subject(): string { return this.#self.subject(); }
    get issuer(): string { return this.#self.issuer(); }
    get serial(): string { return this.#self.serial(); }
    get fingerprint(): string { return this.#self.fingerprint(); }
    get notBefore(): number { return this.#self.notBefore(); }
    get notAfter(): number { return this.#self.notAfter(); }
    get dnsNames(): string[] { return this.#self.dnsNames(); }
    /** SPIFFE ids among them. */
    get uris(): string[] { return this.#self.uris(); }
    get emailAddresses(): string[] { return this.#self.emailAddresses(); }
    get organizationalUnits(): string[] { return this.#self.organizationalUnits(); }
    get commonName(): string | undefined { return this.#self.commonName() ?? undefined; }
    get der(): Uint8Array { return this.#self.der(); }
}

/** The gateway's certificates; at most 64 in a list. Not within `configure`. */
export const certificates = {
    /** Those for a DNS name: exact names before wildcards, the latest first. */
    find: (name: string): Certificate[] => wit.find(name).map(own),
    byId: (id: string): Certificate | undefined => optional(wit.byId(id)),
    /** Those with this tag, ordered by id. */
    tagged: (key: string, value: string): Certificate[] => wit.tagged(key, value).map(own),
    /** The listener's default. */
    fallback: (): Certificate | undefined => optional(wit.fallback()),
};

/** Lines in the gateway's log, under the policy's name. At most 1,024 bytes of a message, and 16 messages a call. */
export const log = {
    trace: (message: string): void => write("trace", message),
    debug: (message: string): void => write("debug", message),
    info: (message: string): void => write("info", message),
    warn: (message: string): void => write("warn", message),
    error: (message: string): void => write("error", message),
};

/** Time, from the gateway's clock, as `Date` is. */
export const clock = {
    /** Seconds since 1970. */
    now: (): number => { const [seconds, nanoseconds] = clockImport.now(); return seconds + nanoseconds / 1e9; },
    /** Nanoseconds since some moment in the life of the gateway. Never goes backwards. */
    monotonic: (): number => clockImport.monotonic(),
};

/** Randomness of the gateway's operating system. `Math.random` was seeded when the policy was built: it repeats itself. */
export const random = {
    /** At most 4,096. */
    bytes: (length: number): Uint8Array => randomImport.bytes(length),
    /** A number below 1, with 32 random bits. */
    fraction: (): number => new DataView(randomImport.bytes(4).slice().buffer).getUint32(0) / 2 ** 32,
};

/** Bytes as a string. QuickJS has no TextDecoder; what is not UTF-8 (RFC 3629) becomes U+FFFD. */
export function text(bytes: Uint8Array): string {
    const escaped = Array.from(bytes, (byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");
    try {
        return decodeURIComponent(escaped);
    } catch {
        return Array.from(bytes, (byte) => (byte < 0x80 ? String.fromCharCode(byte) : "\ufffd")).join("");
    }
}

// Handles of this call: those that the hook was given, which must be given back before it returns, and those that it looked
// up, which the collector would give back some time, but an instance that is used again must not gather.
let handles: Disposable[] = [];

function own(self: types.Certificate): Certificate {
    handles.push(self);
    return new Certificate(self);
}

function optional(self: types.Certificate | null): Certificate | undefined {
    return self === null ? undefined : own(self);
}

function address({ ip, port }: types.SocketAddress): Address {
    const parts = ip.tag === "ipv4" ? ip.val.join(".") : ip.val.map((group) => group.toString(16)).join(":");
    return { ip: parts, port };
}

/** For the entry that `handfast-policy build` writes: from hooks to what the component exports. */
export const hooks = {
    select: (hook: Select) => ({
        select: (connection: types.Connection, hello: types.ClientHello) =>
            call([connection, hello], () => hook(new Connection(connection), new ClientHello(hello))),
    }),
    validate: (hook: Validate) => ({
        validate: (connection: types.Connection, hello: types.ClientHello, chain: types.PeerChain) => {
            const judged = call([connection, hello, chain], () =>
                hook(new Connection(connection), new ClientHello(hello), peers(chain)));
            if ("attributes" in judged) {
                return Object.entries(judged.attributes).map(([name, value]) => ({ name, value }));
            }
            if (judged.verdict.tag !== "reject") throw new TypeError("`validate` answers with accept or reject");
            throw { alert: judged.verdict.val, reason: judged.reason };
        },
    }),
    admit: (hook: Admit) => ({
        admit: (certificate: types.Certificate) => {
            const judged = call([certificate], () => hook(new Certificate(certificate)));
            if (judged) throw judged.refused;
        },
    }),
    configure: (hook: Configure) => ({
        configure: (config: string) => {
            try {
                hook(JSON.parse(config));
            } catch (error) {
                throw error instanceof Error ? error.message : String(error);
            }
        },
    }),
};

function peers(chain: types.PeerChain): PeerCertificate[] {
    return Array.from({ length: chain.length() }, (_, index) => {
        const self = chain.certificate(index);
        if (self === null) throw new RangeError("a chain shorter than its length");
        handles.push(self);
        return new PeerCertificate(self);
    });
}

function call<Answer>(borrowed: Disposable[], hook: () => Answer): Answer {
    handles = borrowed;
    try {
        return hook();
    } catch (error) {
        // The call ends without a verdict; this line says why.
        write("error", error instanceof Error ? `${error.name}: ${error.message}\n${error.stack ?? ""}` : String(error));
        // Nothing else may be thrown out of a hook: an alert and a reason are an answer.
        throw new Error("the hook failed");
    } finally {
        for (const handle of handles) handle[Symbol.dispose]();
        handles = [];
    }
}
