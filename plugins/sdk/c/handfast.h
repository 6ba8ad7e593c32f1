// Write Handfast policies in C.
//
// A policy is a WebAssembly component that the gateway asks about TLS handshakes. With this header it is a C file that
// defines one or more hooks:
//
//     #include <handfast.h>
//
//     HANDFAST_SELECT(connection, hello) {
//         handfast_optional_text name = handfast_server_name(hello);
//         if (!name.present) return handfast_pass();
//         return handfast_because(handfast_reject(HANDFAST_ACCESS_DENIED), HANDFAST_TEXT("nobody gets in"));
//     }
//
// The hooks that a file defines are those that the component exports. README.md says how to compile it.
//
// Why there are no generated bindings: the types below are laid out as the component model's canonical ABI lays out the
// types of wit/v1/policy.wit in 32-bit memory, so the gateway's functions are called directly and what they return is
// used as it lies there. What keeps that honest: the assertions at the end of this file, the encoder, which compares the
// type of every import and export with the interface, and the conformance cases in tests/conformance, which read
// every getter.
//
// Memory: whatever a function here returns lives until the hook returns, what `configure` was given and made lives as
// long as the instance. Nothing is freed by hand, handles neither. `handfast_allocate` gives memory of the same kind.

#ifndef HANDFAST_H
#define HANDFAST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

// Values

// UTF-8, not terminated by a zero.
typedef struct {
    const char *data;
    size_t length;
} handfast_text;

typedef struct {
    bool present;
    handfast_text text;
} handfast_optional_text;

typedef struct {
    const handfast_text *items;
    size_t length;
} handfast_texts;

typedef struct {
    const uint8_t *data;
    size_t length;
} handfast_bytes;

typedef struct {
    const handfast_bytes *items;
    size_t length;
} handfast_byte_strings;

// Code points of the TLS registries, in wire order, GREASE (RFC 8701) included.
typedef struct {
    const uint16_t *items;
    size_t length;
} handfast_numbers;

typedef struct {
    uint8_t type;
    handfast_bytes value;
} handfast_tlv;

typedef struct {
    const handfast_tlv *items;
    size_t length;
} handfast_tlvs;

typedef struct {
    handfast_text key;
    handfast_text value;
} handfast_tag;

typedef struct {
    const handfast_tag *items;
    size_t length;
} handfast_tag_list;

typedef enum { HANDFAST_IPV4 = 0, HANDFAST_IPV6 = 1 } handfast_family;

typedef struct {
    // A `handfast_family`.
    uint8_t family;
    union {
        uint8_t ipv4[4];
        // Eight groups of 16 bits, most significant first.
        uint16_t ipv6[8];
    };
} handfast_ip;

typedef struct {
    handfast_ip ip;
    uint16_t port;
} handfast_address;

typedef struct {
    // Seconds since 1970-01-01T00:00:00Z.
    int64_t seconds;
    uint32_t nanoseconds;
} handfast_time;

// A literal as a text: HANDFAST_TEXT("shop.example").
#define HANDFAST_TEXT(literal) ((handfast_text){("" literal), sizeof(literal) - 1})

// A zero-terminated string as a text.
static inline handfast_text handfast_string(const char *string) {
    return (handfast_text){string, strlen(string)};
}

static inline bool handfast_equal(handfast_text one, handfast_text other) {
    return one.length == other.length && memcmp(one.data, other.data, one.length) == 0;
}

static inline bool handfast_ends_with(handfast_text text, handfast_text end) {
    return text.length >= end.length
        && memcmp(text.data + (text.length - end.length), end.data, end.length) == 0;
}

// As `printf`, of which it knows %s, %.*s, %c, %d, %u, %x, %lld, %llu, %llx and %%: libc's own takes 36 KB. A text is printed
// by "%.*s" and HANDFAST_PRINT(text).
handfast_text handfast_format(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));
#define HANDFAST_PRINT(text) (int)(text).length, (text).data

// "192.0.2.1" or "2001:db8:0:0:0:0:0:1".
handfast_text handfast_ip_text(handfast_ip ip);

// Aligned for everything; traps where memory is at its end.
void *handfast_allocate(size_t size);

// Alerts: the TLS registry's numbers (RFC 8446 section 6), as `handfast_reject` takes them. Others are allowed, but not 0.

enum {
    HANDFAST_UNEXPECTED_MESSAGE = 10,
    HANDFAST_HANDSHAKE_FAILURE = 40,
    HANDFAST_BAD_CERTIFICATE = 42,
    HANDFAST_UNSUPPORTED_CERTIFICATE = 43,
    HANDFAST_CERTIFICATE_REVOKED = 44,
    HANDFAST_CERTIFICATE_EXPIRED = 45,
    HANDFAST_CERTIFICATE_UNKNOWN = 46,
    HANDFAST_ILLEGAL_PARAMETER = 47,
    HANDFAST_UNKNOWN_CA = 48,
    HANDFAST_ACCESS_DENIED = 49,
    HANDFAST_DECODE_ERROR = 50,
    HANDFAST_DECRYPT_ERROR = 51,
    HANDFAST_PROTOCOL_VERSION = 70,
    HANDFAST_INSUFFICIENT_SECURITY = 71,
    HANDFAST_INTERNAL_ERROR = 80,
    HANDFAST_INAPPROPRIATE_FALLBACK = 86,
    HANDFAST_USER_CANCELED = 90,
    HANDFAST_MISSING_EXTENSION = 109,
    HANDFAST_UNSUPPORTED_EXTENSION = 110,
    HANDFAST_UNRECOGNIZED_NAME = 112,
    HANDFAST_BAD_CERTIFICATE_STATUS_RESPONSE = 113,
    HANDFAST_UNKNOWN_PSK_IDENTITY = 115,
    HANDFAST_CERTIFICATE_REQUIRED = 116,
    HANDFAST_NO_APPLICATION_PROTOCOL = 120,
};

// In the interface an alert is a variant: the cases are the numbers above in their order, and 24 is any other number.
typedef struct {
    uint8_t which;
    uint8_t other;
} handfast_alert;

// What a policy looks at. Borrowed for the length of the call, but for certificates that were looked up, which are
// given back when the hook returns.

typedef struct {
    int32_t handle;
} handfast_connection;

typedef struct {
    int32_t handle;
} handfast_client_hello;

typedef struct {
    int32_t handle;
} handfast_certificate;

typedef struct {
    int32_t handle;
} handfast_peer_certificate;

typedef struct {
    int32_t handle;
} handfast_peer_chain;

typedef struct {
    bool present;
    handfast_certificate certificate;
} handfast_optional_certificate;

typedef struct {
    const handfast_certificate *items;
    size_t length;
} handfast_certificates;

typedef struct {
    bool present;
    handfast_peer_certificate certificate;
} handfast_optional_peer_certificate;

typedef enum {
    HANDFAST_RSA,
    HANDFAST_ECDSA_P256,
    HANDFAST_ECDSA_P384,
    HANDFAST_ECDSA_P521,
    HANDFAST_ED25519,
    HANDFAST_OTHER_KEY,
} handfast_key_algorithm;

// Answers

typedef enum {
    HANDFAST_VERDICT_PASS,
    HANDFAST_VERDICT_CERTIFICATE,
    HANDFAST_VERDICT_REJECT,
    HANDFAST_VERDICT_DROP,
    HANDFAST_VERDICT_PASSTHROUGH,
} handfast_verdict;

// What `select` returns. Made by the functions below.
typedef struct {
    // A `handfast_verdict`.
    uint8_t verdict;
    union {
        handfast_text text;
        handfast_alert alert;
    };
    handfast_optional_text reason;
} handfast_decision;

// No opinion: the next policy decides.
handfast_decision handfast_pass(void);
// Answer with this certificate, by its id or by itself.
handfast_decision handfast_answer_with_id(handfast_text id);
handfast_decision handfast_answer_with(handfast_certificate certificate);
// End the handshake with this alert: a number of the list above, or another.
handfast_decision handfast_reject(uint8_t alert);
// Close the connection without an answer.
handfast_decision handfast_drop(void);
// Do not terminate TLS: relay the bytes to the upstream of this name.
handfast_decision handfast_passthrough(handfast_text upstream);
// Adds the reason, for the decision log. At most 256 bytes are kept.
handfast_decision handfast_because(handfast_decision decision, handfast_text reason);

// A fact about the client: the upstream gets it as the request header `x-client-<name>`.
typedef struct {
    handfast_text name;
    handfast_text value;
} handfast_attribute;

// What `validate` returns. Made by the functions below.
typedef struct {
    bool rejected;
    union {
        struct {
            const handfast_attribute *items;
            size_t length;
        } attributes;
        struct {
            handfast_alert alert;
            handfast_optional_text reason;
        } rejection;
    };
} handfast_validation;

// At most 32 attributes. They are not copied: not of the hook's own stack.
handfast_validation handfast_accept(const handfast_attribute *attributes, size_t length);
// A reason without data is none.
handfast_validation handfast_refuse_client(uint8_t alert, handfast_text reason);

// What `admit` and `configure` return.
typedef struct {
    bool failed;
    handfast_text reason;
} handfast_result;

static inline handfast_result handfast_good(void) {
    return (handfast_result){.failed = false};
}

static inline handfast_result handfast_failed(handfast_text reason) {
    return (handfast_result){.failed = true, .reason = reason};
}

// Hooks. Each is the head of a function: HANDFAST_ADMIT(certificate) { return handfast_good(); }

// -> handfast_decision. Called on every ClientHello, resumed handshakes included.
#define HANDFAST_SELECT(connection, hello)                                                                        \
    static handfast_decision handfast__select(handfast_connection, handfast_client_hello);                        \
    HANDFAST__EXPORT("handfast:policy/select@1.0.0#select")                                                       \
    const handfast_decision *handfast__export_select(handfast_connection c, handfast_client_hello h) {            \
        static handfast_decision answer;                                                                          \
        handfast__begin();                                                                                        \
        answer = handfast__select(c, h);                                                                          \
        handfast__end();                                                                                          \
        handfast__drop_connection(c);                                                                             \
        handfast__drop_client_hello(h);                                                                           \
        return &answer;                                                                                           \
    }                                                                                                             \
    static handfast_decision handfast__select(handfast_connection connection, handfast_client_hello hello)

// -> handfast_validation. Called once the gateway has verified the client's chain.
#define HANDFAST_VALIDATE(connection, hello, chain)                                                               \
    static handfast_validation handfast__validate(                                                                \
        handfast_connection, handfast_client_hello, handfast_peer_chain                                           \
    );                                                                                                            \
    HANDFAST__EXPORT("handfast:policy/validate@1.0.0#validate")                                                   \
    const handfast_validation *handfast__export_validate(                                                         \
        handfast_connection c, handfast_client_hello h, handfast_peer_chain p                                     \
    ) {                                                                                                           \
        static handfast_validation answer;                                                                        \
        handfast__begin();                                                                                        \
        answer = handfast__validate(c, h, p);                                                                     \
        handfast__end();                                                                                          \
        handfast__drop_connection(c);                                                                             \
        handfast__drop_client_hello(h);                                                                           \
        handfast__drop_peer_chain(p);                                                                             \
        return &answer;                                                                                           \
    }                                                                                                             \
    static handfast_validation handfast__validate(                                                                \
        handfast_connection connection, handfast_client_hello hello, handfast_peer_chain chain                    \
    )

// -> handfast_result. Called before a certificate goes live; the reason of a failure is for the operator.
#define HANDFAST_ADMIT(certificate)                                                                               \
    static handfast_result handfast__admit(handfast_certificate);                                                 \
    HANDFAST__EXPORT("handfast:policy/admit@1.0.0#admit")                                                         \
    const handfast_result *handfast__export_admit(handfast_certificate c) {                                       \
        static handfast_result answer;                                                                            \
        handfast__begin();                                                                                        \
        answer = handfast__admit(c);                                                                              \
        handfast__end();                                                                                          \
        handfast__drop_certificate(c);                                                                            \
        return &answer;                                                                                           \
    }                                                                                                             \
    static handfast_result handfast__admit(handfast_certificate certificate)

// -> handfast_result. Called before any hook of an instance, with the policy's `config` table as JSON text.
#define HANDFAST_CONFIGURE(config)                                                                                \
    static handfast_result handfast__configure(handfast_text);                                                    \
    HANDFAST__EXPORT("handfast:policy/configure@1.0.0#configure")                                                 \
    const handfast_result *handfast__export_configure(const char *data, size_t length) {                          \
        static handfast_result answer;                                                                            \
        answer = handfast__configure((handfast_text){data, length});                                              \
        handfast__keep();                                                                                         \
        return &answer;                                                                                           \
    }                                                                                                             \
    static handfast_result handfast__configure(handfast_text config)

// Getters, as wit/v1/policy.wit documents them

#define HANDFAST__EXPORT(name) __attribute__((__export_name__(name)))
#define HANDFAST__IMPORT(interface, function)                                                                     \
    __attribute__((__import_module__("handfast:policy/" interface "@1.0.0"), __import_name__(function)))
#define HANDFAST__GETTER(type, name, resource, method)                                                            \
    HANDFAST__IMPORT("types", "[method]" method) extern void handfast__##name(handfast_##resource, type *);       \
    static inline type handfast_##name(handfast_##resource self) {                                                \
        type value;                                                                                               \
        handfast__##name(self, &value);                                                                           \
        return value;                                                                                             \
    }

HANDFAST__GETTER(handfast_text, listener, connection, "connection.listener")
HANDFAST__GETTER(handfast_address, client_address, connection, "connection.client-address")
HANDFAST__GETTER(handfast_address, server_address, connection, "connection.server-address")
HANDFAST__IMPORT("types", "[method]connection.proxied") extern bool handfast_proxied(handfast_connection);
HANDFAST__GETTER(handfast_tlvs, proxy_tlvs, connection, "connection.proxy-tlvs")

HANDFAST__GETTER(handfast_optional_text, server_name, client_hello, "client-hello.server-name")
HANDFAST__GETTER(handfast_byte_strings, alpn, client_hello, "client-hello.alpn")
HANDFAST__GETTER(handfast_numbers, protocol_versions, client_hello, "client-hello.protocol-versions")
HANDFAST__GETTER(handfast_numbers, cipher_suites, client_hello, "client-hello.cipher-suites")
HANDFAST__GETTER(handfast_numbers, signature_schemes, client_hello, "client-hello.signature-schemes")
HANDFAST__GETTER(handfast_numbers, named_groups, client_hello, "client-hello.named-groups")
HANDFAST__GETTER(handfast_numbers, extensions, client_hello, "client-hello.extensions")
HANDFAST__GETTER(handfast_text, ja3, client_hello, "client-hello.ja3")
HANDFAST__GETTER(handfast_text, ja4, client_hello, "client-hello.ja4")
HANDFAST__GETTER(handfast_bytes, raw, client_hello, "client-hello.raw")
HANDFAST__IMPORT("types", "[method]client-hello.offers-resumption")
extern bool handfast_offers_resumption(handfast_client_hello);

HANDFAST__GETTER(handfast_text, id, certificate, "certificate.id")
HANDFAST__GETTER(handfast_texts, names, certificate, "certificate.names")
HANDFAST__IMPORT("types", "[method]certificate.key-algorithm")
extern handfast_key_algorithm handfast_certificate_key_algorithm(handfast_certificate);
HANDFAST__IMPORT("types", "[method]certificate.key-bits") extern uint32_t handfast_key_bits(handfast_certificate);
HANDFAST__IMPORT("types", "[method]certificate.not-before") extern int64_t handfast_not_before(handfast_certificate);
HANDFAST__IMPORT("types", "[method]certificate.not-after") extern int64_t handfast_not_after(handfast_certificate);
HANDFAST__GETTER(handfast_text, issuer, certificate, "certificate.issuer")
HANDFAST__GETTER(handfast_text, serial, certificate, "certificate.serial")
HANDFAST__GETTER(handfast_text, fingerprint, certificate, "certificate.fingerprint")
HANDFAST__GETTER(handfast_bytes, der, certificate, "certificate.der")
HANDFAST__GETTER(handfast_tag_list, tags, certificate, "certificate.tags")
HANDFAST__IMPORT("types", "[method]certificate.tag")
extern void handfast__tag(handfast_certificate, const char *, size_t, handfast_optional_text *);
static inline handfast_optional_text handfast_tag_of(handfast_certificate self, handfast_text key) {
    handfast_optional_text value;
    handfast__tag(self, key.data, key.length, &value);
    return value;
}
// Whether the client can verify it (RFC 8446 section 4.2.3) and it is valid now.
HANDFAST__IMPORT("types", "[method]certificate.usable-by")
extern bool handfast_usable_by(handfast_certificate, handfast_client_hello);

HANDFAST__GETTER(handfast_text, peer_subject, peer_certificate, "peer-certificate.subject")
HANDFAST__GETTER(handfast_text, peer_issuer, peer_certificate, "peer-certificate.issuer")
HANDFAST__GETTER(handfast_text, peer_serial, peer_certificate, "peer-certificate.serial")
HANDFAST__GETTER(handfast_text, peer_fingerprint, peer_certificate, "peer-certificate.fingerprint")
HANDFAST__IMPORT("types", "[method]peer-certificate.not-before")
extern int64_t handfast_peer_not_before(handfast_peer_certificate);
HANDFAST__IMPORT("types", "[method]peer-certificate.not-after")
extern int64_t handfast_peer_not_after(handfast_peer_certificate);
HANDFAST__GETTER(handfast_texts, peer_dns_names, peer_certificate, "peer-certificate.dns-names")
HANDFAST__GETTER(handfast_texts, peer_uris, peer_certificate, "peer-certificate.uris")
HANDFAST__GETTER(handfast_texts, peer_email_addresses, peer_certificate, "peer-certificate.email-addresses")
HANDFAST__GETTER(handfast_texts, peer_organizational_units, peer_certificate, "peer-certificate.organizational-units")
HANDFAST__GETTER(handfast_optional_text, peer_common_name, peer_certificate, "peer-certificate.common-name")
HANDFAST__GETTER(handfast_bytes, peer_der, peer_certificate, "peer-certificate.der")

HANDFAST__IMPORT("types", "[method]peer-chain.length") extern uint32_t handfast_chain_length(handfast_peer_chain);
// The certificate at a position; 0 is the leaf.
handfast_optional_peer_certificate handfast_chain_certificate(handfast_peer_chain chain, uint32_t index);

// Log: lines in the gateway's log, under the policy's name. At most 1,024 bytes of a message, at most 16 a call.

typedef enum {
    HANDFAST_TRACE,
    HANDFAST_DEBUG,
    HANDFAST_INFO,
    HANDFAST_WARN,
    HANDFAST_ERROR,
} handfast_level;

HANDFAST__IMPORT("log", "write") extern void handfast__log(int32_t, const char *, size_t);
static inline void handfast_log(handfast_level level, handfast_text message) {
    handfast__log(level, message.data, message.length);
}

// Certificates of the gateway; at most 64 in a list. Not within `configure`.

// Those for a DNS name: exact names before wildcards.
handfast_certificates handfast_find(handfast_text name);
handfast_optional_certificate handfast_by_id(handfast_text id);
// Those with this tag, ordered by id.
handfast_certificates handfast_tagged(handfast_text key, handfast_text value);
// The listener's default, for clients without a server name or with an unknown one.
handfast_optional_certificate handfast_fallback(void);

// Clock and randomness

HANDFAST__IMPORT("clock", "now") extern void handfast__now(handfast_time *);
static inline handfast_time handfast_now(void) {
    handfast_time now;
    handfast__now(&now);
    return now;
}
// Nanoseconds since some moment in the life of the gateway. Never goes backwards.
HANDFAST__IMPORT("clock", "monotonic") extern uint64_t handfast_monotonic(void);

HANDFAST__IMPORT("random", "bytes") extern void handfast__random_bytes(uint32_t, handfast_bytes *);
// At most 4,096.
static inline handfast_bytes handfast_random_bytes(uint32_t length) {
    handfast_bytes bytes;
    handfast__random_bytes(length, &bytes);
    return bytes;
}
HANDFAST__IMPORT("random", "unsigned") extern uint64_t handfast_random_unsigned(void);

// Metrics. Using it needs `grants = ["counter"]` in the policy's configuration.

HANDFAST__IMPORT("counter", "add") extern void handfast__count(const char *, size_t, uint64_t);
static inline void handfast_count(handfast_text name, uint64_t delta) {
    handfast__count(name.data, name.length, delta);
}

// A store shared by all instances of one policy. Using it needs `grants = ["key-value"]`. Keys of at most 256 bytes, values
// of at most 64 KiB, times to live in milliseconds, at most 30 days.

typedef enum { HANDFAST_TOO_LARGE, HANDFAST_NOT_A_NUMBER } handfast_key_value_error;

typedef struct {
    bool present;
    handfast_bytes bytes;
} handfast_optional_bytes;

typedef struct {
    bool failed;
    // A `handfast_key_value_error`.
    uint8_t error;
} handfast_stored;

typedef struct {
    bool failed;
    union {
        int64_t value;
        // A `handfast_key_value_error`.
        uint8_t error;
    };
} handfast_sum;

typedef struct {
    bool failed;
    union {
        bool replaced;
        // A `handfast_key_value_error`.
        uint8_t error;
    };
} handfast_replaced;

handfast_optional_bytes handfast_get(handfast_text key);
handfast_stored handfast_set(handfast_text key, handfast_bytes value, uint64_t time_to_live);
void handfast_delete(handfast_text key);
// Adds to an integer that starts at 0. Its time to live counts from the first increment.
handfast_sum handfast_increment(handfast_text key, int64_t delta, uint64_t time_to_live);
// Replaces the value if it is still the expected one, or still absent.
handfast_replaced handfast_compare_and_set(
    handfast_text key, handfast_optional_bytes expected, handfast_bytes value, uint64_t time_to_live
);

// For the macros above

void handfast__begin(void);
void handfast__end(void);
void handfast__keep(void);
HANDFAST__IMPORT("types", "[resource-drop]connection") extern void handfast__drop_connection(handfast_connection);
HANDFAST__IMPORT("types", "[resource-drop]client-hello")
extern void handfast__drop_client_hello(handfast_client_hello);
HANDFAST__IMPORT("types", "[resource-drop]certificate") extern void handfast__drop_certificate(handfast_certificate);
HANDFAST__IMPORT("types", "[resource-drop]peer-chain") extern void handfast__drop_peer_chain(handfast_peer_chain);

// Layouts by the canonical ABI, in 32-bit memory.
_Static_assert(sizeof(void *) == 4, "a policy is compiled for wasm32");
_Static_assert(sizeof(handfast_optional_text) == 12 && offsetof(handfast_optional_text, text) == 4, "option<string>");
_Static_assert(sizeof(handfast_ip) == 18 && offsetof(handfast_ip, ipv6) == 2, "ip-address");
_Static_assert(sizeof(handfast_address) == 20 && offsetof(handfast_address, port) == 18, "socket-address");
_Static_assert(sizeof(handfast_tlv) == 12 && sizeof(handfast_tag) == 16, "tuples");
_Static_assert(sizeof(handfast_decision) == 24 && offsetof(handfast_decision, reason) == 12, "decision");
_Static_assert(sizeof(handfast_validation) == 20 && offsetof(handfast_validation, rejection) == 4, "validate's result");
_Static_assert(offsetof(handfast_validation, rejection.reason) == 8, "rejection");
_Static_assert(sizeof(handfast_result) == 12 && sizeof(handfast_time) == 16, "result<_, string>");
_Static_assert(offsetof(handfast_sum, value) == 8 && offsetof(handfast_replaced, replaced) == 1, "key-value's results");

#ifdef __cplusplus
}
#endif

#endif
