/* The firewall's rules: what they mean, which mistakes are found where, and that no text leads the reader astray. */
#include "harness.h"

#include "../guest/firewall/rules.c"

static struct rules rules;
static struct mistake mistake;

static int read_text(const char *text) { return read_rules(text, strlen(text), &rules, &mistake); }

static uint32_t ip(uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    return a << 24 | b << 16 | c << 8 | d;
}

static int allows(uint8_t protocol, uint32_t from, uint32_t to, uint16_t port)
{
    struct packet packet = {.from = from, .to = to, .to_port = port, .protocol = protocol};
    return rules_allow(&rules, &packet);
}

static void without_rules_nothing_passes(void)
{
    CHECK(read_rules(NULL, 0, &rules, &mistake));
    CHECK(!allows(PROTOCOL_TCP, ip(10, 0, 0, 1), ip(10, 0, 1, 1), 80));
    CHECK(read_text("# nothing\n\n   \t\r\n") && rules.n == 0);
    CHECK(!allows(PROTOCOL_TCP, ip(10, 0, 0, 1), ip(10, 0, 1, 1), 80));
}

static void the_default_is_what_it_says(void)
{
    CHECK(read_text("default allow") && allows(99, 1, 2, 0));
    CHECK(read_text("default deny\n") && !allows(99, 1, 2, 0));
    CHECK(read_text("default allow\ndeny udp\n") && allows(PROTOCOL_TCP, 1, 2, 3));
    CHECK(!allows(PROTOCOL_UDP, 1, 2, 3));
}

static void the_first_rule_that_matches_decides(void)
{
    CHECK(read_text("deny from 10.0.0.1\nallow from 10.0.0.0/24\ndeny\ndefault allow\n"));
    CHECK(!allows(PROTOCOL_TCP, ip(10, 0, 0, 1), 1, 1));
    CHECK(allows(PROTOCOL_TCP, ip(10, 0, 0, 2), 1, 1));
    CHECK(!allows(PROTOCOL_TCP, ip(10, 0, 1, 2), 1, 1));
}

static void clauses_must_all_match(void)
{
    CHECK(read_text("allow tcp from 10.1.0.0/16 to 192.168.7.7 port 80-90 # web\n"));
    CHECK(allows(PROTOCOL_TCP, ip(10, 1, 2, 3), ip(192, 168, 7, 7), 80));
    CHECK(allows(PROTOCOL_TCP, ip(10, 1, 255, 255), ip(192, 168, 7, 7), 90));
    CHECK(!allows(PROTOCOL_TCP, ip(10, 1, 2, 3), ip(192, 168, 7, 7), 79));
    CHECK(!allows(PROTOCOL_TCP, ip(10, 1, 2, 3), ip(192, 168, 7, 7), 91));
    CHECK(!allows(PROTOCOL_UDP, ip(10, 1, 2, 3), ip(192, 168, 7, 7), 80));
    CHECK(!allows(PROTOCOL_TCP, ip(10, 2, 2, 3), ip(192, 168, 7, 7), 80));
    CHECK(!allows(PROTOCOL_TCP, ip(10, 1, 2, 3), ip(192, 168, 7, 8), 80));
}

static void clauses_may_come_in_any_order_and_be_left_out(void)
{
    CHECK(read_text("\tallow port 53 to 9.9.9.9 udp"));
    CHECK(allows(PROTOCOL_UDP, 5, ip(9, 9, 9, 9), 53)
          && !allows(PROTOCOL_TCP, 5, ip(9, 9, 9, 9), 53));
    CHECK(read_text("allow any from 0.0.0.0/0 to 255.255.255.255/32"));
    CHECK(allows(0, 5, ~0u, 0) && !allows(0, 5, 5, 0));
}

static void ports_are_those_of_tcp_and_udp(void)
{
    CHECK(read_text("allow port 1-65535"));
    CHECK(allows(PROTOCOL_TCP, 1, 2, 1) && allows(PROTOCOL_UDP, 1, 2, 65535));
    CHECK(!allows(PROTOCOL_ICMP, 1, 2, 0) && !allows(PROTOCOL_ICMP, 1, 2, 7)
          && !allows(47, 1, 2, 0));
}

static void check_mistake(const char *text, int line)
{
    mistake.line = 0;
    CHECK(!read_text(text));
    CHECK(mistake.line == line && mistake.reason && *mistake.reason);
}

static void mistakes_are_found_in_their_line(void)
{
    check_mistake("permit tcp", 1);
    check_mistake("allow tcp\n\n# fine\nallow tpc\ndeny", 4);
    check_mistake("allow tcp udp", 1);
    check_mistake("allow any any", 1);
    check_mistake("allow from", 1);
    check_mistake("allow from to 1.2.3.4", 1);
    check_mistake("allow from 1.2.3", 1);
    check_mistake("allow from 1.2.3.256", 1);
    check_mistake("allow from 1.2.3.04", 1);
    check_mistake("allow from 1.2.3.4.5", 1);
    check_mistake("allow from 1.2.3.4/", 1);
    check_mistake("allow from 1.2.3.4/33", 1);
    check_mistake("allow from 1.2.3.4/24", 1);
    check_mistake("allow from 1.2.3.0/24x", 1);
    check_mistake("allow from 1.2.3.4 from 1.2.3.4", 1);
    check_mistake("allow to 1.2.3.4 to 1.2.3.4", 1);
    check_mistake("allow port", 1);
    check_mistake("allow port 0", 1);
    check_mistake("allow port 65536", 1);
    check_mistake("allow port 99999999999999999999", 1);
    check_mistake("allow port 5-", 1);
    check_mistake("allow port 5-4", 1);
    check_mistake("allow port 5-6-7", 1);
    check_mistake("allow port 5 port 5", 1);
    check_mistake("allow icmp port 5", 1);
    check_mistake("allow port 5 icmp", 1);
    check_mistake("default", 1);
    check_mistake("default maybe", 1);
    check_mistake("default deny all", 1);
    check_mistake("default deny\ndefault deny", 2);
    CHECK(!read_rules("allow\0", 6, &rules, &mistake) && mistake.line == 1);
}

static void too_many_rules_are_a_mistake(void)
{
    static char text[(RULES_MOST + 1) * 5 + 1];
    for (uint32_t i = 0; i <= RULES_MOST; i++) {
        memcpy(text + 5 * i, "deny\n", 6);
    }
    check_mistake(text, RULES_MOST + 1);
    text[RULES_MOST * 5] = '\0';
    CHECK(read_text(text) && rules.n == RULES_MOST);
}

/* Read from a copy of its own size, so that the sanitizer sees a step beyond. */
static void survive(const char *bytes, size_t n)
{
    char *copy = malloc(n ? n : 1);
    memcpy(copy, bytes, n);
    mistake.reason = NULL;
    if (!read_rules(copy, n, &rules, &mistake)) {
        CHECK(mistake.line >= 1 && mistake.reason);
    }
    for (uint32_t i = 0; i < rules.n; i++) {
        CHECK((rules.list[i].from & ~rules.list[i].from_mask) == 0);
        CHECK(rules.list[i].port_first <= rules.list[i].port_last);
    }
    free(copy);
}

static void random_texts_are_survived(void)
{
    static const char *const words[] = {"allow",   "deny",  "default", "tcp",  "icmp",
                                        "any",     "from",  "to",      "port", "1.2.3.0/24",
                                        "8.8.8.8", "80-90", "#",       "\n",   "\r\n",
                                        "/",       ".",     "0"};
    char bytes[200];
    srand(5);
    for (int round = 0; round < 200000; round++) {
        size_t n = 0;
        for (int i = rand() % 12; i > 0; i--) {
            const char *word = words[(size_t)rand() % (sizeof(words) / sizeof(*words))];
            n +=
                (size_t)snprintf(bytes + n, sizeof(bytes) - n, "%s%s", word, rand() % 8 ? " " : "");
        }
        for (int i = rand() % 3 - 1; i > 0 && n; i--) {
            bytes[(size_t)rand() % n] = (char)rand();
        }
        survive(bytes, n);
    }
}

int main(void)
{
    RUN(without_rules_nothing_passes);
    RUN(the_default_is_what_it_says);
    RUN(the_first_rule_that_matches_decides);
    RUN(clauses_must_all_match);
    RUN(clauses_may_come_in_any_order_and_be_left_out);
    RUN(ports_are_those_of_tcp_and_udp);
    RUN(mistakes_are_found_in_their_line);
    RUN(too_many_rules_are_a_mistake);
    RUN(random_texts_are_survived);
    return 0;
}
