// Networks of client addresses.

#ifndef NETWORK_H
#define NETWORK_H

#include <handfast.h>

// The addresses that begin with the same bits; an address is the network of itself.
typedef struct {
    // A `handfast_family`.
    uint8_t family;
    // The bits that its addresses share.
    uint8_t length;
    uint8_t bytes[16];
} network;

// Reads `192.0.2.0/24`, `2001:db8::/32`, or one address. NULL, or what is wrong, as words that follow the text.
const char *network_parse(handfast_text text, network *to);

network network_of(handfast_ip ip);

bool network_has(const network *self, const network *address);

#endif
