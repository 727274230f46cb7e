/* lvm wait */
#include "look.h"
#include "output.h"
#include "words.h"

#include <unistd.h>

static const struct lvm_option options[] = {
    LVM_SOCKET_OPTION,
    {.name = "--for", .value = LVM_CHOICE, .choices = {"running", "ready", "exited"}},
    {.name = "--timeout", .value = LVM_SECONDS},
    {0},
};

static void write_parameters(struct lvm_call *call, const struct lvm_words *words)
{
    const char *until = lvm_given(words, "--for");
    const char *timeout = lvm_given(words, "--timeout");
    size_t at = 0;
    lvm_write(call, "{\"domain\":");
    lvm_write_text(call, lvm_next_argument(words, &at));
    lvm_write_key(call, "until");
    lvm_write_text(call, until ? until : "exited");
    if (timeout) {
        lvm_write_key(call, "timeout_ms");
        lvm_write_number(call, lvm_parse_milliseconds(timeout));
    }
    lvm_write(call, "}");
}

int lvm_wait(int argc, char **argv)
{
    struct lvm_words words;
    if (!lvm_read_words(options, argc, argv, &words) || words.arguments != 1) {
        return LVM_HAND_OVER;
    }
    struct lvm_connection connection = {.path = lvm_socket_path(&words)};
    struct lvm_call call;
    struct lvm_domain_reply reply;
    lvm_begin_call(&call, "Wait", false);
    write_parameters(&call, &words);
    int rc = lvm_look(&connection, &call, "Wait", &lvm_domain_reply_shape, &reply);
    if (rc || !reply.domain.exit.present) {
        return rc;
    }
    struct lvm_output output = {.fd = STDOUT_FILENO};
    lvm_put_outcome(&output, &reply.domain.exit);
    lvm_end_line(&output);
    return lvm_flush(&output);
}
