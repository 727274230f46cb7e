/* What of an IPv4 packet rules and flows look at. Knows nothing of the network. */
#ifndef PACKET_H
#define PACKET_H

#include <stddef.h>
#include <stdint.h>

enum { PROTOCOL_ICMP = 1, PROTOCOL_TCP = 6, PROTOCOL_UDP = 17 };

struct packet {
    uint32_t from, to; /* addresses and ports in the host's order */
    uint16_t from_port,
        to_port; /* of TCP and UDP; of ICMP echo, the asking side's is its identifier, the other's is 0 */
    uint8_t protocol;
    uint8_t opens;  /* the answers to such a packet belong to it */
    uint8_t begins; /* TCP: the first of a connection */
    uint8_t ends;   /* TCP: one side is done */
};

/*
 * Read a packet from its IPv4 header on. Returns 0, with the addresses alone, where the rest cannot be judged: fragments,
 * packets with IP options, and such as are too short.
 */
int read_packet(const uint8_t *bytes, size_t n, struct packet *ret);

/* Where a packet is an ICMP error, read the packet that it is about. Returns 0 where there is none. */
int read_cause(const uint8_t *bytes, size_t n, struct packet *ret);

#endif
