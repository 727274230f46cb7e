/* Calls that change nothing: where Python would say something in other words, it is left to say all. */
#ifndef LVM_LOOK_H
#define LVM_LOOK_H

#include "varlink.h"
#include "verbs.h"

/* Makes a call with one reply. Returns LVM_DONE, or an exit code after the line of an error, or
 * LVM_HAND_OVER. */
int lvm_look(struct lvm_connection *connection, struct lvm_call *call, const char *method,
             const struct lvm_shape *shape, void *ret_parameters);

#endif
