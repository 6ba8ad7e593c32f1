/** A text as bytes. QuickJS has no TextEncoder. */
export function encode(text: string): Uint8Array {
    const bytes = encodeURIComponent(text).replace(/%([0-9A-F]{2})/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
    return Uint8Array.from(bytes, (byte) => byte.charCodeAt(0));
}
