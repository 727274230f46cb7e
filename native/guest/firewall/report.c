#include "report.h"

#include "lightvm.h"

#include <string.h>

#define LINES_A_SECOND 10u

struct line {
    char text[160];
    size_t n;
};

static uint32_t lines_left = LINES_A_SECOND, untold;

static void add(struct line *line, const char *text)
{
    size_t n = strlen(text);
    if (n <= sizeof(line->text) - line->n) {
        memcpy(line->text + line->n, text, n);
        line->n += n;
    }
}

static void add_number(struct line *line, uint32_t number)
{
    char digits[11] = {0};
    char *at = digits + sizeof(digits) - 1;
    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    add(line, at);
}

static void add_end(struct line *line, uint32_t address, uint16_t port)
{
    for (int shift = 24; shift >= 0; shift -= 8) {
        add_number(line, address >> shift & 255);
        add(line, shift ? "." : "");
    }
    if (port) {
        add(line, ":");
        add_number(line, port);
    }
}

static void add_protocol(struct line *line, uint8_t protocol)
{
    switch (protocol) {
    case PROTOCOL_ICMP:
        add(line, "icmp ");
        break;
    case PROTOCOL_TCP:
        add(line, "tcp ");
        break;
    case PROTOCOL_UDP:
        add(line, "udp ");
        break;
    default:
        add(line, "protocol ");
        add_number(line, protocol);
        add(line, " ");
    }
}

/* Traffic does not wait for a console that nobody reads. */
static int print(struct line *line)
{
    add(line, "\n");
    if (lightvm_console_room() < line->n) {
        return 0;
    }
    lightvm_write(line->text, line->n);
    return 1;
}

void report_mistake(const struct mistake *mistake)
{
    struct line line = {.n = 0};
    add(&line, "firewall: line ");
    add_number(&line, (uint32_t)mistake->line);
    add(&line, ": ");
    add(&line, mistake->reason);
    print(&line);
}

void report_rules(const struct rules *rules)
{
    struct line line = {.n = 0};
    add(&line, "firewall: ");
    add_number(&line, rules->n);
    add(&line, rules->allows_by_default ? " rules, default allow" : " rules, default deny");
    print(&line);
}

void report_denied(const struct packet *packet, const char *why)
{
    struct line line = {.n = 0};
    if (!lines_left) {
        untold++;
        return;
    }
    lines_left--;
    add(&line, "denied ");
    add_protocol(&line, packet->protocol);
    add_end(&line, packet->from, packet->from_port);
    add(&line, " -> ");
    add_end(&line, packet->to, packet->to_port);
    add(&line, why);
    untold += !print(&line);
}

void report_tick(void)
{
    struct line line = {.n = 0};
    lines_left = LINES_A_SECOND;
    if (!untold) {
        return;
    }
    add(&line, "denied ");
    add_number(&line, untold);
    add(&line, " more");
    if (print(&line)) {
        untold = 0;
    }
}
