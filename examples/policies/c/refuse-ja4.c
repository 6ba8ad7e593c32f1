// An example policy in C: clients whose JA4 fingerprint is on a list are turned away.
//
//     config = { deny = ["t13d190900_9dc949149365_97f8aa674fd9", "t12"], alert = 49 }
//
// A JA4 (https://github.com/FoxIO-LLC/ja4) says which software a client is, not who it is: a list like this one keeps out a
// scanner that does not bother to look like a browser. An entry matches every fingerprint that begins with it, so `t12`
// is all clients that offer TLS 1.2 at most. Without `alert` the connection is closed without an answer.

#include <handfast.h>
#include <handfast_json.h>

static struct {
    const handfast_text *deny;
    size_t length;
    int64_t alert;
} settings;

static handfast_result invalid(const char *key, const char *what) {
    return handfast_failed(handfast_format("%s is not %s", key, what));
}

HANDFAST_CONFIGURE(config) {
    handfast_json table = handfast_json_parse(config);
    for (handfast_json key = handfast_json_first(table); key.kind; key = handfast_json_next(key)) {
        handfast_text name = handfast_json_text(key);
        if (!handfast_equal(name, HANDFAST_TEXT("deny")) && !handfast_equal(name, HANDFAST_TEXT("alert"))) {
            return handfast_failed(handfast_format("unknown setting %.*s", HANDFAST_PRINT(name)));
        }
    }

    handfast_json alert = handfast_json_member(table, "alert");
    settings.alert = handfast_json_integer(alert, alert.kind ? -1 : 0);
    if (settings.alert < 0 || settings.alert > 255) return invalid("alert", "the number of a TLS alert");

    handfast_json deny = handfast_json_member(table, "deny");
    if (deny.kind != HANDFAST_JSON_ARRAY) return invalid("deny", "a list of JA4 fingerprints");
    for (handfast_json item = handfast_json_first(deny); item.kind; item = handfast_json_next(item)) settings.length++;
    handfast_text *list = handfast_allocate(settings.length * sizeof(handfast_text));
    size_t at = 0;
    for (handfast_json item = handfast_json_first(deny); item.kind; item = handfast_json_next(item)) {
        handfast_text prefix = handfast_json_text(item);
        // An empty prefix would match everybody.
        if (prefix.length == 0) return invalid("an entry of deny", "the beginning of a JA4 fingerprint");
        list[at++] = prefix;
    }
    settings.deny = list;
    return handfast_good();
}

HANDFAST_SELECT(connection, hello) {
    (void)connection;
    handfast_text ja4 = handfast_ja4(hello);
    for (size_t at = 0; at < settings.length; at++) {
        handfast_text prefix = settings.deny[at];
        if (ja4.length < prefix.length || memcmp(ja4.data, prefix.data, prefix.length) != 0) continue;

        handfast_decision decision =
            settings.alert == 0 ? handfast_drop() : handfast_reject((uint8_t)settings.alert);
        return handfast_because(decision, handfast_format("JA4 %.*s is denied", HANDFAST_PRINT(ja4)));
    }
    return handfast_pass();
}
