/* lvm destroy */
#include "output.h"
#include "varlink.h"
#include "verbs.h"
#include "words.h"

#include <string.h>

static const struct lvm_option options[] = {
    LVM_SOCKET_OPTION,
    {.name = "--missing-ok", .value = LVM_FLAG},
    {0},
};

/* Whether the daemon is gone, or none: there is no use in asking on. */
static bool is_final(const char *code)
{
    static const char *const final[] = {"connection-lost", "no-daemon", "protocol-error",
                                        "os-error"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(code, final[i]) == 0) {
            return true;
        }
    }
    return false;
}

static int destroy(struct lvm_connection *connection, const char *domain, bool missing_ok,
                   struct lvm_error *ret_error)
{
    struct lvm_call call;
    struct lvm_domain_reply reply;
    bool continues = false;
    lvm_begin_call(&call, "Destroy", false);
    lvm_write(&call, "{\"domain\":");
    lvm_write_text(&call, domain);
    lvm_write(&call, missing_ok ? ",\"missing_ok\":true}" : ",\"missing_ok\":false}");
    lvm_end_call(&call); /* a plain word fits */
    int rc = lvm_send(connection, &call, ret_error);
    rc = rc ? rc
            : lvm_receive(connection, "Destroy", &lvm_destroy_reply_shape, &reply, &continues,
                          ret_error);
    if (!rc && continues) {
        *ret_error = (struct lvm_error){.code = "protocol-error",
                                        .text = "more than one reply to io.github.lightvm.Destroy"};
        rc = -1;
    }
    lvm_rest(connection);
    return rc;
}

int lvm_destroy(int argc, char **argv)
{
    struct lvm_words words;
    if (!lvm_read_words(options, argc, argv, &words) || words.arguments == 0) {
        return LVM_HAND_OVER;
    }
    struct lvm_connection connection = {.path = lvm_socket_path(&words)};
    struct lvm_error error;
    if (!connection.path) {
        return LVM_HAND_OVER;
    }
    if (lvm_open(&connection, &error)) {
        return error.inexact ? LVM_HAND_OVER : lvm_print_error(&error);
    }
    bool missing_ok = lvm_given(&words, "--missing-ok");
    int code = LVM_DONE;
    size_t at = 0;
    for (const char *domain; (domain = lvm_next_argument(&words, &at));) {
        if (destroy(&connection, domain, missing_ok, &error)) {
            code = lvm_print_error(&error);
            if (is_final(error.code)) {
                return code;
            }
        }
    }
    return code;
}
