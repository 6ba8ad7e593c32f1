// The interface in wit/v1 as componentize-qjs gives it to JavaScript. Used by the rest of this package only; policies import
// "handfast-policy".

declare module "handfast:policy/types@1.0.0" {
    export type IpAddress = { tag: "ipv4"; val: number[] } | { tag: "ipv6"; val: number[] };
    export type SocketAddress = { ip: IpAddress; port: number };

    export interface Connection extends Disposable {
        listener(): string;
        clientAddress(): SocketAddress;
        serverAddress(): SocketAddress;
        proxied(): boolean;
        proxyTlvs(): [number, Uint8Array][];
    }

    export interface ClientHello extends Disposable {
        serverName(): string | null;
        alpn(): Uint8Array[];
        protocolVersions(): number[];
        cipherSuites(): number[];
        signatureSchemes(): number[];
        namedGroups(): number[];
        extensions(): number[];
        ja3(): string;
        ja4(): string;
        raw(): Uint8Array;
        offersResumption(): boolean;
    }

    export interface Certificate extends Disposable {
        id(): string;
        names(): string[];
        keyAlgorithm(): string;
        keyBits(): number;
        notBefore(): number;
        notAfter(): number;
        issuer(): string;
        serial(): string;
        fingerprint(): string;
        der(): Uint8Array;
        tags(): [string, string][];
        tag(key: string): string | null;
        usableBy(hello: ClientHello): boolean;
    }

    export interface PeerCertificate extends Disposable {
        subject(): string;
        issuer(): string;
        serial(): string;
        fingerprint(): string;
        notBefore(): number;
        notAfter(): number;
        dnsNames(): string[];
        uris(): string[];
        emailAddresses(): string[];
        organizationalUnits(): string[];
        commonName(): string | null;
        der(): Uint8Array;
    }

    export interface PeerChain extends Disposable {
        length(): number;
        certificate(index: number): PeerCertificate | null;
    }
}

declare module "handfast:policy/log@1.0.0" {
    export function write(level: string, message: string): void;
}

declare module "handfast:policy/certificates@1.0.0" {
    import type { Certificate } from "handfast:policy/types@1.0.0";
    export function find(name: string): Certificate[];
    export function byId(id: string): Certificate | null;
    export function tagged(key: string, value: string): Certificate[];
    export function fallback(): Certificate | null;
}

declare module "handfast:policy/clock@1.0.0" {
    export function now(): [number, number];
    export function monotonic(): number;
}

declare module "handfast:policy/random@1.0.0" {
    export function bytes(length: number): Uint8Array;
    export function unsigned(): number;
}

declare module "handfast:policy/counter@1.0.0" {
    export function add(name: string, delta: number): void;
}

declare module "handfast:policy/key-value@1.0.0" {
    export function get(key: Uint8Array): Uint8Array | null;
    export function set(key: Uint8Array, value: Uint8Array, timeToLive: number): void;
    function remove(key: Uint8Array): void;
    export { remove as delete };
    export function increment(key: Uint8Array, delta: number, timeToLive: number): number;
    export function compareAndSet(
        key: Uint8Array, expected: Uint8Array | null, value: Uint8Array, timeToLive: number,
    ): boolean;
}

declare module "wasi:io/poll@0.2.0" {
    export interface Pollable extends Disposable {
        block(): void;
    }
}

declare module "wasi:io/streams@0.2.0" {
    export interface InputStream extends Disposable {
        blockingRead(length: number): Uint8Array;
    }
    export interface OutputStream extends Disposable {
        blockingWriteAndFlush(contents: Uint8Array): void;
    }
}

declare module "wasi:http/types@0.2.0" {
    import type { Pollable } from "wasi:io/poll@0.2.0";
    import type { InputStream, OutputStream } from "wasi:io/streams@0.2.0";

    export type Variant = { tag: string; val?: unknown };
    export type Result<T> = { tag: "ok"; val: T } | { tag: "err"; val?: unknown };

    export class Fields implements Disposable {
        static fromList(entries: [string, Uint8Array][]): Fields;
        entries(): [string, Uint8Array][];
        [Symbol.dispose](): void;
    }
    export class OutgoingRequest implements Disposable {
        constructor(fields: Fields);
        body(): OutgoingBody;
        setMethod(method: Variant): void;
        setPathWithQuery(path: string | null): void;
        setScheme(scheme: Variant | null): void;
        setAuthority(authority: string | null): void;
        [Symbol.dispose](): void;
    }
    export class RequestOptions implements Disposable {
        constructor();
        setFirstByteTimeout(nanoseconds: number | null): void;
        [Symbol.dispose](): void;
    }
    export class OutgoingBody implements Disposable {
        static finish(body: OutgoingBody, trailers: Fields | null): void;
        write(): OutputStream;
        [Symbol.dispose](): void;
    }
    export interface FutureIncomingResponse extends Disposable {
        subscribe(): Pollable;
        get(): Result<Result<IncomingResponse>> | null;
    }
    export interface IncomingResponse extends Disposable {
        status(): number;
        headers(): Fields;
        consume(): IncomingBody;
    }
    export interface IncomingBody extends Disposable {
        stream(): InputStream;
    }
}

declare module "wasi:http/outgoing-handler@0.2.0" {
    import type { FutureIncomingResponse, OutgoingRequest, RequestOptions } from "wasi:http/types@0.2.0";
    export function handle(request: OutgoingRequest, options: RequestOptions | null): FutureIncomingResponse;
}
