// The conformance policy in C: ../README.md says what it does.

#include <handfast.h>
#include <handfast_json.h>

static handfast_text greeting;

#define T(text) HANDFAST_PRINT(text)

HANDFAST_CONFIGURE(config) {
    handfast_json table = handfast_json_parse(config);
    handfast_json fail = handfast_json_member(table, "fail");
    if (fail.kind == HANDFAST_JSON_STRING) return handfast_failed(handfast_json_text(fail));
    greeting = handfast_json_text(handfast_json_member(table, "greeting"));
    return handfast_good();
}

static handfast_text or_absent(handfast_optional_text text) {
    return text.present ? text.text : HANDFAST_TEXT("-");
}

static handfast_text sum(handfast_bytes bytes) {
    uint32_t total = 0;
    for (size_t at = 0; at < bytes.length; at++) total = (total + bytes.data[at]) & 0xffff;
    return handfast_format("%u:%u", (unsigned)bytes.length, total);
}

// What was said so far, a comma, and more.
static handfast_text and(handfast_text so_far, handfast_text more) {
    return so_far.length == 0 ? more : handfast_format("%.*s,%.*s", T(so_far), T(more));
}

static handfast_text all(handfast_texts list) {
    handfast_text joined = HANDFAST_TEXT("");
    for (size_t at = 0; at < list.length; at++) joined = and(joined, list.items[at]);
    return joined.length == 0 ? HANDFAST_TEXT("-") : joined;
}

static handfast_text all_numbers(handfast_numbers list) {
    // A long list, joined piece by piece, would take a lot of memory.
    char *begin = handfast_allocate(list.length * 6 + 1), *to = begin;
    for (size_t at = 0; at < list.length; at++) {
        handfast_text number = handfast_format(at == 0 ? "%u" : ",%u", list.items[at]);
        memcpy(to, number.data, number.length);
        to += number.length;
    }
    return list.length == 0 ? HANDFAST_TEXT("-") : (handfast_text){begin, (size_t)(to - begin)};
}

static const char *boolean(bool value) {
    return value ? "true" : "false";
}

static void say(handfast_text line) {
    handfast_log(HANDFAST_INFO, line);
}

static void report(handfast_connection connection, handfast_client_hello hello) {
    handfast_address client = handfast_client_address(connection), server = handfast_server_address(connection);
    handfast_tlvs tlvs = handfast_proxy_tlvs(connection);
    handfast_text fields = HANDFAST_TEXT("");
    for (size_t at = 0; at < tlvs.length; at++) {
        fields = and(fields, handfast_format("%u:%.*s", tlvs.items[at].type, T(sum(tlvs.items[at].value))));
    }
    if (fields.length == 0) fields = HANDFAST_TEXT("-");
    say(handfast_format(
        "connection %.*s %.*s %u %.*s %u %s %.*s", T(handfast_listener(connection)), T(handfast_ip_text(client.ip)),
        client.port, T(handfast_ip_text(server.ip)), server.port, boolean(handfast_proxied(connection)), T(fields)
    ));

    handfast_byte_strings alpn = handfast_alpn(hello);
    handfast_text protocols = HANDFAST_TEXT("");
    for (size_t at = 0; at < alpn.length; at++) protocols = and(protocols, sum(alpn.items[at]));
    if (protocols.length == 0) protocols = HANDFAST_TEXT("-");
    say(handfast_format(
        "hello %.*s %.*s %s", T(or_absent(handfast_server_name(hello))), T(protocols),
        boolean(handfast_offers_resumption(hello))
    ));
    say(handfast_format(
        "numbers %.*s %.*s %.*s %.*s %.*s", T(all_numbers(handfast_protocol_versions(hello))),
        T(all_numbers(handfast_cipher_suites(hello))), T(all_numbers(handfast_signature_schemes(hello))),
        T(all_numbers(handfast_named_groups(hello))), T(all_numbers(handfast_extensions(hello)))
    ));
    say(handfast_format(
        "prints %.*s %.*s %.*s", T(handfast_ja3(hello)), T(handfast_ja4(hello)), T(sum(handfast_raw(hello)))
    ));
}

static void describe(handfast_certificate certificate) {
    static const char *const algorithms[] = {"rsa", "ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "ed25519", "other"};
    say(handfast_format(
        "certificate %.*s %.*s %s %u %lld %lld", T(handfast_id(certificate)), T(all(handfast_names(certificate))),
        algorithms[handfast_certificate_key_algorithm(certificate)], handfast_key_bits(certificate),
        handfast_not_before(certificate), handfast_not_after(certificate)
    ));
    handfast_tag_list tags = handfast_tags(certificate);
    handfast_text joined = HANDFAST_TEXT("");
    for (size_t at = 0; at < tags.length; at++) {
        joined = and(joined, handfast_format("%.*s=%.*s", T(tags.items[at].key), T(tags.items[at].value)));
    }
    if (joined.length == 0) joined = HANDFAST_TEXT("-");
    say(handfast_format(
        "details %.*s %.*s %.*s %.*s %.*s %.*s", T(handfast_issuer(certificate)), T(handfast_serial(certificate)),
        T(handfast_fingerprint(certificate)), T(sum(handfast_der(certificate))), T(joined),
        T(or_absent(handfast_tag_of(certificate, HANDFAST_TEXT("team"))))
    ));
}

static handfast_decision answer(const handfast_certificate *found, size_t length, handfast_client_hello hello) {
    for (size_t at = 0; at < length && at < 3; at++) {
        describe(found[at]);
        say(handfast_format("usable %s", boolean(handfast_usable_by(found[at], hello))));
    }
    if (length == 0) return handfast_reject(112);
    return handfast_because(handfast_answer_with(found[0]), handfast_format("%u", (unsigned)length));
}

static handfast_decision answer_one(handfast_optional_certificate found, handfast_client_hello hello) {
    return answer(&found.certificate, found.present ? 1 : 0, hello);
}

static handfast_text in_hex(handfast_bytes bytes) {
    char *text = handfast_allocate(bytes.length * 2);
    for (size_t at = 0; at < bytes.length; at++) {
        text[2 * at] = "0123456789abcdef"[bytes.data[at] >> 4];
        text[2 * at + 1] = "0123456789abcdef"[bytes.data[at] & 15];
    }
    return (handfast_text){text, bytes.length * 2};
}

static handfast_text hexadecimal(handfast_optional_bytes bytes) {
    return bytes.present ? in_hex(bytes.bytes) : HANDFAST_TEXT("-");
}

static const char *failure(uint8_t error) {
    return error == HANDFAST_TOO_LARGE ? "too-large" : "not-a-number";
}

static handfast_text summed(handfast_sum sum) {
    return sum.failed ? handfast_format("%s", failure(sum.error)) : handfast_format("%lld", sum.value);
}

static const char *replaced(handfast_replaced replaced) {
    return replaced.failed ? failure(replaced.error) : boolean(replaced.replaced);
}

static handfast_text store(void) {
    static const uint8_t three[] = {1, 2, 3}, one[] = {255}, minus_two[] = {254, 255, 255, 255, 255, 255, 255, 255};
    static char long_key[300];
    memset(long_key, 'k', sizeof(long_key));
    const uint64_t live = 60000;
    handfast_text key = HANDFAST_TEXT("k");
    handfast_text absent = hexadecimal(handfast_get(key));
    handfast_stored set = handfast_set(key, (handfast_bytes){three, 3}, live);
    handfast_text present = hexadecimal(handfast_get(key));
    handfast_delete(key);
    handfast_text deleted = hexadecimal(handfast_get(key));
    handfast_text five = summed(handfast_increment(key, 5, live));
    handfast_text less = summed(handfast_increment(key, -7, live));
    handfast_optional_bytes expected = {.present = false};
    handfast_replaced not = handfast_compare_and_set(key, expected, (handfast_bytes){one, 1}, live);
    expected = (handfast_optional_bytes){true, {minus_two, 8}};
    handfast_replaced done = handfast_compare_and_set(key, expected, (handfast_bytes){one, 1}, live);
    handfast_text wrong = summed(handfast_increment(key, 1, live));
    handfast_stored large = handfast_set((handfast_text){long_key, 300}, (handfast_bytes){one, 1}, live);
    return handfast_format(
        "%.*s %s %.*s %.*s %.*s %.*s %s %s %.*s %s", T(absent), set.failed ? failure(set.error) : "ok", T(present),
        T(deleted), T(five), T(less), replaced(not), replaced(done), T(wrong),
        large.failed ? failure(large.error) : "ok"
    );
}

static handfast_text word(handfast_text *rest) {
    size_t length = 0;
    while (length < rest->length && rest->data[length] != ' ') length++;
    handfast_text word = {rest->data, length};
    size_t taken = length < rest->length ? length + 1 : length;
    *rest = (handfast_text){rest->data + taken, rest->length - taken};
    return word;
}

static int64_t number(handfast_text text) {
    return handfast_json_integer(handfast_json_parse(text), 0);
}

HANDFAST_SELECT(connection, hello) {
    handfast_text rest = handfast_listener(connection);
    handfast_text verb = word(&rest);
#define IS(name) handfast_equal(verb, HANDFAST_TEXT(name))
    if (IS("pass")) return handfast_pass();
    if (IS("drop")) return handfast_drop();
    if (IS("reject")) {
        return handfast_because(handfast_reject((uint8_t)number(rest)), HANDFAST_TEXT("told to reject"));
    }
    if (IS("passthrough")) return handfast_passthrough(rest);
    if (IS("answer")) return handfast_answer_with_id(rest);
    if (IS("echo")) return handfast_because(handfast_pass(), rest);
    if (IS("greeting")) return handfast_because(handfast_pass(), greeting);
    if (IS("report")) {
        report(connection, hello);
        return handfast_pass();
    }
    if (IS("find") || IS("tagged")) {
        handfast_text first = word(&rest);
        handfast_certificates found = IS("find") ? handfast_find(first) : handfast_tagged(first, rest);
        return answer(found.items, found.length, hello);
    }
    if (IS("by-id")) return answer_one(handfast_by_id(rest), hello);
    if (IS("fallback")) return answer_one(handfast_fallback(), hello);
    if (IS("log")) {
        for (int line = 0; line < 20; line++) handfast_log((handfast_level)(line % 5), handfast_format("line %d", line));
        return handfast_pass();
    }
    if (IS("count")) {
        handfast_text name = word(&rest);
        handfast_count(name, (uint64_t)number(rest));
        return handfast_pass();
    }
    if (IS("store")) return handfast_because(handfast_pass(), store());
    if (IS("clock")) {
        long long now = handfast_now().seconds;
        return handfast_because(handfast_pass(), handfast_format("%lld %llu", now, handfast_monotonic()));
    }
    if (IS("random")) {
        handfast_bytes one = handfast_random_bytes(16), other = handfast_random_bytes(16);
        handfast_text drawn = handfast_format(
            "%.*s %.*s %llu", T(in_hex(one)), T(in_hex(other)), handfast_random_unsigned()
        );
        return handfast_because(handfast_pass(), drawn);
    }
    handfast_log(HANDFAST_ERROR, HANDFAST_TEXT("told to fail"));
    __builtin_trap();
}

HANDFAST_VALIDATE(connection, hello, chain) {
    (void)connection;
    (void)hello;
    handfast_peer_certificate leaf = {0};
    for (uint32_t index = 0; index < handfast_chain_length(chain); index++) {
        handfast_peer_certificate peer = handfast_chain_certificate(chain, index).certificate;
        if (index == 0) leaf = peer;
        say(handfast_format(
            "peer %.*s %.*s %.*s %.*s %lld %lld", T(handfast_peer_subject(peer)), T(handfast_peer_issuer(peer)),
            T(handfast_peer_serial(peer)), T(handfast_peer_fingerprint(peer)), handfast_peer_not_before(peer),
            handfast_peer_not_after(peer)
        ));
        say(handfast_format(
            "names %.*s %.*s %.*s %.*s %.*s %.*s", T(all(handfast_peer_dns_names(peer))), T(all(handfast_peer_uris(peer))),
            T(all(handfast_peer_email_addresses(peer))), T(all(handfast_peer_organizational_units(peer))),
            T(or_absent(handfast_peer_common_name(peer))), T(sum(handfast_peer_der(peer)))
        ));
    }
    if (handfast_equal(or_absent(handfast_peer_common_name(leaf)), HANDFAST_TEXT("revoked"))) {
        return handfast_refuse_client(HANDFAST_CERTIFICATE_REVOKED, HANDFAST_TEXT("revoked"));
    }
    handfast_texts uris = handfast_peer_uris(leaf);
    handfast_text joined = HANDFAST_TEXT("");
    for (size_t at = 0; at < uris.length; at++) {
        joined = at == 0 ? uris.items[0] : handfast_format("%.*s %.*s", T(joined), T(uris.items[at]));
    }
    handfast_attribute *attributes = handfast_allocate(2 * sizeof(handfast_attribute));
    attributes[0] = (handfast_attribute){HANDFAST_TEXT("subject"), handfast_peer_subject(leaf)};
    attributes[1] = (handfast_attribute){HANDFAST_TEXT("uris"), joined};
    return handfast_accept(attributes, 2);
}

HANDFAST_ADMIT(certificate) {
    describe(certificate);
    handfast_texts names = handfast_names(certificate);
    handfast_text refused = HANDFAST_TEXT("refused");
    if (names.length > 0 && names.items[0].length >= refused.length
        && memcmp(names.items[0].data, refused.data, refused.length) == 0) {
        return handfast_failed(handfast_format("refused: %.*s", T(names.items[0])));
    }
    return handfast_good();
}
