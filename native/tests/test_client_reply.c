/* Replies of the daemon, and what is none. */
#include "harness.h"

#include <string.h>

#include "../client/json.c"
#include "../client/shape.c"
#include "../client/reply.c"

#define DOMAIN                                                                                 \
    "{\"name\":\"web-1\",\"uuid\":\"u\",\"domid\":12,\"state\":\"ready\",\"flavor\":\"tiny\"," \
    "\"image\":\"/k\",\"cmdline\":\"\",\"memory_kib\":4096,\"vcpus\":1,\"created\":1.5,"       \
    "\"vifs\":[{\"network\":\"lan\",\"mac\":\"m\"}],\"vbds\":[],\"mode\":\"noxs\","            \
    "\"cpus\":[\"0\",\"1-2\"],\"exit\":{\"reason\":\"poweroff\",\"at\":2,\"status\":7}}"

static struct lvm_domain_reply reply;
static struct lvm_error error;
static bool continues;

/* Reads a copy that is followed by nothing; what the reply says is looked at before it is gone. */
static int read_bytes(const char *bytes, size_t length, void (*look)(void))
{
    char *copy = malloc(length ? length : 1);
    memcpy(copy, bytes, length);
    struct lvm_span message = {copy, copy + length};
    int rc = lvm_read_reply(message, "Info", &lvm_domain_reply_shape, &reply, &continues, &error);
    if (look) {
        look();
    }
    free(copy);
    return rc;
}

static int read_text(const char *text, void (*look)(void))
{
    return read_bytes(text, strlen(text), look);
}

static void look_at_domain(void)
{
    const struct lvm_domain *domain = &reply.domain;
    CHECK(lvm_text_is(domain->name, "web-1") && domain->domid.value == 12);
    CHECK(domain->created.value == 1.5 && !domain->ready.present && !domain->restarts.present);
    CHECK(domain->exit.present && domain->exit.status.value == 7);
    struct lvm_items vifs = lvm_items(domain->vifs), cpus = lvm_items(domain->cpus);
    struct lvm_vif vif;
    struct lvm_span text;
    CHECK(lvm_next_item(&vifs, &lvm_vif_shape, &vif) && lvm_text_is(vif.network, "lan"));
    CHECK(!vif.ipv4.at && !lvm_next_item(&vifs, &lvm_vif_shape, &vif));
    CHECK(lvm_next_text(&cpus, &text) && lvm_next_text(&cpus, &text) && lvm_text_is(text, "1-2"));
    CHECK(!lvm_next_text(&cpus, &text));
}

static void reply_is_read_into_its_struct(void)
{
    CHECK(read_text("{\"parameters\":{\"domain\":" DOMAIN "}}", look_at_domain) == 0);
    CHECK(!continues && !error.code && !error.inexact);
    CHECK(read_text("{\"continues\":true,\"error\":null,\"parameters\":{\"domain\":" DOMAIN "}}",
                    NULL)
          == 0);
    CHECK(continues);
}

static void unknown_fields_are_passed_over_and_told_of_where_they_are_not_ascii(void)
{
    CHECK(read_text("{\"parameters\":{\"x\":[{}],\"domain\":" DOMAIN "},\"y\":1}", NULL) == 0);
    CHECK(!error.inexact);
    CHECK(read_text("{\"parameters\":{\"domain\":" DOMAIN "},\"y\":\"\\u00e9\"}", NULL) == 0);
    CHECK(error.inexact);
}

static void look_at_last(void) { CHECK(!reply.domain.exit.present); }

static void last_of_two_fields_counts(void)
{
    CHECK(read_text("{\"parameters\":{\"domain\":{\"domid\":1,\"exit\":{\"reason\":\"crash\","
                    "\"at\":1},\"name\":\"a\",\"uuid\":\"\",\"domid\":2,\"state\":\"ready\","
                    "\"flavor\":\"\",\"image\":\"\",\"cmdline\":\"\",\"memory_kib\":1,\"vcpus\":1,"
                    "\"created\":1,\"vifs\":[],\"vbds\":[],\"mode\":\"noxs\",\"exit\":null}}}",
                    look_at_last)
          == 0);
    CHECK(reply.domain.domid.value == 2);
}

static void look_for_no_reply(void)
{
    CHECK(!strcmp(error.code, "protocol-error") && error.inexact);
    CHECK(lvm_text_is(error.message, "Info"));
}

static void what_is_no_reply_is_a_protocol_error(void)
{
    static const char *const bad[] = {
        "",
        "x",
        "[]",
        "{}",
        "{\"parameters\":{}}",
        "{\"parameters\":{\"domain\":null}}",
        "{\"parameters\":{\"domain\":{}}}",
        "{\"parameters\":{\"domain\":" DOMAIN "},\"continues\":1}",
        "{\"parameters\":{\"domain\":" DOMAIN "},\"error\":1}",
        "{\"parameters\":{\"domain\":" DOMAIN "}} x",
        "{\"error\":\"io.github.lightvm.NotOurs\",\"parameters\":[]}",
        "{\"error\":\"io.github.lightvm.NotOurs\",\"parameters\":{\"message\":1}}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK(read_text(bad[i], look_for_no_reply) == -EBADMSG);
    }
}

static void look_at_error(void)
{
    CHECK(!strcmp(error.code, "no-such-domain") && !error.inexact);
    CHECK(lvm_text_is(error.message, "who?") && lvm_text_is(error.where, "a"));
}

static void look_at_name(void)
{
    CHECK(!strcmp(error.code, "timed-out") && lvm_text_is(error.message, "TimedOut"));
    CHECK(error.where.at == error.where.end);
}

static void look_at_service(void)
{
    CHECK(!strcmp(error.code, "protocol-error"));
    CHECK(lvm_text_is(error.message, "MethodNotFound") && lvm_text_is(error.where, "m"));
}

static void look_at_unknown(void)
{
    CHECK(!strcmp(error.code, "protocol-error") && !error.inexact);
    CHECK(error.message.end - error.message.at > 10);
}

static void error_reply_is_its_error(void)
{
    CHECK(read_text("{\"error\":\"io.github.lightvm.NoSuchDomain\",\"parameters\":"
                    "{\"message\":\"who?\",\"where\":\"a\"}}",
                    look_at_error)
          == -EBADMSG);
    CHECK(read_text("{\"error\":\"io.github.lightvm.TimedOut\"}", look_at_name) == -EBADMSG);
    CHECK(read_text("{\"error\":\"org.varlink.service.MethodNotFound\",\"parameters\":"
                    "{\"method\":\"m\"}}",
                    look_at_service)
          == -EBADMSG);
    static const char *const unknown[] = {
        "{\"error\":\"io.github.lightvm.Nonsense\"}",
        "{\"error\":\"io.github.lightvm.x.TimedOut\"}",
        "{\"error\":\"io.github.other.TimedOut\"}",
        "{\"error\":\"io.github.lightvm.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
    };
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        CHECK(read_text(unknown[i], look_at_unknown) == -EBADMSG);
    }
}

static void every_truncation_and_every_changed_byte_is_read_or_refused(void)
{
    static const char good[] = "{\"parameters\":{\"domain\":" DOMAIN "},\"continues\":false}";
    char text[sizeof(good)];
    for (size_t at = 0; at < strlen(good); at++) {
        CHECK(read_bytes(good, at, NULL) == -EBADMSG);
        for (int byte = 1; byte < 256; byte += 3) {
            memcpy(text, good, sizeof(good));
            text[at] = (char)byte;
            int rc = read_bytes(text, strlen(good), NULL);
            CHECK(rc == 0 || rc == -EBADMSG);
        }
    }
}

int main(void)
{
    RUN(reply_is_read_into_its_struct);
    RUN(unknown_fields_are_passed_over_and_told_of_where_they_are_not_ascii);
    RUN(last_of_two_fields_counts);
    RUN(what_is_no_reply_is_a_protocol_error);
    RUN(error_reply_is_its_error);
    RUN(every_truncation_and_every_changed_byte_is_read_or_refused);
    return 0;
}
