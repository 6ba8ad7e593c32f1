// Never answers for one name, and has no opinion of the others.

#include <handfast.h>

HANDFAST_SELECT(connection, hello) {
    (void)connection;
    handfast_optional_text name = handfast_server_name(hello);
    if (!name.present || !handfast_equal(name.text, HANDFAST_TEXT("loop.bench.example"))) return handfast_pass();
    // Volatile: a loop without an effect may be left out by the compiler.
    for (volatile unsigned turns = 0;;) turns++;
}
