// The part of the SDK that is compiled along with a policy: memory, handles, and what is longer than a line.
//
// Memory is an arena. It begins in static memory, so that an ordinary call in a fresh instance never grows memory (which
// costs two system calls), and goes on in blocks from malloc. `handfast__begin` takes back all that was given out since
// `configure` ended; nothing is ever given back on its own. A call that reads much therefore holds it all until it ends,
// which the gateway's bounds on every input keep below a few hundred KiB.

#include "handfast.h"

#include <stdarg.h>
#include <stdlib.h>

#define FIRST_BYTES (16u << 10)
#define BLOCK_BYTES (64u << 10)

// A block of the arena.
typedef struct block {
    struct block *before;
    uint8_t *bytes;
    size_t used;
    size_t size;
} block;

// Apart from its block, since it is zeros, which then take no room in the component.
static uint8_t first_bytes[FIRST_BYTES] __attribute__((__aligned__(16)));
static block first = {.bytes = first_bytes, .size = FIRST_BYTES};

static block *current = &first;

// Where `handfast__begin` goes back to.
static block *kept_block = &first;
static size_t kept_used = 0;

// Certificates that were looked up, for `handfast__end` to give back.
typedef struct owned {
    struct owned *before;
    const int32_t *handles;
    size_t length;
    void (*drop)(int32_t);
} owned;

static owned *owns = NULL;

static void *allocate(size_t size, size_t align) {
    size_t begin = (current->used + align - 1) & ~(align - 1);
    if (begin > current->size || current->size - begin < size) {
        size_t bytes = size > BLOCK_BYTES ? size : BLOCK_BYTES;
        if (size > SIZE_MAX - sizeof(block)) __builtin_trap();
        _Static_assert(sizeof(block) % 16 == 0, "the bytes behind a block are aligned");
        block *next = malloc(sizeof(block) + bytes);
        if (next == NULL) __builtin_trap();
        *next = (block){.before = current, .bytes = (uint8_t *)(next + 1), .size = bytes};
        current = next;
        begin = 0;
    }
    current->used = begin + size;
    return current->bytes + begin;
}

void *handfast_allocate(size_t size) {
    return allocate(size, 16);
}

// Called by the gateway to place what it returns. It never makes a block larger.
HANDFAST__EXPORT("cabi_realloc")
void *handfast__realloc(void *old, size_t old_size, size_t align, size_t size) {
    if (size == 0) return (void *)align;
    void *place = allocate(size, align);
    if (old_size > 0) memcpy(place, old, old_size < size ? old_size : size);
    return place;
}

void handfast__begin(void) {
    while (current != kept_block) {
        block *before = current->before;
        free(current);
        current = before;
    }
    current->used = kept_used;
}

void handfast__keep(void) {
    kept_block = current;
    kept_used = current->used;
}

void handfast__end(void) {
    for (; owns != NULL; owns = owns->before) {
        for (size_t at = 0; at < owns->length; at++) owns->drop(owns->handles[at]);
    }
}

static void own(const int32_t *handles, size_t length, void (*drop)(int32_t)) {
    if (length == 0) return;
    owned *entry = allocate(sizeof(owned), sizeof(void *));
    *entry = (owned){.before = owns, .handles = handles, .length = length, .drop = drop};
    owns = entry;
}

static void own_one(int32_t handle, void (*drop)(int32_t)) {
    int32_t *place = allocate(sizeof(int32_t), sizeof(int32_t));
    *place = handle;
    own(place, 1, drop);
}

static void drop_certificate(int32_t handle) {
    handfast__drop_certificate((handfast_certificate){handle});
}

HANDFAST__IMPORT("types", "[resource-drop]peer-certificate") extern void drop_peer_import(int32_t);
static void drop_peer_certificate(int32_t handle) {
    drop_peer_import(handle);
}

static size_t put_number(char *to, uint64_t number, unsigned base, bool negative) {
    char digits[20];
    size_t count = 0, length = 0;
    do {
        digits[count++] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number > 0);
    if (negative) to[length++] = '-';
    while (count > 0) to[length++] = digits[--count];
    return length;
}

// Twice over the same arguments: to measure (`to` is null), then to write.
static size_t format_to(char *to, const char *format, va_list arguments) {
    size_t length = 0;
    for (const char *at = format; *at != 0; at++) {
        char number[21];
        const char *piece = at;
        size_t size = 1;
        if (*at == '%') {
            at++;
            size_t precision = SIZE_MAX;
            if (at[0] == '.' && at[1] == '*') {
                precision = (size_t)va_arg(arguments, int);
                at += 2;
            }
            bool wide = at[0] == 'l' && at[1] == 'l';
            if (wide) at += 2;
            piece = number;
            switch (*at) {
            case 's':
                piece = va_arg(arguments, const char *);
                size = precision == SIZE_MAX ? strlen(piece) : precision;
                break;
            case 'c':
                number[0] = (char)va_arg(arguments, int);
                size = 1;
                break;
            case 'd': {
                int64_t value = wide ? va_arg(arguments, long long) : va_arg(arguments, int);
                size = put_number(number, value < 0 ? -(uint64_t)value : (uint64_t)value, 10, value < 0);
                break;
            }
            case 'u':
            case 'x': {
                uint64_t value = wide ? va_arg(arguments, unsigned long long) : va_arg(arguments, unsigned);
                size = put_number(number, value, *at == 'x' ? 16 : 10, false);
                break;
            }
            default:
                // `%%`, and what is not known.
                piece = at;
                size = 1;
                if (*at == 0) return length;
            }
        }
        if (to != NULL) memcpy(to + length, piece, size);
        length += size;
    }
    return length;
}

handfast_text handfast_format(const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    size_t length = format_to(NULL, format, arguments);
    va_end(arguments);
    char *place = allocate(length, 1);
    format_to(place, format, again);
    va_end(again);
    return (handfast_text){place, length};
}

handfast_text handfast_ip_text(handfast_ip ip) {
    if (ip.family == HANDFAST_IPV4) {
        return handfast_format("%u.%u.%u.%u", ip.ipv4[0], ip.ipv4[1], ip.ipv4[2], ip.ipv4[3]);
    }
    const uint16_t *group = ip.ipv6;
    return handfast_format(
        "%x:%x:%x:%x:%x:%x:%x:%x", group[0], group[1], group[2], group[3], group[4], group[5], group[6], group[7]
    );
}

// Answers

static handfast_alert alert_of(uint8_t number) {
    static const uint8_t known[] = {10, 40, 42, 43, 44, 45, 46,  47,  48,  49,  50,  51,
                                    70, 71, 80, 86, 90, 109, 110, 112, 113, 115, 116, 120};
    for (uint8_t which = 0; which < sizeof(known); which++) {
        if (known[which] == number) return (handfast_alert){which, 0};
    }
    return (handfast_alert){sizeof(known), number};
}

handfast_decision handfast_pass(void) {
    return (handfast_decision){.verdict = HANDFAST_VERDICT_PASS};
}

handfast_decision handfast_answer_with_id(handfast_text id) {
    return (handfast_decision){.verdict = HANDFAST_VERDICT_CERTIFICATE, .text = id};
}

handfast_decision handfast_answer_with(handfast_certificate certificate) {
    return handfast_answer_with_id(handfast_id(certificate));
}

handfast_decision handfast_reject(uint8_t alert) {
    return (handfast_decision){.verdict = HANDFAST_VERDICT_REJECT, .alert = alert_of(alert)};
}

handfast_decision handfast_drop(void) {
    return (handfast_decision){.verdict = HANDFAST_VERDICT_DROP};
}

handfast_decision handfast_passthrough(handfast_text upstream) {
    return (handfast_decision){.verdict = HANDFAST_VERDICT_PASSTHROUGH, .text = upstream};
}

handfast_decision handfast_because(handfast_decision decision, handfast_text reason) {
    decision.reason = (handfast_optional_text){true, reason};
    return decision;
}

handfast_validation handfast_accept(const handfast_attribute *attributes, size_t length) {
    handfast_validation accepted = {.rejected = false};
    accepted.attributes.items = attributes;
    accepted.attributes.length = length;
    return accepted;
}

handfast_validation handfast_refuse_client(uint8_t alert, handfast_text reason) {
    handfast_validation refused = {.rejected = true};
    refused.rejection.alert = alert_of(alert);
    refused.rejection.reason = (handfast_optional_text){reason.data != NULL, reason};
    return refused;
}

// What is looked up

HANDFAST__IMPORT("types", "[method]peer-chain.certificate")
extern void chain_certificate(handfast_peer_chain, uint32_t, handfast_optional_peer_certificate *);
HANDFAST__IMPORT("certificates", "find")
extern void certificates_find(const char *, size_t, handfast_certificates *);
HANDFAST__IMPORT("certificates", "by-id")
extern void certificates_by_id(const char *, size_t, handfast_optional_certificate *);
HANDFAST__IMPORT("certificates", "tagged")
extern void certificates_tagged(const char *, size_t, const char *, size_t, handfast_certificates *);
HANDFAST__IMPORT("certificates", "fallback") extern void certificates_fallback(handfast_optional_certificate *);

handfast_optional_peer_certificate handfast_chain_certificate(handfast_peer_chain chain, uint32_t index) {
    handfast_optional_peer_certificate found;
    chain_certificate(chain, index, &found);
    if (found.present) own_one(found.certificate.handle, drop_peer_certificate);
    return found;
}

handfast_certificates handfast_find(handfast_text name) {
    handfast_certificates found;
    certificates_find(name.data, name.length, &found);
    own((const int32_t *)found.items, found.length, drop_certificate);
    return found;
}

handfast_optional_certificate handfast_by_id(handfast_text id) {
    handfast_optional_certificate found;
    certificates_by_id(id.data, id.length, &found);
    if (found.present) own_one(found.certificate.handle, drop_certificate);
    return found;
}

handfast_certificates handfast_tagged(handfast_text key, handfast_text value) {
    handfast_certificates found;
    certificates_tagged(key.data, key.length, value.data, value.length, &found);
    own((const int32_t *)found.items, found.length, drop_certificate);
    return found;
}

handfast_optional_certificate handfast_fallback(void) {
    handfast_optional_certificate found;
    certificates_fallback(&found);
    if (found.present) own_one(found.certificate.handle, drop_certificate);
    return found;
}

// The store

HANDFAST__IMPORT("key-value", "get") extern void store_get(const char *, size_t, handfast_optional_bytes *);
HANDFAST__IMPORT("key-value", "set")
extern void store_set(const char *, size_t, const uint8_t *, size_t, uint64_t, handfast_stored *);
HANDFAST__IMPORT("key-value", "delete") extern void store_delete(const char *, size_t);
HANDFAST__IMPORT("key-value", "increment")
extern void store_increment(const char *, size_t, int64_t, uint64_t, handfast_sum *);
HANDFAST__IMPORT("key-value", "compare-and-set")
extern void store_compare_and_set(
    const char *, size_t, int32_t, const uint8_t *, size_t, const uint8_t *, size_t, uint64_t, handfast_replaced *
);

handfast_optional_bytes handfast_get(handfast_text key) {
    handfast_optional_bytes found;
    store_get(key.data, key.length, &found);
    return found;
}

handfast_stored handfast_set(handfast_text key, handfast_bytes value, uint64_t time_to_live) {
    handfast_stored stored;
    store_set(key.data, key.length, value.data, value.length, time_to_live, &stored);
    return stored;
}

void handfast_delete(handfast_text key) {
    store_delete(key.data, key.length);
}

handfast_sum handfast_increment(handfast_text key, int64_t delta, uint64_t time_to_live) {
    handfast_sum sum;
    store_increment(key.data, key.length, delta, time_to_live, &sum);
    return sum;
}

handfast_replaced handfast_compare_and_set(
    handfast_text key, handfast_optional_bytes expected, handfast_bytes value, uint64_t time_to_live
) {
    handfast_replaced replaced;
    store_compare_and_set(
        key.data, key.length, expected.present, expected.bytes.data, expected.bytes.length, value.data, value.length,
        time_to_live, &replaced
    );
    return replaced;
}
