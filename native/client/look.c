/* Calls that change nothing. */
#include "look.h"
#include "output.h"

int lvm_look(struct lvm_connection *connection, struct lvm_call *call, const char *method,
             const struct lvm_shape *shape, void *ret_parameters)
{
    struct lvm_error error;
    bool continues;
    if (!connection->path || !lvm_end_call(call)) {
        return LVM_HAND_OVER;
    }
    int rc = lvm_open(connection, &error);
    rc = rc ? rc : lvm_send(connection, call, &error);
    rc = rc ? rc : lvm_receive(connection, method, shape, ret_parameters, &continues, &error);
    if (error.inexact || (!rc && continues)) {
        return LVM_HAND_OVER;
    }
    return rc ? lvm_print_error(&error) : LVM_DONE;
}
