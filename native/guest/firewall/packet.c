#include "packet.h"

#define IP_HEADER 20u /* without options */
#define MORE_FRAGMENTS 0x2000u
#define FRAGMENT_OFFSET 0x1fffu

#define TCP_FLAGS 13u
enum { TCP_FIN = 0x01, TCP_SYN = 0x02, TCP_RST = 0x04, TCP_ACK = 0x10 };

#define ICMP_HEADER 8u
enum { ECHO_REPLY = 0, UNREACHABLE = 3, ECHO = 8, TIME_EXCEEDED = 11, PARAMETER_PROBLEM = 12 };

static uint16_t read16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }

static uint32_t read32(const uint8_t *at) { return (uint32_t)read16(at) << 16 | read16(at + 2); }

static void read_ports(const uint8_t *header, struct packet *packet)
{
    packet->from_port = read16(header);
    packet->to_port = read16(header + 2);
    packet->opens = 1;
}

static void read_flags(uint8_t flags, struct packet *packet)
{
    packet->begins = (flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
    packet->ends = (flags & (TCP_FIN | TCP_RST)) != 0;
}

static void read_icmp(const uint8_t *header, struct packet *packet)
{
    if (header[0] == ECHO) {
        packet->from_port = read16(header + 4);
        packet->opens = 1;
    } else if (header[0] == ECHO_REPLY) {
        packet->to_port = read16(header + 4);
    }
}

/* What is behind the IP header; 8 bytes of it are there at least, which is all that an ICMP error quotes. */
static void read_transport(const uint8_t *header, size_t n, struct packet *packet)
{
    switch (packet->protocol) {
    case PROTOCOL_TCP:
        read_ports(header, packet);
        if (n > TCP_FLAGS) {
            read_flags(header[TCP_FLAGS], packet);
        }
        break;
    case PROTOCOL_UDP:
        read_ports(header, packet);
        break;
    case PROTOCOL_ICMP:
        read_icmp(header, packet);
        break;
    default:
        packet->opens = 1;
    }
}

int read_packet(const uint8_t *bytes, size_t n, struct packet *ret)
{
    *ret = (struct packet){0};
    if (n < IP_HEADER) {
        return 0;
    }
    ret->protocol = bytes[9];
    ret->from = read32(bytes + 12);
    ret->to = read32(bytes + 16);
    if (bytes[0] != 0x45 || n < IP_HEADER + ICMP_HEADER
        || (read16(bytes + 6) & (MORE_FRAGMENTS | FRAGMENT_OFFSET))) {
        return 0;
    }
    read_transport(bytes + IP_HEADER, n - IP_HEADER, ret);
    return 1;
}

int read_cause(const uint8_t *bytes, size_t n, struct packet *ret)
{
    struct packet error;
    if (!read_packet(bytes, n, &error) || error.protocol != PROTOCOL_ICMP) {
        return 0;
    }
    uint8_t type = bytes[IP_HEADER];
    if (type != UNREACHABLE && type != TIME_EXCEEDED && type != PARAMETER_PROBLEM) {
        return 0;
    }
    size_t headers = IP_HEADER + ICMP_HEADER;
    /* An error goes to the one whose packet it was. */
    return read_packet(bytes + headers, n - headers, ret) && ret->from == error.to;
}
