// See handfast_json.h. Every step looks for the end of the text first: text that is not well-formed ends as no value, it is
// never read past.

#include "handfast_json.h"

static const char *skip_space(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) at++;
    return at;
}

static handfast_json value_at(const char *at, const char *end) {
    at = skip_space(at, end);
    handfast_json value = {HANDFAST_JSON_NONE, at, end};
    if (at >= end) return value;
    switch (*at) {
    case '{': value.kind = HANDFAST_JSON_OBJECT; break;
    case '[': value.kind = HANDFAST_JSON_ARRAY; break;
    case '"': value.kind = HANDFAST_JSON_STRING; break;
    case 't':
    case 'f': value.kind = HANDFAST_JSON_BOOLEAN; break;
    case 'n': value.kind = HANDFAST_JSON_NULL; break;
    default:
        if (*at == '-' || (*at >= '0' && *at <= '9')) value.kind = HANDFAST_JSON_NUMBER;
    }
    return value;
}

// The byte behind a string that begins at its quotation mark.
static const char *after_string(const char *at, const char *end) {
    for (at++; at < end && *at != '"'; at++) {
        if (*at == '\\') at++;
    }
    return at < end ? at + 1 : end;
}

// The byte behind a value.
static const char *after(handfast_json value) {
    const char *at = value.begin, *end = value.end;
    switch (value.kind) {
    case HANDFAST_JSON_NONE: return end;
    case HANDFAST_JSON_STRING: return after_string(at, end);
    case HANDFAST_JSON_ARRAY:
    case HANDFAST_JSON_OBJECT: {
        size_t depth = 0;
        while (at < end) {
            if (*at == '"') {
                at = after_string(at, end);
                continue;
            }
            if (*at == '[' || *at == '{') depth++;
            if ((*at == ']' || *at == '}') && --depth == 0) return at + 1;
            at++;
        }
        return end;
    }
    default:
        while (at < end && *at != ',' && *at != ']' && *at != '}' && *at != ' ' && *at != '\n') at++;
        return at;
    }
}

handfast_json handfast_json_parse(handfast_text text) {
    return value_at(text.data, text.data + text.length);
}

handfast_json handfast_json_first(handfast_json container) {
    handfast_json none = {HANDFAST_JSON_NONE, container.end, container.end};
    if (container.kind != HANDFAST_JSON_ARRAY && container.kind != HANDFAST_JSON_OBJECT) return none;
    return value_at(container.begin + 1, container.end);
}

handfast_json handfast_json_value(handfast_json key) {
    const char *at = skip_space(after(key), key.end);
    if (at < key.end && *at == ':') return value_at(at + 1, key.end);
    return (handfast_json){HANDFAST_JSON_NONE, key.end, key.end};
}

handfast_json handfast_json_next(handfast_json element) {
    const char *at = skip_space(after(element), element.end);
    if (at < element.end && *at == ':') at = skip_space(after(value_at(at + 1, element.end)), element.end);
    if (at < element.end && *at == ',') return value_at(at + 1, element.end);
    return (handfast_json){HANDFAST_JSON_NONE, element.end, element.end};
}

handfast_json handfast_json_member(handfast_json object, const char *key) {
    handfast_json none = {HANDFAST_JSON_NONE, object.end, object.end};
    if (object.kind != HANDFAST_JSON_OBJECT) return none;
    handfast_text wanted = handfast_string(key);
    for (handfast_json at = handfast_json_first(object); at.kind != HANDFAST_JSON_NONE; at = handfast_json_next(at)) {
        if (handfast_equal(handfast_json_text(at), wanted)) return handfast_json_value(at);
    }
    return none;
}

static uint32_t hexadecimal(const char *at, const char *end) {
    uint32_t value = 0;
    for (int digit = 0; digit < 4; digit++, at++) {
        char character = at < end ? *at : '0';
        uint32_t number = character >= 'a' ? (uint32_t)(character - 'a' + 10)
                        : character >= 'A' ? (uint32_t)(character - 'A' + 10)
                                           : (uint32_t)(character - '0');
        value = (value << 4) | (number & 15);
    }
    return value;
}

static char *put_utf8(char *to, uint32_t point) {
    if (point < 0x80) {
        *to++ = (char)point;
    } else if (point < 0x800) {
        *to++ = (char)(0xc0 | (point >> 6));
        *to++ = (char)(0x80 | (point & 63));
    } else if (point < 0x10000) {
        *to++ = (char)(0xe0 | (point >> 12));
        *to++ = (char)(0x80 | ((point >> 6) & 63));
        *to++ = (char)(0x80 | (point & 63));
    } else {
        *to++ = (char)(0xf0 | (point >> 18));
        *to++ = (char)(0x80 | ((point >> 12) & 63));
        *to++ = (char)(0x80 | ((point >> 6) & 63));
        *to++ = (char)(0x80 | (point & 63));
    }
    return to;
}

handfast_text handfast_json_text(handfast_json string) {
    if (string.kind != HANDFAST_JSON_STRING) return HANDFAST_TEXT("");
    const char *at = string.begin + 1, *end = after_string(string.begin, string.end);
    if (end > at) end--;
    if (memchr(at, '\\', (size_t)(end - at)) == NULL) return (handfast_text){at, (size_t)(end - at)};

    // Resolved, no escape is longer than it was.
    char *begin = handfast_allocate((size_t)(end - at)), *to = begin;
    while (at < end) {
        if (*at != '\\' || at + 1 >= end) {
            *to++ = *at++;
            continue;
        }
        char escape = at[1];
        at += 2;
        switch (escape) {
        case 'n': *to++ = '\n'; break;
        case 't': *to++ = '\t'; break;
        case 'r': *to++ = '\r'; break;
        case 'b': *to++ = '\b'; break;
        case 'f': *to++ = '\f'; break;
        case 'u': {
            uint32_t point = hexadecimal(at, end);
            at += 4;
            // A surrogate pair (RFC 8259 section 7).
            if (point >= 0xd800 && point < 0xdc00 && at + 1 < end && at[0] == '\\' && at[1] == 'u') {
                point = 0x10000 + ((point - 0xd800) << 10) + (hexadecimal(at + 2, end) - 0xdc00);
                at += 6;
            }
            to = put_utf8(to, point);
            break;
        }
        default: *to++ = escape;
        }
    }
    return (handfast_text){begin, (size_t)(to - begin)};
}

int64_t handfast_json_integer(handfast_json number, int64_t otherwise) {
    if (number.kind != HANDFAST_JSON_NUMBER) return otherwise;
    const char *at = number.begin, *end = after(number);
    bool negative = *at == '-';
    if (negative) at++;
    int64_t value = 0;
    for (; at < end; at++) {
        if (*at < '0' || *at > '9') return otherwise;
        if (__builtin_mul_overflow(value, 10, &value)) return otherwise;
        if (__builtin_add_overflow(value, *at - '0', &value)) return otherwise;
    }
    return negative ? -value : value;
}

bool handfast_json_is_true(handfast_json boolean) {
    return boolean.kind == HANDFAST_JSON_BOOLEAN && *boolean.begin == 't';
}
