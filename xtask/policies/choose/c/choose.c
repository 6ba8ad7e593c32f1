// The first certificate for the server name that the client can use, else no opinion.

#include <handfast.h>

HANDFAST_SELECT(connection, hello) {
    (void)connection;
    handfast_optional_text name = handfast_server_name(hello);
    if (!name.present) return handfast_pass();
    handfast_certificates found = handfast_find(name.text);
    for (size_t at = 0; at < found.length; at++) {
        if (handfast_usable_by(found.items[at], hello)) return handfast_answer_with(found.items[at]);
    }
    return handfast_pass();
}
