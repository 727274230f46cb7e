#include "rules.h"

#include <string.h>

struct text {
    const char *at;
    size_t n;
};

/* What of a line was said already. */
struct seen {
    int protocol, from, to, port;
};

static int is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

static int is(struct text text, const char *word)
{
    size_t n = strlen(word);
    return text.n == n && memcmp(text.at, word, n) == 0;
}

static void skip(struct text *text, size_t n)
{
    text->at += n;
    text->n -= n;
}

static struct text take_line(struct text *text)
{
    struct text line = {text->at, 0};
    while (line.n < text->n && text->at[line.n] != '\n') {
        line.n++;
    }
    skip(text, line.n < text->n ? line.n + 1 : line.n);
    return line;
}

static void cut_comment(struct text *line)
{
    const char *sign = line->n ? memchr(line->at, '#', line->n) : NULL;
    if (sign) {
        line->n = (size_t)(sign - line->at);
    }
}

/* An empty word: the line is at its end. */
static struct text take_word(struct text *line)
{
    while (line->n && is_blank(*line->at)) {
        skip(line, 1);
    }
    struct text word = {line->at, 0};
    while (word.n < line->n && !is_blank(word.at[word.n])) {
        word.n++;
    }
    skip(line, word.n);
    return word;
}

/* Take a decimal number from the front; returns 0 where there is none, or one that is too large, or with a leading 0. */
static int take_number(struct text *text, uint32_t most, uint32_t *ret)
{
    uint32_t value = 0;
    size_t digits = 0;
    while (digits < text->n && text->at[digits] >= '0' && text->at[digits] <= '9') {
        value = value * 10 + (uint32_t)(text->at[digits++] - '0');
        if (value > most) {
            return 0;
        }
    }
    if (digits == 0 || (digits > 1 && *text->at == '0')) {
        return 0;
    }
    skip(text, digits);
    *ret = value;
    return 1;
}

static int take_character(struct text *text, char c)
{
    if (!text->n || *text->at != c) {
        return 0;
    }
    skip(text, 1);
    return 1;
}

static int take_address(struct text *text, uint32_t *ret)
{
    uint32_t address = 0, byte;
    for (int i = 0; i < 4; i++) {
        if ((i && !take_character(text, '.')) || !take_number(text, 255, &byte)) {
            return 0;
        }
        address = address << 8 | byte;
    }
    *ret = address;
    return 1;
}

/* Each of these returns what is wrong, or NULL. */

static const char *read_network(struct text word, uint32_t *ret_address, uint32_t *ret_mask)
{
    uint32_t address, prefix = 32;
    if (!take_address(&word, &address)) {
        return "no IPv4 address";
    }
    if (word.n && (!take_character(&word, '/') || !take_number(&word, 32, &prefix) || word.n)) {
        return "no prefix from /0 to /32 behind the address";
    }
    uint32_t mask = prefix ? 0xffffffffu << (32 - prefix) : 0;
    if (address & ~mask) {
        return "the address has bits beyond its prefix";
    }
    *ret_address = address;
    *ret_mask = mask;
    return NULL;
}

static const char *read_ports(struct text word, struct rule *rule)
{
    uint32_t first, last;
    if (!take_number(&word, 65535, &first) || first == 0) {
        return "no port from 1 to 65535";
    }
    last = first;
    if (word.n && (!take_character(&word, '-') || !take_number(&word, 65535, &last) || word.n)) {
        return "no range of ports";
    }
    if (last < first) {
        return "a range of ports that goes down";
    }
    rule->port_first = (uint16_t)first;
    rule->port_last = (uint16_t)last;
    return NULL;
}

static int read_protocol(struct text word, uint8_t *ret)
{
    *ret = is(word, "tcp")    ? PROTOCOL_TCP
           : is(word, "udp")  ? PROTOCOL_UDP
           : is(word, "icmp") ? PROTOCOL_ICMP
                              : 0;
    return *ret || is(word, "any");
}

static const char *read_clause(struct text word, struct text *line, struct rule *rule,
                               struct seen *seen)
{
    if (is(word, "from")) {
        return seen->from++ ? "from, twice"
                            : read_network(take_word(line), &rule->from, &rule->from_mask);
    }
    if (is(word, "to")) {
        return seen->to++ ? "to, twice" : read_network(take_word(line), &rule->to, &rule->to_mask);
    }
    if (is(word, "port")) {
        return seen->port++ ? "port, twice" : read_ports(take_word(line), rule);
    }
    if (!read_protocol(word, &rule->protocol)) {
        return "an unknown word";
    }
    return seen->protocol++ ? "a protocol, twice" : NULL;
}

static const char *read_rule(struct text line, struct rule *rule)
{
    struct seen seen = {0};
    for (;;) {
        struct text word = take_word(&line);
        if (!word.n) {
            break;
        }
        const char *reason = read_clause(word, &line, rule, &seen);
        if (reason) {
            return reason;
        }
    }
    return seen.port && rule->protocol == PROTOCOL_ICMP ? "icmp has no ports" : NULL;
}

static const char *add_rule(struct text line, int allows, struct rules *rules)
{
    if (rules->n == RULES_MOST) {
        return "too many rules";
    }
    struct rule *rule = &rules->list[rules->n++];
    *rule = (struct rule){.allows = (uint8_t)allows};
    return read_rule(line, rule);
}

static const char *set_default(struct text line, struct rules *rules, int *defaults)
{
    struct text word = take_word(&line);
    if (!is(word, "allow") && !is(word, "deny")) {
        return "default is allow or deny";
    }
    if (take_word(&line).n) {
        return "more words behind the default";
    }
    rules->allows_by_default = is(word, "allow");
    return (*defaults)++ ? "default, twice" : NULL;
}

static const char *read_line(struct text line, struct rules *rules, int *defaults)
{
    cut_comment(&line);
    struct text word = take_word(&line);
    if (!word.n) {
        return NULL;
    }
    if (is(word, "default")) {
        return set_default(line, rules, defaults);
    }
    if (is(word, "allow") || is(word, "deny")) {
        return add_rule(line, is(word, "allow"), rules);
    }
    return "a line starts with allow, deny or default";
}

int read_rules(const char *text, size_t n, struct rules *ret, struct mistake *ret_mistake)
{
    struct text rest = {text, n};
    int defaults = 0;
    ret->n = 0;
    ret->allows_by_default = 0;
    for (int line = 1; rest.n; line++) {
        const char *reason = read_line(take_line(&rest), ret, &defaults);
        if (reason) {
            *ret_mistake = (struct mistake){line, reason};
            return 0;
        }
    }
    return 1;
}

static int matches(const struct rule *rule, const struct packet *packet)
{
    int has_ports = packet->protocol == PROTOCOL_TCP || packet->protocol == PROTOCOL_UDP;
    return (!rule->protocol || rule->protocol == packet->protocol)
           && (packet->from & rule->from_mask) == rule->from
           && (packet->to & rule->to_mask) == rule->to
           && (!rule->port_last
               || (has_ports && packet->to_port >= rule->port_first
                   && packet->to_port <= rule->port_last));
}

int rules_allow(const struct rules *rules, const struct packet *packet)
{
    for (uint32_t i = 0; i < rules->n; i++) {
        if (matches(&rules->list[i], packet)) {
            return rules->list[i].allows;
        }
    }
    return rules->allows_by_default;
}
