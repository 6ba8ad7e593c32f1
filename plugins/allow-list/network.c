// See network.h.

#include "network.h"

static const char *const NO_NETWORK = "is no network: write 192.0.2.0/24, 2001:db8::/32 or one address";

// A number of at most this many digits, without zeros before it; -1 for none. `at` goes behind it.
static int number(handfast_text text, size_t *at, int base, size_t digits) {
    size_t begin = *at;
    int value = 0;
    for (; *at < text.length && *at - begin <= digits; ++*at) {
        char character = text.data[*at];
        int digit = character >= '0' && character <= '9' ? character - '0'
                  : character >= 'a' && character <= 'f' ? character - 'a' + 10
                  : character >= 'A' && character <= 'F' ? character - 'A' + 10
                                                         : 16;
        if (digit >= base) break;
        value = value * base + digit;
    }
    size_t length = *at - begin;
    bool padded = base == 10 && length > 1 && text.data[begin] == '0';
    return length == 0 || length > digits || padded ? -1 : value;
}

static bool parse_ipv4(handfast_text text, network *to) {
    size_t at = 0;
    for (int byte = 0; byte < 4; byte++) {
        if (byte > 0 && (at >= text.length || text.data[at++] != '.')) return false;
        int value = number(text, &at, 10, 3);
        if (value < 0 || value > 255) return false;
        to->bytes[byte] = (uint8_t)value;
    }
    return at == text.length;
}

// RFC 4291 section 2.2, but for the form that ends in an IPv4 address.
static bool parse_ipv6(handfast_text text, network *to) {
    uint8_t after[16] = {0};
    size_t at = 0, before = 0, behind = 0;
    bool gap = false;
    if (text.length >= 2 && memcmp(text.data, "::", 2) == 0) {
        gap = true;
        at = 2;
    }
    while (at < text.length) {
        if (before + behind >= 16) return false;
        int value = number(text, &at, 16, 4);
        if (value < 0) return false;
        uint8_t *place = gap ? after + behind : to->bytes + before;
        place[0] = (uint8_t)(value >> 8);
        place[1] = (uint8_t)value;
        *(gap ? &behind : &before) += 2;
        if (at == text.length) break;
        if (text.data[at++] != ':') return false;
        if (at < text.length && text.data[at] == ':') {
            if (gap) return false;
            gap = true;
            at++;
        } else if (at == text.length) {
            return false;
        }
    }
    // A gap stands for one group at least.
    if (gap ? before + behind > 14 : before != 16) return false;
    memcpy(to->bytes + 16 - behind, after, behind);
    return true;
}

// Whether the bits from this one on are all zero.
static bool ends_in_zeros(const uint8_t *bytes, size_t from) {
    for (size_t bit = from; bit < 128; bit++) {
        if (bytes[bit / 8] & (0x80 >> (bit % 8))) return false;
    }
    return true;
}

const char *network_parse(handfast_text text, network *to) {
    *to = (network){0};
    const char *slash = memchr(text.data, '/', text.length);
    handfast_text address = {text.data, slash ? (size_t)(slash - text.data) : text.length};
    bool is_ipv6 = memchr(address.data, ':', address.length) != NULL;
    to->family = is_ipv6 ? HANDFAST_IPV6 : HANDFAST_IPV4;
    if (!(is_ipv6 ? parse_ipv6(address, to) : parse_ipv4(address, to))) return NO_NETWORK;

    int bits = is_ipv6 ? 128 : 32;
    int length = bits;
    if (slash != NULL) {
        size_t at = address.length + 1;
        length = number(text, &at, 10, 3);
        if (length < 0 || at != text.length) return NO_NETWORK;
    }
    if (length > bits) return "has a prefix longer than its address";
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (is_ipv6 && memcmp(to->bytes, mapped, sizeof(mapped)) == 0) {
        // The gateway gives such addresses as IPv4.
        return "is an IPv4 address in IPv6's form: write it as 192.0.2.0/24";
    }
    if (!ends_in_zeros(to->bytes, (size_t)length)) {
        return "has bits beyond its prefix: write the first address of the network";
    }
    to->length = (uint8_t)length;
    return NULL;
}

network network_of(handfast_ip ip) {
    network self = {.family = ip.family};
    if (ip.family == HANDFAST_IPV4) {
        self.length = 32;
        memcpy(self.bytes, ip.ipv4, 4);
        return self;
    }
    self.length = 128;
    for (size_t group = 0; group < 8; group++) {
        self.bytes[2 * group] = (uint8_t)(ip.ipv6[group] >> 8);
        self.bytes[2 * group + 1] = (uint8_t)ip.ipv6[group];
    }
    return self;
}

bool network_has(const network *self, const network *address) {
    size_t whole = self->length / 8, rest = self->length % 8;
    if (self->family != address->family || memcmp(self->bytes, address->bytes, whole) != 0) return false;
    return rest == 0 || ((self->bytes[whole] ^ address->bytes[whole]) >> (8 - rest)) == 0;
}
