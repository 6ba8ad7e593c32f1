/**
 * Calls to hosts that the operator lists: `grants = [{ http = ["keys.example.com"] }]`. A component imports `wasi:http` if its
 * policy uses this.
 *
 * ```ts
 * import * as http from "handfast-policy/http";
 *
 * function tenant(name: string): string | undefined {
 *     const response = http.get(`https://keys.example.com/tenants/${name}`, { timeout: 100 });
 *     return response.status === 200 ? response.text() : undefined;
 * }
 * ```
 *
 * The gateway bounds time and size of each call, remembers answers to `GET` and `HEAD`, and asks once for what several
 * instances want at the same time; a redirect is an answer like any other. A call waits for the whole response, at the expense
 * of the policy's `timeout`: there is no promise. One that is refused or fails throws an `HttpError`: decide what the handshake
 * gets without an answer.
 */

import { handle } from "wasi:http/outgoing-handler@0.2.0";
import * as wit from "wasi:http/types@0.2.0";

import { encode } from "./text.ts";

/** Bytes that `wasi:io` lets be written at once, and that are read at once. */
const WRITTEN = 4096;
const READ = 64 * 1024;

/** Why there is no response. */
export type Kind =
    /** No URL with `http` or `https`, or a field that is not for a policy to set (`host`, …). */
    | "request"
    /** The host is not in the operator's list, or its name leads to an address that policies are not let near. */
    | "not-allowed"
    /** Too many calls at once or in this second, or the host has failed so often that it is left alone for a while. */
    | "limited"
    /** There was no response in time. */
    | "timed-out"
    /** The request or the response is larger than the operator allows. */
    | "too-large"
    /** No connection, no TLS, no HTTP. */
    | "failed";

export class HttpError extends Error {
    constructor(readonly kind: Kind) {
        super(kind);
    }
}

export interface Options {
    fields?: Record<string, string>;
    body?: Uint8Array | string;
    /** In milliseconds; it shortens what the operator allows. */
    timeout?: number;
}

/** A response, complete. */
export class Response {
    constructor(
        readonly status: number,
        /** Names in lower case. */
        readonly fields: [string, Uint8Array][],
        readonly body: Uint8Array,
    ) {}

    /** The first field of this name. */
    field(name: string): string | undefined {
        const found = this.fields.find(([other]) => other.toLowerCase() === name.toLowerCase());
        return found && latin1(found[1]);
    }

    /** The body as UTF-8. Throws a `URIError` if it is not. */
    text(): string {
        return decodeURIComponent(latin1(this.body).replace(/[^A-Za-z0-9]/g, percent));
    }
}

/** Asks for a resource. */
export function get(url: string, options: Options = {}): Response {
    return request("GET", url, options);
}

/** Sends a request, and waits for the whole response. */
export function request(method: string, url: string, options: Options = {}): Response {
    const parts = /^(https?):\/\/([^/?]*)(\/.*)?$/s.exec(url);
    if (parts === null) throw new HttpError("request");
    const [, scheme, authority, path] = parts;
    const body = typeof options.body === "string" ? encode(options.body) : options.body;
    const known = ["GET", "HEAD", "POST", "PUT"].includes(method);
    const asked = otherwise(() => "request", () => {
        const entries = Object.entries(options.fields ?? {}).map(([name, value]) => [name, encode(value)] as [string, Uint8Array]);
        const request = new wit.OutgoingRequest(wit.Fields.fromList(entries));
        request.setMethod(known ? { tag: method.toLowerCase() } : { tag: "other", val: method });
        request.setScheme({ tag: scheme === "https" ? "HTTPS" : "HTTP" });
        request.setAuthority(authority!);
        request.setPathWithQuery(path ?? "/");
        return { request, sent: body?.length ? request.body() : undefined };
    });
    let patience: wit.RequestOptions | null = null;
    if (options.timeout !== undefined) {
        patience = new wit.RequestOptions();
        patience.setFirstByteTimeout(Math.max(0, Math.round(options.timeout * 1e6)));
    }
    return otherwise(kind, () => {
        using answer = handle(asked.request, patience);
        if (asked.sent) write(asked.sent, body!);
        return answered(answer);
    });
}

function write(body: wit.OutgoingBody, bytes: Uint8Array): void {
    {
        using stream = body.write();
        for (let at = 0; at < bytes.length; at += WRITTEN) {
            otherwise(() => "too-large", () => stream.blockingWriteAndFlush(bytes.slice(at, at + WRITTEN)));
        }
    }
    wit.OutgoingBody.finish(body, null);
}

function answered(answer: wit.FutureIncomingResponse): Response {
    {
        using ready = answer.subscribe();
        ready.block();
    }
    const got = answer.get();
    if (got === null || got.tag === "err") throw new HttpError("failed");
    if (got.val.tag === "err") throw new HttpError(kind(got.val.val));
    using response = got.val.val;
    using headers = response.headers();
    const fields = headers.entries();
    using body = response.consume();
    using stream = body.stream();
    const bytes: number[] = [];
    for (;;) {
        const more = otherwise(
            (payload) => ((payload as wit.Variant).tag === "closed" ? undefined : "failed"),
            () => stream.blockingRead(READ),
        );
        if (more === undefined) break;
        for (const byte of more) bytes.push(byte);
    }
    return new Response(response.status(), fields, Uint8Array.from(bytes));
}

/** Does it; what the gateway throws becomes an error of this kind, or nothing. */
function otherwise<T>(kind: (payload: unknown) => Kind, action: () => T): T;
function otherwise<T>(kind: (payload: unknown) => Kind | undefined, action: () => T): T | undefined;
function otherwise<T>(kind: (payload: unknown) => Kind | undefined, action: () => T): T | undefined {
    try {
        return action();
    } catch (error) {
        if (!(error instanceof Error) || !("payload" in error)) throw error;
        const what = kind(error.payload);
        if (what === undefined) return undefined;
        throw new HttpError(what);
    }
}

function kind(code: unknown): Kind {
    const tag = (code as { tag?: string } | undefined)?.tag;
    switch (tag) {
        case "HTTP-request-denied": case "destination-IP-prohibited": return "not-allowed";
        case "connection-limit-reached": case "destination-unavailable": return "limited";
        case "HTTP-response-timeout": case "connection-timeout": case "DNS-timeout": return "timed-out";
        case "HTTP-request-body-size": case "HTTP-response-body-size": case "HTTP-request-header-section-size":
        case "HTTP-request-URI-too-long": return "too-large";
        case "HTTP-request-URI-invalid": case "HTTP-request-method-invalid": return "request";
        default: return "failed";
    }
}

function latin1(bytes: Uint8Array): string {
    let text = "";
    for (const byte of bytes) text += String.fromCharCode(byte);
    return text;
}

function percent(byte: string): string {
    return `%${byte.charCodeAt(0).toString(16).padStart(2, "0")}`;
}
