/* The replies of io.github.lightvm as tables, and error replies. */
#include "reply.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#define INTERFACE "io.github.lightvm."
#define SERVICE "org.varlink.service."
#define CODE_BYTES 32

#define MEMBER(type, member) .name = #member, .offset = offsetof(struct lvm_##type, member)
#define REQUIRED(type, member, of, ...) \
    {MEMBER(type, member), .kind = (of), .required = true, __VA_ARGS__}
#define OPTIONAL(type, member, of, ...) \
    {MEMBER(type, member), .kind = (of), .nullable = true, __VA_ARGS__}
#define SHAPE(type, fields) \
    {(fields), sizeof(fields) / sizeof((fields)[0]), sizeof(struct lvm_##type)}

static const char *const states[] = {"running", "ready", "paused", "exited", NULL};
static const char *const modes[] = {"noxs", "xenstore", NULL};
static const char *const sources[] = {"pool", "cold", "existing", NULL};
static const char *const reasons[] = {"poweroff", "reboot",    "suspend", "crash",
                                      "lost",     "destroyed", NULL};

static const struct lvm_field exit_fields[] = {
    REQUIRED(exit, reason, LVM_WORD, .words = reasons),
    REQUIRED(exit, at, LVM_FLOAT),
    OPTIONAL(exit, status, LVM_INTEGER),
};
static const struct lvm_shape exit_shape = SHAPE(exit, exit_fields);

static const struct lvm_field vif_fields[] = {
    REQUIRED(vif, network, LVM_TEXT),
    REQUIRED(vif, mac, LVM_TEXT),
    OPTIONAL(vif, ipv4, LVM_TEXT),
};
const struct lvm_shape lvm_vif_shape = SHAPE(vif, vif_fields);

static const struct lvm_field vbd_fields[] = {
    REQUIRED(vbd, path, LVM_TEXT),
    REQUIRED(vbd, size_bytes, LVM_INTEGER),
    REQUIRED(vbd, readonly, LVM_TRUTH),
};
const struct lvm_shape lvm_vbd_shape = SHAPE(vbd, vbd_fields);

static const struct lvm_field domain_fields[] = {
    REQUIRED(domain, name, LVM_TEXT),
    REQUIRED(domain, uuid, LVM_TEXT),
    REQUIRED(domain, domid, LVM_INTEGER),
    REQUIRED(domain, state, LVM_WORD, .words = states),
    REQUIRED(domain, flavor, LVM_TEXT),
    REQUIRED(domain, image, LVM_TEXT),
    REQUIRED(domain, cmdline, LVM_TEXT),
    REQUIRED(domain, memory_kib, LVM_INTEGER),
    REQUIRED(domain, vcpus, LVM_INTEGER),
    REQUIRED(domain, created, LVM_FLOAT),
    REQUIRED(domain, vifs, LVM_LIST, .shape = &lvm_vif_shape),
    REQUIRED(domain, vbds, LVM_LIST, .shape = &lvm_vbd_shape),
    REQUIRED(domain, mode, LVM_WORD, .words = modes),
    OPTIONAL(domain, cpus, LVM_LIST),
    OPTIONAL(domain, cpu_weight, LVM_INTEGER),
    OPTIONAL(domain, cpu_cap, LVM_INTEGER),
    OPTIONAL(domain, ready, LVM_FLOAT),
    OPTIONAL(domain, exit, LVM_OBJECT, .shape = &exit_shape),
    OPTIONAL(domain, restarts, LVM_INTEGER),
    OPTIONAL(domain, heartbeat, LVM_INTEGER),
};
const struct lvm_shape lvm_domain_shape = SHAPE(domain, domain_fields);
_Static_assert(sizeof(domain_fields) / sizeof(domain_fields[0]) <= LVM_FIELDS_MAX, "most fields");

static const struct lvm_field phases_fields[] = {
    REQUIRED(phases, prepare_us, LVM_INTEGER), REQUIRED(phases, load_us, LVM_INTEGER),
    REQUIRED(phases, journal_us, LVM_INTEGER), REQUIRED(phases, unpause_us, LVM_INTEGER),
    REQUIRED(phases, total_us, LVM_INTEGER),   OPTIONAL(phases, ready_us, LVM_INTEGER),
};
static const struct lvm_shape phases_shape = SHAPE(phases, phases_fields);

static const struct lvm_field created_fields[] = {
    REQUIRED(created, domain, LVM_OBJECT, .shape = &lvm_domain_shape),
    REQUIRED(created, source, LVM_WORD, .words = sources),
    REQUIRED(created, phases, LVM_OBJECT, .shape = &phases_shape),
};
static const struct lvm_shape created_shape = SHAPE(created, created_fields);

static const struct lvm_field failure_fields[] = {
    REQUIRED(failure, code, LVM_TEXT),
    REQUIRED(failure, message, LVM_TEXT),
    OPTIONAL(failure, where, LVM_TEXT),
};
static const struct lvm_shape failure_shape = SHAPE(failure, failure_fields);

static const struct lvm_field result_fields[] = {
    REQUIRED(result, index, LVM_INTEGER),
    OPTIONAL(result, created, LVM_OBJECT, .shape = &created_shape),
    OPTIONAL(result, failure, LVM_OBJECT, .shape = &failure_shape),
};
const struct lvm_shape lvm_result_shape = SHAPE(result, result_fields);
_Static_assert(sizeof(struct lvm_result) <= LVM_SHAPE_BYTES, "no item of a list is larger");

static const struct lvm_field create_fields[] = {
    REQUIRED(create_reply, created, LVM_OBJECT, .shape = &created_shape),
};
const struct lvm_shape lvm_create_reply_shape = SHAPE(create_reply, create_fields);

static const struct lvm_field create_many_fields[] = {
    {.name = "results",
     .offset = offsetof(struct lvm_list_reply, list),
     .kind = LVM_LIST,
     .required = true,
     .shape = &lvm_result_shape},
};
const struct lvm_shape lvm_create_many_reply_shape = SHAPE(list_reply, create_many_fields);

static const struct lvm_field destroy_fields[] = {
    OPTIONAL(domain_reply, domain, LVM_OBJECT, .shape = &lvm_domain_shape),
};
const struct lvm_shape lvm_destroy_reply_shape = SHAPE(domain_reply, destroy_fields);

static const struct lvm_field domain_reply_fields[] = {
    REQUIRED(domain_reply, domain, LVM_OBJECT, .shape = &lvm_domain_shape),
};
const struct lvm_shape lvm_domain_reply_shape = SHAPE(domain_reply, domain_reply_fields);

static const struct lvm_field list_fields[] = {
    {.name = "domains",
     .offset = offsetof(struct lvm_list_reply, list),
     .kind = LVM_LIST,
     .required = true,
     .shape = &lvm_domain_shape},
};
const struct lvm_shape lvm_list_reply_shape = SHAPE(list_reply, list_fields);

/* What is around the parameters. */
struct lvm_envelope {
    bool present;
    struct lvm_span parameters;
    bool continues;
    struct lvm_span error;
};

static const struct lvm_field reply_fields[] = {
    {MEMBER(envelope, parameters), .kind = LVM_ANY, .required = true},
    {MEMBER(envelope, continues), .kind = LVM_TRUTH},
    {MEMBER(envelope, error), .kind = LVM_NULL},
};
static const struct lvm_shape reply_shape = SHAPE(envelope, reply_fields);

static const struct lvm_field error_fields[] = {
    REQUIRED(envelope, error, LVM_TEXT),
    {MEMBER(envelope, parameters), .kind = LVM_ANY},
};
static const struct lvm_shape error_shape = SHAPE(envelope, error_fields);

struct lvm_explanation {
    bool present;
    struct lvm_span message, where, parameter, method, interface;
};

static const struct lvm_field explanation_fields[] = {
    OPTIONAL(explanation, message, LVM_TEXT),   OPTIONAL(explanation, where, LVM_TEXT),
    OPTIONAL(explanation, parameter, LVM_TEXT), OPTIONAL(explanation, method, LVM_TEXT),
    OPTIONAL(explanation, interface, LVM_TEXT),
};
static const struct lvm_shape explanation_shape = SHAPE(explanation, explanation_fields);

/* Every code of lightvm/errors.py. */
static const char *const codes[] = {
    "bad-request",      "bad-image",      "bad-disk",        "bad-config",
    "no-such-domain",   "not-ours",       "no-such-flavor",  "no-such-network",
    "no-such-service",  "name-taken",     "address-taken",   "not-removable",
    "not-possible-now", "out-of-memory",  "disk-in-use",     "out-of-addresses",
    "timed-out",        "guest-exited",   "stopping-now",    "hypercall-failed",
    "unsupported-xen",  "link-failed",    "disk-failed",     "store-failed",
    "xl-failed",        "journal-failed", "already-running", "connection-lost",
    "no-daemon",        "protocol-error", "internal-error",
};

static int read_whole(struct lvm_json *json, const struct lvm_shape *shape, void *ret_value)
{
    int rc = lvm_read_shape(json, shape, ret_value);
    return rc ? rc : lvm_json_end(json);
}

/* Takes `prefix` off a text; returns whether it was there. */
static bool take_prefix(struct lvm_span *text, const char *prefix)
{
    struct lvm_span rest = *text;
    for (; *prefix; prefix++) {
        if (lvm_text_next(&rest) != (unsigned char)*prefix) {
            return false;
        }
    }
    *text = rest;
    return true;
}

static bool has_dot(struct lvm_span text)
{
    for (int32_t c; (c = lvm_text_next(&text)) >= 0;) {
        if (c == '.') {
            return true;
        }
    }
    return false;
}

/* The code of an error's Varlink name, where NoSuchDomain is no-such-domain; or NULL. */
static const char *find_code(struct lvm_span name)
{
    char code[CODE_BYTES];
    size_t length = 0;
    for (int32_t c; (c = lvm_text_next(&name)) >= 0;) {
        if (c >= 0x80 || length + 2 >= sizeof(code)) {
            return NULL;
        }
        if (isupper(c) && length > 0) {
            code[length++] = '-';
        }
        code[length++] = (char)tolower(c);
    }
    code[length] = '\0';
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (strcmp(code, codes[i]) == 0) {
            return codes[i];
        }
    }
    return NULL;
}

static struct lvm_span first_of(struct lvm_span one, struct lvm_span other)
{
    return one.at < one.end ? one : other;
}

/* Makes an error of what an error reply says. */
static struct lvm_error explain(struct lvm_span name, const struct lvm_explanation *explanation)
{
    struct lvm_span whole = name;
    if (take_prefix(&name, SERVICE) && !has_dot(name)) {
        struct lvm_span about = first_of(explanation->method, explanation->interface);
        return (struct lvm_error){.code = "protocol-error",
                                  .text = "the service answered ",
                                  .message = name,
                                  .where = first_of(explanation->parameter, about)};
    }
    const char *code = take_prefix(&name, INTERFACE) ? find_code(name) : NULL;
    if (!code) {
        return (struct lvm_error){.code = "protocol-error",
                                  .text = "the service answered with the unknown error ",
                                  .message = whole};
    }
    return (struct lvm_error){.code = code,
                              .message = first_of(explanation->message, name),
                              .where = explanation->where};
}

static int read_error(struct lvm_span message, struct lvm_error *ret_error)
{
    static const char nothing[] = "{}";
    struct lvm_envelope reply;
    struct lvm_explanation explanation;
    struct lvm_json json = lvm_json(message);
    int rc = read_whole(&json, &error_shape, &reply);
    if (rc) {
        return rc;
    }
    struct lvm_json about =
        lvm_json(reply.parameters.at ? reply.parameters : (struct lvm_span){nothing, nothing + 2});
    rc = read_whole(&about, &explanation_shape, &explanation);
    if (!rc) {
        *ret_error = explain(reply.error, &explanation);
        ret_error->inexact = json.unicode;
    }
    return rc;
}

int lvm_read_reply(struct lvm_span message, const char *method, const struct lvm_shape *shape,
                   void *ret_parameters, bool *ret_continues, struct lvm_error *ret_error)
{
    struct lvm_envelope reply;
    struct lvm_json json = lvm_json(message);
    int rc = read_whole(&json, &reply_shape, &reply);
    if (!rc) {
        struct lvm_json parameters = lvm_json(reply.parameters);
        rc = read_whole(&parameters, shape, ret_parameters);
    }
    if (!rc) {
        *ret_continues = reply.continues;
        *ret_error = (struct lvm_error){.inexact = json.unicode};
    } else if (read_error(message, ret_error)) {
        *ret_error = (struct lvm_error){.code = "protocol-error",
                                        .text = "not a reply to io.github.lightvm.",
                                        .message = {method, method + strlen(method)},
                                        .inexact = true};
    }
    return rc;
}
