/**
 * A small store shared by all instances of one policy: how a policy remembers, when each call is a fresh instance. A component
 * that uses it must be granted it: `grants = ["key-value"]`. Keys of at most 256 bytes, values of at most 64 KiB, times to
 * live in milliseconds, at most 30 days. What does not fit throws `too-large`, what is no number `not-a-number`.
 */

import * as wit from "handfast:policy/key-value@1.0.0";

import { encode } from "./text.ts";

export { encode };

export function get(key: string): Uint8Array | undefined {
    return wit.get(encode(key)) ?? undefined;
}

export function set(key: string, value: Uint8Array, timeToLive: number): void {
    wit.set(encode(key), value, timeToLive);
}

/** Forgets the value. */
export function remove(key: string): void {
    wit.delete(encode(key));
}

/** Adds to an integer that starts at 0, and gives the sum. Its time counts from the first increment. */
export function increment(key: string, delta: number, timeToLive: number): number {
    return wit.increment(encode(key), delta, timeToLive);
}

/** Replaces the value if it is still the expected one (undefined: absent), and tells whether it did. */
export function compareAndSet(
    key: string, expected: Uint8Array | undefined, value: Uint8Array, timeToLive: number,
): boolean {
    return wit.compareAndSet(encode(key), expected ?? null, value, timeToLive);
}
