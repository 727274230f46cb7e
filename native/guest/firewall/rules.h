/*
 * The list of rules: one in a line, the first that matches decides.
 *
 *   allow|deny [tcp|udp|icmp|any] [from ADDRESS[/PREFIX]] [to ADDRESS[/PREFIX]] [port N[-M]]
 *   default allow|deny
 *
 * `port` is where a packet goes to, of TCP and UDP. Without `default`, what no rule matches is denied. The rest of a line from
 * `#` on is a comment. Knows nothing of the network.
 */
#ifndef RULES_H
#define RULES_H

#include "packet.h"

#define RULES_MOST 256u

struct rule {
    uint32_t from, from_mask, to, to_mask;
    uint16_t port_first, port_last; /* 0, 0: any, and none too */
    uint8_t protocol;               /* 0: any */
    uint8_t allows;
};

struct rules {
    struct rule list[RULES_MOST];
    uint32_t n;
    int allows_by_default;
};

struct mistake {
    int line; /* from 1 on */
    const char *reason;
};

/* Returns 0, and tells the first mistake, where the text is no list of rules. */
int read_rules(const char *text, size_t n, struct rules *ret, struct mistake *ret_mistake);

/* Whether a packet may pass. */
int rules_allow(const struct rules *rules, const struct packet *packet);

#endif
