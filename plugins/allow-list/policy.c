// A first-party policy: clients come in by the name they ask for, the network they come from and the software they are.
//
//     config = { allow = { networks = ["192.0.2.0/24"] }, deny = { ja4 = ["t12"] }, only-for = ["admin.example"] }
//
// Whom `deny` has in any of its lists is refused. Of whom `allow` has lists for, each list must have it. Whoever is left
// is passed on to the next policy, which chooses the certificate: this one only keeps out.
//
// Fail closed: a client without a server name may be given the default certificate and ask for any host that this has,
// so `only-for` does not spare it, and no list of names in `allow` has it.
//
// Lists are gone through from their beginning: `configure` runs in every fresh instance, and to sort a list that is
// looked at once costs more than to look. A policy with thousands of entries wants `instances = "reuse"`.

#include <ctype.h>
#include <string.h>

#include <handfast.h>
#include <handfast_json.h>

#include "network.h"

typedef struct {
    bool present;
    const handfast_text *items;
    size_t length;
} text_list;

typedef struct {
    bool present;
    const network *items;
    size_t length;
} network_list;

typedef struct {
    bool present;
    text_list names;
    network_list networks;
    text_list ja4;
} rules;

static struct {
    rules allow;
    rules deny;
    text_list only_for;
    // 0: the connection is closed without an alert.
    uint8_t alert;
} settings;

static const struct {
    const char *name;
    uint8_t number;
} alerts[] = {
    {"none", 0},
    {"access-denied", HANDFAST_ACCESS_DENIED},
    {"unrecognized-name", HANDFAST_UNRECOGNIZED_NAME},
    {"handshake-failure", HANDFAST_HANDSHAKE_FAILURE},
    {"internal-error", HANDFAST_INTERNAL_ERROR},
    {"user-canceled", HANDFAST_USER_CANCELED},
    {"bad-certificate", HANDFAST_BAD_CERTIFICATE},
    {"certificate-unknown", HANDFAST_CERTIFICATE_UNKNOWN},
    {"unknown-ca", HANDFAST_UNKNOWN_CA},
    {"insufficient-security", HANDFAST_INSUFFICIENT_SECURITY},
    {"protocol-version", HANDFAST_PROTOCOL_VERSION},
};

// Settings. Each reader answers with NULL, or with what is wrong, as words that follow the key.

static const char *no_name(handfast_text text) {
    if (text.length > 3 && memcmp(text.data, "**.", 3) == 0) {
        text = (handfast_text){text.data + 3, text.length - 3};
    } else if (text.length > 2 && memcmp(text.data, "*.", 2) == 0) {
        text = (handfast_text){text.data + 2, text.length - 2};
    }
    size_t label = 0;
    for (size_t at = 0; at < text.length; at++) {
        char character = text.data[at];
        if ((unsigned char)character >= 0x80) return "is not in ASCII: write its A-labels, as in xn--bcher-kva.example";
        bool in_label = (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z')
                     || (character >= '0' && character <= '9') || character == '-' || character == '_';
        label = in_label ? label + 1 : 0;
        // RFC 1035 section 2.3.4
        if (label > 63 || (!in_label && (character != '.' || at == 0 || text.data[at - 1] == '.'))) {
            return "is no name: write shop.example, *.shop.example, or **.shop.example for all below it";
        }
    }
    if (label == 0 || text.length > 253) {
        return "is no name: write shop.example, *.shop.example, or **.shop.example for all below it";
    }
    return NULL;
}

// What stands at each place of a JA4 fingerprint: the protocol, the version, whether there is a server name, two numbers, the
// ALPN's first and last character, two truncated hashes.
static const char ja4_shape[] = "pvvsnnnnaa_hhhhhhhhhhhh_hhhhhhhhhhhh";

static bool is_one_of(char character, const char *characters) {
    return character != 0 && strchr(characters, character) != NULL;
}

static bool fits_ja4(char character, char place) {
    switch (place) {
    case 'p': return is_one_of(character, "tqd");
    case 'v': return is_one_of(character, "0123sd");
    case 's': return is_one_of(character, "di");
    case 'n': return is_one_of(character, "0123456789");
    case 'a': return isalnum((unsigned char)character) != 0;
    case 'h': return is_one_of(character, "0123456789abcdef");
    default: return character == place;
    }
}

static const char *no_ja4(handfast_text text) {
    bool good = text.length > 0 && text.length < sizeof ja4_shape;
    for (size_t at = 0; good && at < text.length; at++) good = fits_ja4(text.data[at], ja4_shape[at]);
    return good ? NULL : "is no JA4 fingerprint, nor the beginning of one: write what the log has as `ja4`";
}

static handfast_result wrong(handfast_text path, handfast_text text, const char *why) {
    return handfast_failed(
        handfast_format("`%.*s` has \"%.*s\", which %s", HANDFAST_PRINT(path), HANDFAST_PRINT(text), why)
    );
}

// The number of elements; an error where it is no list.
static handfast_result count(handfast_text path, handfast_json list, size_t *length) {
    if (list.kind != HANDFAST_JSON_ARRAY) {
        return handfast_failed(handfast_format("`%.*s` is no list: write [\"…\"]", HANDFAST_PRINT(path)));
    }
    for (handfast_json item = handfast_json_first(list); item.kind; item = handfast_json_next(item)) {
        if (item.kind != HANDFAST_JSON_STRING) {
            return handfast_failed(handfast_format("`%.*s` has what is no text: write [\"…\"]", HANDFAST_PRINT(path)));
        }
        ++*length;
    }
    return handfast_good();
}

static handfast_result read_texts(
    handfast_text path, handfast_json list, const char *(*judge)(handfast_text), text_list *texts
) {
    handfast_result counted = count(path, list, &texts->length);
    if (counted.failed) return counted;
    handfast_text *items = handfast_allocate(texts->length * sizeof(handfast_text)), *next = items;
    for (handfast_json item = handfast_json_first(list); item.kind; item = handfast_json_next(item)) {
        handfast_text text = handfast_json_text(item);
        const char *why = judge(text);
        if (why != NULL) return wrong(path, text, why);
        *next++ = text;
    }
    texts->items = items;
    texts->present = true;
    return handfast_good();
}

static handfast_result read_networks(handfast_text path, handfast_json list, network_list *networks) {
    handfast_result counted = count(path, list, &networks->length);
    if (counted.failed) return counted;
    network *items = handfast_allocate(networks->length * sizeof(network)), *next = items;
    for (handfast_json item = handfast_json_first(list); item.kind; item = handfast_json_next(item)) {
        handfast_text text = handfast_json_text(item);
        const char *why = network_parse(text, next++);
        if (why != NULL) return wrong(path, text, why);
    }
    networks->items = items;
    networks->present = true;
    return handfast_good();
}

static handfast_result read_rules(const char *which, handfast_json table, rules *rules) {
    if (table.kind != HANDFAST_JSON_OBJECT) {
        return handfast_failed(handfast_format("`%s` is no table: write { networks = [\"192.0.2.0/24\"] }", which));
    }
    for (handfast_json key = handfast_json_first(table); key.kind; key = handfast_json_next(key)) {
        handfast_text name = handfast_json_text(key);
        handfast_text path = handfast_format("%s.%.*s", which, HANDFAST_PRINT(name));
        handfast_json list = handfast_json_value(key);
        handfast_result result;
        if (handfast_equal(name, HANDFAST_TEXT("names"))) {
            result = read_texts(path, list, no_name, &rules->names);
        } else if (handfast_equal(name, HANDFAST_TEXT("networks"))) {
            result = read_networks(path, list, &rules->networks);
        } else if (handfast_equal(name, HANDFAST_TEXT("ja4"))) {
            result = read_texts(path, list, no_ja4, &rules->ja4);
        } else {
            return handfast_failed(
                handfast_format("`%.*s` is unknown: there are `names`, `networks`, `ja4`", HANDFAST_PRINT(path))
            );
        }
        if (result.failed) return result;
        rules->present = true;
    }
    return handfast_good();
}

static handfast_result read_alert(handfast_json value) {
    handfast_text text = handfast_json_text(value);
    for (size_t at = 0; at < sizeof(alerts) / sizeof(alerts[0]); at++) {
        const char *name = alerts[at].name;
        bool equal = strlen(name) == text.length;
        // As in RFC 8446, with `_`, too.
        for (size_t place = 0; equal && place < text.length; place++) {
            equal = text.data[place] == name[place] || (text.data[place] == '_' && name[place] == '-');
        }
        if (equal) {
            settings.alert = alerts[at].number;
            return handfast_good();
        }
    }
    return handfast_failed(handfast_format(
        "`alert` is \"%.*s\": write \"none\", \"access-denied\", \"unrecognized-name\", \"handshake-failure\", "
        "\"internal-error\", \"user-canceled\", \"bad-certificate\", \"certificate-unknown\", \"unknown-ca\", "
        "\"insufficient-security\", \"protocol-version\"",
        HANDFAST_PRINT(text)
    ));
}

static handfast_result read_setting(handfast_text name, handfast_json value) {
    if (handfast_equal(name, HANDFAST_TEXT("allow"))) return read_rules("allow", value, &settings.allow);
    if (handfast_equal(name, HANDFAST_TEXT("deny"))) return read_rules("deny", value, &settings.deny);
    if (handfast_equal(name, HANDFAST_TEXT("only-for"))) return read_texts(name, value, no_name, &settings.only_for);
    if (handfast_equal(name, HANDFAST_TEXT("alert"))) return read_alert(value);
    return handfast_failed(
        handfast_format("`%.*s` is unknown: there are `allow`, `deny`, `only-for`, `alert`", HANDFAST_PRINT(name))
    );
}

static bool is_empty(text_list list) {
    return list.present && list.length == 0;
}

HANDFAST_CONFIGURE(config) {
    settings.alert = HANDFAST_ACCESS_DENIED;
    handfast_json table = handfast_json_parse(config);
    for (handfast_json key = handfast_json_first(table); key.kind; key = handfast_json_next(key)) {
        handfast_result result = read_setting(handfast_json_text(key), handfast_json_value(key));
        if (result.failed) return result;
    }
    const rules *allow = &settings.allow;
    if (!allow->present && !settings.deny.present) {
        return handfast_failed(
            HANDFAST_TEXT(
                "there is nothing in `allow` nor in `deny`, and so nobody to judge: write "
                "allow = { networks = [\"192.0.2.0/24\"] }"
            )
        );
    }
    bool nobody = is_empty(allow->names) || is_empty(allow->ja4) || is_empty(settings.only_for)
               || (allow->networks.present && allow->networks.length == 0);
    if (nobody) {
        return handfast_failed(
            HANDFAST_TEXT("`allow` or `only-for` has an empty list, which has nobody: leave the key out, or fill it")
        );
    }
    return handfast_good();
}

// Judging

// Whether a name, in lower case as the gateway gives it, is one of the pattern's.
static bool matches_name(handfast_text pattern, handfast_text name) {
    size_t stars = 0;
    while (stars < pattern.length && pattern.data[stars] == '*') stars++;
    // From the dot behind the stars on.
    handfast_text end = {pattern.data + stars, pattern.length - stars};
    if (name.length < end.length) return false;
    size_t before = name.length - end.length;
    if (stars == 0 ? before != 0 : before == 0) return false;
    if (stars == 1 && memchr(name.data, '.', before) != NULL) return false;
    for (size_t at = 0; at < end.length; at++) {
        char wanted = end.data[at];
        if (wanted >= 'A' && wanted <= 'Z') wanted = (char)(wanted - 'A' + 'a');
        if (name.data[before + at] != wanted) return false;
    }
    return true;
}

static bool has_name(text_list names, handfast_optional_text name) {
    for (size_t at = 0; name.present && at < names.length; at++) {
        if (matches_name(names.items[at], name.text)) return true;
    }
    return false;
}

static bool has_address(network_list networks, const network *address) {
    for (size_t at = 0; at < networks.length; at++) {
        if (network_has(&networks.items[at], address)) return true;
    }
    return false;
}

static bool has_ja4(text_list prefixes, handfast_text ja4) {
    for (size_t at = 0; at < prefixes.length; at++) {
        handfast_text prefix = prefixes.items[at];
        if (ja4.length >= prefix.length && memcmp(ja4.data, prefix.data, prefix.length) == 0) return true;
    }
    return false;
}

static handfast_decision refuse(handfast_text reason) {
    handfast_decision decision = settings.alert == 0 ? handfast_drop() : handfast_reject(settings.alert);
    return handfast_because(decision, reason);
}

HANDFAST_SELECT(connection, hello) {
    const rules *allow = &settings.allow, *deny = &settings.deny;

    handfast_optional_text name = {.present = false};
    if (settings.only_for.present || allow->names.present || deny->names.present) name = handfast_server_name(hello);
    if (settings.only_for.present && name.present && !has_name(settings.only_for, name)) return handfast_pass();
    if (has_name(deny->names, name)) return refuse(HANDFAST_TEXT("its server name is denied"));
    if (allow->names.present && !has_name(allow->names, name)) {
        return refuse(name.present ? HANDFAST_TEXT("its server name is not allowed") : HANDFAST_TEXT("no server name"));
    }

    if (allow->networks.present || deny->networks.present) {
        network address = network_of(handfast_client_address(connection).ip);
        if (has_address(deny->networks, &address)) return refuse(HANDFAST_TEXT("its network is denied"));
        if (allow->networks.present && !has_address(allow->networks, &address)) {
            return refuse(HANDFAST_TEXT("its network is not allowed"));
        }
    }

    // Last, since the gateway computes it when it is asked for.
    if (allow->ja4.present || deny->ja4.present) {
        handfast_text ja4 = handfast_ja4(hello);
        if (has_ja4(deny->ja4, ja4)) return refuse(handfast_format("JA4 %.*s is denied", HANDFAST_PRINT(ja4)));
        if (allow->ja4.present && !has_ja4(allow->ja4, ja4)) {
            return refuse(handfast_format("JA4 %.*s is not allowed", HANDFAST_PRINT(ja4)));
        }
    }
    return handfast_pass();
}
