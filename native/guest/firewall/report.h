/* What the firewall says on its console, without ever waiting for somebody to read it. */
#ifndef REPORT_H
#define REPORT_H

#include "packet.h"
#include "rules.h"

void report_mistake(const struct mistake *mistake);
void report_rules(const struct rules *rules);
/* A packet that was not let through: so many lines a second, and how many more there were. */
void report_denied(const struct packet *packet, const char *why);
/* Once a second. */
void report_tick(void);

#endif
