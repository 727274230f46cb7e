/* A connection to the daemon: calls one after the other, each with its replies. */
#ifndef LVM_VARLINK_H
#define LVM_VARLINK_H

#include "call.h"
#include "reply.h"

#define LVM_SOCKET "/run/lightvm/lightvm.sock"
/* No message may be longer. */
#define LVM_MESSAGE_BYTES (16 * 1024 * 1024)

/* Zero is one that is not open; `path` is for the caller to set. */
struct lvm_connection {
    const char *path;
    int fd;        /* 0: not open */
    char *bytes;   /* what was received: `first`, or, after a large reply, a mapping of its own */
    size_t start;  /* of the next message */
    size_t length; /* up to where there is something */
    size_t size;
    char first[8192];
};

/* Connects. Waits 4 s where the daemon is too busy to accept, no longer. Returns 0, or -1 with the
 * error. */
int lvm_open(struct lvm_connection *connection, struct lvm_error *ret_error);

/* Sends a call, over a new connection where the old one is closed. Returns as lvm_open does. */
int lvm_send(struct lvm_connection *connection, const struct lvm_call *call,
             struct lvm_error *ret_error);

/* Waits for the next reply, and reads it as lvm_read_reply does. What it returns is good until the
 * next call of a function here. Returns 0, or -1 with the error. */
int lvm_receive(struct lvm_connection *connection, const char *method,
                const struct lvm_shape *shape, void *ret_parameters, bool *ret_continues,
                struct lvm_error *ret_error);

/* Closes a connection whose last reply has something behind it, which no call has asked for. */
void lvm_rest(struct lvm_connection *connection);

#endif
