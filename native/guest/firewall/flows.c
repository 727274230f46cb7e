#include "flows.h"

#include <string.h>

/* Seconds without a packet. */
#define OPENING 30u /* TCP that was not answered yet */
#define OPEN 600u   /* TCP */
#define ENDING 10u  /* TCP that one side has ended */
#define OTHER 60u

/* A flow can only be in one of few places, so that none is looked for long. */
#define PLACES 8u
#define GROUPS 128u

struct flow {
    uint32_t from, to;
    uint16_t from_port, to_port;
    uint32_t expires; /* 0: a free place */
    uint8_t protocol;
    uint8_t answered;
    uint8_t ended;
};

static struct flow table[GROUPS][PLACES];
static uint32_t secret;

void start_flows(uint32_t seed)
{
    memset(table, 0, sizeof(table));
    secret = seed;
}

static uint32_t mix(uint32_t value)
{
    value ^= value >> 16;
    value *= 0x7feb352du;
    value ^= value >> 15;
    value *= 0x846ca68bu;
    return value ^ value >> 16;
}

static uint32_t mix_end(uint32_t address, uint16_t port)
{
    return mix(mix(address ^ secret) + port);
}

/* The same group for both directions. */
static struct flow *group_of(const struct packet *packet)
{
    uint32_t from = mix_end(packet->from, packet->from_port);
    uint32_t to = mix_end(packet->to, packet->to_port);
    return table[mix((from + to) ^ packet->protocol) % GROUPS];
}

static int is_forward(const struct flow *flow, const struct packet *packet)
{
    return flow->from == packet->from && flow->to == packet->to
           && flow->from_port == packet->from_port && flow->to_port == packet->to_port;
}

static int is_answer(const struct flow *flow, const struct packet *packet)
{
    return flow->from == packet->to && flow->to == packet->from
           && flow->from_port == packet->to_port && flow->to_port == packet->from_port;
}

static int is_alive(const struct flow *flow, uint32_t now) { return flow->expires > now; }

static struct flow *find(const struct packet *packet, uint32_t now)
{
    struct flow *group = group_of(packet);
    for (uint32_t i = 0; i < PLACES; i++) {
        struct flow *flow = &group[i];
        if (is_alive(flow, now) && flow->protocol == packet->protocol
            && (is_forward(flow, packet) || is_answer(flow, packet))) {
            return flow;
        }
    }
    return NULL;
}

static void renew(struct flow *flow, uint32_t now)
{
    uint32_t seconds = flow->protocol != PROTOCOL_TCP ? OTHER
                       : flow->ended                  ? ENDING
                       : flow->answered               ? OPEN
                                                      : OPENING;
    flow->expires = now + seconds;
}

int has_flow(const struct packet *packet, uint32_t now) { return find(packet, now) != NULL; }

int renew_flow(const struct packet *packet, uint32_t now)
{
    struct flow *flow = find(packet, now);
    if (!flow) {
        return 0;
    }
    if (packet->begins && is_forward(flow, packet)) {
        flow->answered = flow->ended = 0; /* the same ends, but another connection */
    }
    flow->answered |= (uint8_t)is_answer(flow, packet);
    flow->ended |= packet->ends;
    renew(flow, now);
    return 1;
}

void add_flow(const struct packet *packet, uint32_t now)
{
    struct flow *group = group_of(packet), *oldest = &group[0];
    for (uint32_t i = 1; i < PLACES; i++) {
        if (group[i].expires < oldest->expires) {
            oldest = &group[i];
        }
    }
    *oldest = (struct flow){.from = packet->from,
                            .to = packet->to,
                            .from_port = packet->from_port,
                            .to_port = packet->to_port,
                            .protocol = packet->protocol,
                            .ended = packet->ends};
    renew(oldest, now);
}
