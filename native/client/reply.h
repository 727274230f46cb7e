/* The replies of io.github.lightvm that the client reads, and what can be wrong instead of one.
 *
 * The structs mirror lightvm/model.py and lightvm/calls.py, of which they have every field: a reply
 * that the Python clients refuse is refused here.
 */
#ifndef LVM_REPLY_H
#define LVM_REPLY_H

#include "shape.h"

struct lvm_exit {
    bool present;
    struct lvm_span reason;
    struct lvm_float at;
    struct lvm_integer status;
};

struct lvm_vif {
    bool present;
    struct lvm_span network, mac, ipv4;
};

struct lvm_vbd {
    bool present;
    struct lvm_span path;
    struct lvm_integer size_bytes;
    bool readonly;
};

struct lvm_domain {
    bool present;
    struct lvm_span name, uuid, state, flavor, image, cmdline, mode;
    struct lvm_integer domid, memory_kib, vcpus;
    struct lvm_float created, ready;
    struct lvm_span vifs, vbds; /* lists of the two above */
    struct lvm_span cpus;       /* a list of texts */
    struct lvm_integer cpu_weight, cpu_cap, restarts, heartbeat;
    struct lvm_exit exit;
};

struct lvm_phases {
    bool present;
    struct lvm_integer prepare_us, load_us, journal_us, unpause_us, total_us, ready_us;
};

struct lvm_created {
    bool present;
    struct lvm_domain domain;
    struct lvm_span source;
    struct lvm_phases phases;
};

struct lvm_failure {
    bool present;
    struct lvm_span code, message, where;
};

/* One of many creates. */
struct lvm_result {
    bool present;
    struct lvm_integer index;
    struct lvm_created created;
    struct lvm_failure failure;
};

/* Parameters of replies. */
struct lvm_create_reply {
    bool present;
    struct lvm_created created;
};

struct lvm_domain_reply {
    bool present;
    struct lvm_domain domain;
};

struct lvm_list_reply {
    bool present;
    struct lvm_span list; /* of domains, or of results */
};

extern const struct lvm_shape lvm_vif_shape, lvm_vbd_shape, lvm_domain_shape, lvm_result_shape;
extern const struct lvm_shape lvm_create_reply_shape, lvm_create_many_reply_shape,
    lvm_destroy_reply_shape, lvm_domain_reply_shape, lvm_list_reply_shape;

/* What went wrong, in the line "lightvm: CODE: TEXT MESSAGE (WHERE)"; the halves of a part follow each
 * other without a blank, and may be empty. */
struct lvm_error {
    const char *code;        /* NULL: nothing */
    const char *text;        /* ours */
    struct lvm_span message; /* the daemon's */
    const char *place;       /* ours */
    struct lvm_span where;   /* the daemon's */
    bool inexact;            /* Python would say this, or the reply, in other characters or words */
};

/* Reads a reply to `method`, and its parameters into a struct of `shape`. Returns 0, or -EBADMSG with
 * the error that it carries, or the one of not being a reply. */
int lvm_read_reply(struct lvm_span message, const char *method, const struct lvm_shape *shape,
                   void *ret_parameters, bool *ret_continues, struct lvm_error *ret_error);

#endif
