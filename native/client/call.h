/* A call of the daemon as it is written: Varlink is JSON and a NUL. */
#ifndef LVM_CALL_H
#define LVM_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is longer is left to Python. */
#define LVM_CALL_BYTES 65536

struct lvm_call {
    size_t length;
    bool unfit; /* too long, or with bytes that are not ASCII: it cannot be sent */
    char bytes[LVM_CALL_BYTES];
};

/* Begins a call of `method`, without the interface's name; with `more`, of several replies. What
 * follows is the value of its parameters. */
void lvm_begin_call(struct lvm_call *call, const char *method, bool more);

/* Ends a call; returns whether it may be sent. */
bool lvm_end_call(struct lvm_call *call);

/* Adds JSON as it is. */
void lvm_write(struct lvm_call *call, const char *json);

/* Adds a key of an object, with the comma before it where it is not the first. */
void lvm_write_key(struct lvm_call *call, const char *key);

/* Adds a comma where something stands before it in the same array. */
void lvm_write_comma(struct lvm_call *call);

/* Adds a string with all that it needs of escapes. */
void lvm_write_text(struct lvm_call *call, const char *text);

/* Adds "TEXT-NUMBER" as one string. */
void lvm_write_numbered(struct lvm_call *call, const char *text, uint64_t number);

void lvm_write_number(struct lvm_call *call, uint64_t number);

#endif
