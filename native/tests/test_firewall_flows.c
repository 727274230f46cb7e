/* The firewall's view of packets, and the flows that it remembers. */
#include "harness.h"

#include <string.h>

#include "../guest/firewall/flows.c"
#include "../guest/firewall/packet.c"

#define A 0x0a000001u
#define B 0x0a000102u

static uint8_t bytes[100];

static void put32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

/* An IP header, and four bytes behind it: ports, or type and what follows. */
static void put_packet(uint8_t *at, uint8_t protocol, uint32_t from, uint32_t to, uint32_t ports)
{
    at[0] = 0x45;
    at[9] = protocol;
    put32(at + 12, from);
    put32(at + 16, to);
    put32(at + 20, ports);
}

static struct packet packet;

static int read_one(uint8_t protocol, uint32_t from, uint32_t to, uint32_t ports)
{
    memset(bytes, 0, sizeof(bytes));
    put_packet(bytes, protocol, from, to, ports);
    return read_packet(bytes, sizeof(bytes), &packet);
}

static struct packet tcp(uint32_t from, uint16_t from_port, uint32_t to, uint16_t to_port)
{
    return (struct packet){.from = from,
                           .to = to,
                           .from_port = from_port,
                           .to_port = to_port,
                           .protocol = PROTOCOL_TCP,
                           .opens = 1};
}

static struct packet answer_to(struct packet to)
{
    struct packet answer = to;
    answer.from = to.to;
    answer.to = to.from;
    answer.from_port = to.to_port;
    answer.to_port = to.from_port;
    return answer;
}

static void packets_are_read(void)
{
    CHECK(read_one(PROTOCOL_TCP, A, B, 0x12340050));
    CHECK(packet.from == A && packet.to == B && packet.protocol == PROTOCOL_TCP && packet.opens);
    CHECK(packet.from_port == 0x1234 && packet.to_port == 80 && !packet.begins && !packet.ends);
    CHECK(read_one(47, A, B, 0x12340050) && packet.from_port == 0 && packet.to_port == 0);
    CHECK(packet.opens);
}

static void flags_of_tcp_are_seen(void)
{
    read_one(PROTOCOL_TCP, A, B, 0);
    bytes[33] = TCP_SYN;
    CHECK(read_packet(bytes, sizeof(bytes), &packet) && packet.begins && !packet.ends);
    bytes[33] = TCP_SYN | TCP_ACK;
    CHECK(read_packet(bytes, sizeof(bytes), &packet) && !packet.begins);
    bytes[33] = TCP_ACK | TCP_FIN;
    CHECK(read_packet(bytes, sizeof(bytes), &packet) && packet.ends);
    CHECK(read_packet(bytes, 33, &packet) && !packet.ends);
}

static void echo_is_answered_and_does_not_answer(void)
{
    CHECK(read_one(PROTOCOL_ICMP, A, B, (uint32_t)ECHO << 24));
    CHECK(packet.opens);
    CHECK(read_one(PROTOCOL_ICMP, A, B, (uint32_t)ECHO_REPLY << 24) && !packet.opens);
    CHECK(read_one(PROTOCOL_ICMP, A, B, 13u << 24) && !packet.opens);
}

static void what_cannot_be_judged_has_addresses_at_most(void)
{
    read_one(PROTOCOL_TCP, A, B, 1);
    CHECK(!read_packet(bytes, 27, &packet) && packet.from == A && packet.to == B);
    CHECK(!read_packet(bytes, 19, &packet) && packet.from == 0);
    bytes[0] = 0x46; /* options */
    CHECK(!read_packet(bytes, sizeof(bytes), &packet));
    bytes[0] = 0x45;
    bytes[6] = 0x20; /* more fragments */
    CHECK(!read_packet(bytes, sizeof(bytes), &packet) && packet.to_port == 0);
    bytes[6] = 0x00, bytes[7] = 1; /* a later one */
    CHECK(!read_packet(bytes, sizeof(bytes), &packet));
    bytes[6] = 0x40, bytes[7] = 0; /* not to be fragmented */
    CHECK(read_packet(bytes, sizeof(bytes), &packet));
}

static void an_error_names_its_cause(void)
{
    uint32_t router = 0x0a0001fe;
    read_one(PROTOCOL_ICMP, router, A, (uint32_t)UNREACHABLE << 24);
    put_packet(bytes + 28, PROTOCOL_UDP, A, B, 0x04000035);
    CHECK(read_cause(bytes, sizeof(bytes), &packet));
    CHECK(packet.from == A && packet.to == B && packet.to_port == 53);
    CHECK(read_cause(bytes, 56, &packet) && !read_cause(bytes, 55, &packet));
    CHECK(!read_cause(bytes, 28, &packet) && !read_cause(bytes, 20, &packet));
    put_packet(bytes + 28, PROTOCOL_UDP, B, A, 0x04000035); /* not of whom it goes to */
    CHECK(!read_cause(bytes, sizeof(bytes), &packet));
    put_packet(bytes + 28, PROTOCOL_UDP, A, B, 0x04000035);
    bytes[20] = 5; /* redirect */
    CHECK(!read_cause(bytes, sizeof(bytes), &packet));
    bytes[20] = UNREACHABLE, bytes[9] = PROTOCOL_UDP;
    CHECK(!read_cause(bytes, sizeof(bytes), &packet));
}

static void random_packets_are_survived(void)
{
    srand(6);
    for (int round = 0; round < 200000; round++) {
        size_t n = (size_t)rand() % 60;
        uint8_t *copy =
            malloc(n ? n : 1); /* no byte more, so that the sanitizer sees a step beyond */
        for (size_t i = 0; i < n; i++) {
            copy[i] = (uint8_t)(rand() % 4 ? 0 : rand());
        }
        if (n > 9) {
            copy[0] = 0x45;
            copy[9] = (uint8_t[]){1, 6, 17, 2}[rand() % 4];
        }
        if (n > 28) {
            copy[20] = 3;
            copy[28] = 0x45;
        }
        read_packet(copy, n, &packet);
        read_cause(copy, n, &packet);
        free(copy);
    }
}

static void answers_belong_to_a_flow_and_others_do_not(void)
{
    struct packet out = tcp(A, 1000, B, 80), other = tcp(A, 1001, B, 80), udp = out;
    start_flows(1);
    CHECK(!has_flow(&out, 1));
    add_flow(&out, 1);
    struct packet back = answer_to(out), strange = answer_to(other);
    CHECK(has_flow(&out, 1) && has_flow(&back, 1) && renew_flow(&back, 1));
    CHECK(!has_flow(&other, 1) && !has_flow(&strange, 1));
    udp.protocol = PROTOCOL_UDP;
    CHECK(!has_flow(&udp, 1));
    back.to_port = 999;
    CHECK(!has_flow(&back, 1));
}

static void an_echo_is_not_a_way_for_echos_back(void)
{
    start_flows(1);
    read_one(PROTOCOL_ICMP, A, B, (uint32_t)ECHO << 24);
    bytes[25] = 7; /* identifier */
    read_packet(bytes, sizeof(bytes), &packet);
    add_flow(&packet, 1);
    put_packet(bytes, PROTOCOL_ICMP, B, A, (uint32_t)ECHO << 24);
    read_packet(bytes, sizeof(bytes), &packet);
    CHECK(!has_flow(&packet, 1));
    put_packet(bytes, PROTOCOL_ICMP, B, A, (uint32_t)ECHO_REPLY << 24);
    read_packet(bytes, sizeof(bytes), &packet);
    CHECK(has_flow(&packet, 1));
}

static void flows_age(void)
{
    struct packet out = tcp(A, 1000, B, 80), back = answer_to(out);
    start_flows(1);
    add_flow(&out, 100);
    CHECK(has_flow(&out, 100 + OPENING - 1) && !has_flow(&out, 100 + OPENING));
    add_flow(&out, 200);
    CHECK(renew_flow(&back, 210) && has_flow(&out, 210 + OPEN - 1));
    CHECK(!has_flow(&out, 210 + OPEN));
    back.ends = 1;
    CHECK(renew_flow(&back, 300) && has_flow(&out, 309) && !has_flow(&out, 300 + ENDING));
    out.begins = 1; /* the same ports again */
    CHECK(renew_flow(&out, 305) && has_flow(&out, 305 + OPENING - 1));
    struct packet udp = out;
    udp.protocol = PROTOCOL_UDP;
    add_flow(&udp, 400);
    CHECK(has_flow(&udp, 400 + OTHER - 1) && !has_flow(&udp, 400 + OTHER));
}

static void a_flood_costs_the_flows_that_would_go_first(void)
{
    struct packet kept = tcp(A, 1, B, 80), back = answer_to(kept);
    start_flows(7);
    add_flow(&kept, 1);
    renew_flow(&back, 1);
    for (uint32_t i = 0; i < 100000; i++) {
        struct packet udp = tcp(A + i, (uint16_t)i, B, 53);
        udp.protocol = PROTOCOL_UDP;
        add_flow(&udp, 2);
        CHECK(has_flow(&udp, 2));
    }
    CHECK(has_flow(&kept, 2));
}

static void flows_spread_over_the_table(void)
{
    start_flows(12345);
    int found = 0;
    for (uint16_t i = 0; i < GROUPS * PLACES / 2; i++) {
        struct packet out = tcp(A, (uint16_t)(1024 + i), B, 80);
        add_flow(&out, 1);
    }
    for (uint16_t i = 0; i < GROUPS * PLACES / 2; i++) {
        struct packet out = tcp(A, (uint16_t)(1024 + i), B, 80);
        found += has_flow(&out, 1);
    }
    CHECK(found > (int)(GROUPS * PLACES / 2 * 95 / 100));
}

int main(void)
{
    RUN(packets_are_read);
    RUN(flags_of_tcp_are_seen);
    RUN(echo_is_answered_and_does_not_answer);
    RUN(what_cannot_be_judged_has_addresses_at_most);
    RUN(an_error_names_its_cause);
    RUN(random_packets_are_survived);
    RUN(answers_belong_to_a_flow_and_others_do_not);
    RUN(an_echo_is_not_a_way_for_echos_back);
    RUN(flows_age);
    RUN(a_flood_costs_the_flows_that_would_go_first);
    RUN(flows_spread_over_the_table);
    return 0;
}
