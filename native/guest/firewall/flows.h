/*
 * Flows that were allowed, so that their answers are too. A bounded table, where flows age; where it is full, those go first
 * that would go next. Knows nothing of the network.
 */
#ifndef FLOWS_H
#define FLOWS_H

#include "packet.h"

/* Forget all; `seed` makes it hard to guess which flows share a place. */
void start_flows(uint32_t seed);

/* Remember the flow that a packet opens. `now` is in seconds, here and below. */
void add_flow(const struct packet *packet, uint32_t now);

/* Whether a packet belongs to a flow, in either direction; the flow is young again then. */
int renew_flow(const struct packet *packet, uint32_t now);

/* The same, without a trace. */
int has_flow(const struct packet *packet, uint32_t now);

#endif
