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
