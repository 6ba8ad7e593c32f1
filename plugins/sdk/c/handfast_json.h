// JSON, as much of it as settings need: what `configure` gets is JSON text made by the gateway from the policy's `config`
// table, so it is well-formed, and at most 1 MiB. Values are places in that text; nothing is built.
//
//     handfast_json list = handfast_json_member(handfast_json_parse(config), "ja4");
//     for (handfast_json item = handfast_json_first(list); item.kind != HANDFAST_JSON_NONE; item = handfast_json_next(item))
//         use(handfast_json_text(item));

#ifndef HANDFAST_JSON_H
#define HANDFAST_JSON_H

#include "handfast.h"

typedef enum {
    // Not there.
    HANDFAST_JSON_NONE,
    HANDFAST_JSON_NULL,
    HANDFAST_JSON_BOOLEAN,
    HANDFAST_JSON_NUMBER,
    HANDFAST_JSON_STRING,
    HANDFAST_JSON_ARRAY,
    HANDFAST_JSON_OBJECT,
} handfast_json_kind;

typedef struct {
    handfast_json_kind kind;
    // From the value's first byte to the end of the text.
    const char *begin;
    const char *end;
} handfast_json;

handfast_json handfast_json_parse(handfast_text text);
// The member of an object; none where it has no such member or is no object.
handfast_json handfast_json_member(handfast_json object, const char *key);
// The first element of an array, or the first key of an object, with `handfast_json_value` its value.
handfast_json handfast_json_first(handfast_json container);
handfast_json handfast_json_value(handfast_json key);
// The element or key after this one; none after the last.
handfast_json handfast_json_next(handfast_json element);
// A string's text, escapes resolved; empty for what is no string.
handfast_text handfast_json_text(handfast_json string);
// An integer; `otherwise` for what is none or does not fit.
int64_t handfast_json_integer(handfast_json number, int64_t otherwise);
bool handfast_json_is_true(handfast_json boolean);

#endif
