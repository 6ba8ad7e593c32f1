#include <handfast.h>
#include <handfast_json.h>

static handfast_json names;

HANDFAST_CONFIGURE(config) {
    names = handfast_json_member(handfast_json_parse(config), "tls13-only");
    if (names.kind != HANDFAST_JSON_ARRAY) return handfast_failed(HANDFAST_TEXT("tls13-only is not a list of names"));
    return handfast_good();
}

static bool offers_tls13(handfast_client_hello hello) {
    handfast_numbers versions = handfast_protocol_versions(hello);
    for (size_t at = 0; at < versions.length; at++) {
        if (versions.items[at] == 0x0304) return true;
    }
    return false;
}

HANDFAST_SELECT(connection, hello) {
    handfast_optional_text wanted = handfast_server_name(hello);
    for (handfast_json name = handfast_json_first(names); name.kind; name = handfast_json_next(name)) {
        if (wanted.present && handfast_equal(wanted.text, handfast_json_text(name)) && !offers_tls13(hello)) {
            handfast_text client = handfast_ip_text(handfast_client_address(connection).ip);
            handfast_log(HANDFAST_INFO, handfast_format("%.*s is too old", HANDFAST_PRINT(client)));
            return handfast_because(
                handfast_reject(HANDFAST_PROTOCOL_VERSION), HANDFAST_TEXT("this name is for TLS 1.3 only")
            );
        }
    }
    return handfast_pass();
}
