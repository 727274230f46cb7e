/* lvm info */
#include "look.h"
#include "output.h"
#include "words.h"

#include <string.h>
#include <unistd.h>

static const struct lvm_option options[] = {
    LVM_SOCKET_OPTION,
    {.name = "--format", .value = LVM_CHOICE, .choices = {"table"}},
    {0},
};

/* Fields in the order of their printing; without an output, only their width is found. */
struct fields {
    struct lvm_output *output;
    size_t width;
    int rc;
};

static void begin(struct fields *fields, const char *name)
{
    size_t length = strlen(name) + 1;
    if (!fields->output) {
        fields->width = length > fields->width ? length : fields->width;
        return;
    }
    lvm_put(fields->output, name);
    lvm_put(fields->output, ":");
    lvm_put_blanks(fields->output, fields->width - length + 2);
}

static void end(struct fields *fields)
{
    if (fields->output) {
        lvm_end_row(fields->output);
    }
}

static void put(struct fields *fields, const char *text)
{
    if (fields->output) {
        lvm_put(fields->output, text);
    }
}

static void put_text(struct fields *fields, struct lvm_span text)
{
    if (fields->output) {
        lvm_put_text(fields->output, text);
    }
}

static void add(struct fields *fields, const char *name, const char *value)
{
    begin(fields, name);
    put(fields, value);
    end(fields);
}

static void add_text(struct fields *fields, const char *name, struct lvm_span value)
{
    begin(fields, name);
    put_text(fields, value);
    end(fields);
}

static void add_number(struct fields *fields, const char *name, struct lvm_integer number)
{
    char text[LVM_QUANTITY_BYTES];
    if (number.present) {
        lvm_format_number(number.value, text);
        add(fields, name, text);
    }
}

static void add_moment(struct fields *fields, const char *name, struct lvm_float moment)
{
    char text[LVM_QUANTITY_BYTES] = "";
    if (moment.present) {
        fields->rc |= lvm_format_moment(moment.value, text);
        add(fields, name, text);
    }
}

static void add_vifs(struct fields *fields, struct lvm_span vifs)
{
    struct lvm_items items = lvm_items(vifs);
    for (struct lvm_vif vif; lvm_next_item(&items, &lvm_vif_shape, &vif);) {
        const struct lvm_span parts[] = {vif.network, vif.mac, vif.ipv4};
        const char *blank = "";
        begin(fields, "vif");
        for (int i = 0; i < 3; i++) {
            if (parts[i].at < parts[i].end) {
                put(fields, blank);
                put_text(fields, parts[i]);
                blank = " ";
            }
        }
        end(fields);
    }
}

static void add_vbds(struct fields *fields, struct lvm_span vbds)
{
    struct lvm_items items = lvm_items(vbds);
    for (struct lvm_vbd vbd; lvm_next_item(&items, &lvm_vbd_shape, &vbd);) {
        char size[LVM_QUANTITY_BYTES];
        lvm_format_size(vbd.size_bytes.value >> 10, size);
        begin(fields, "vbd");
        put_text(fields, vbd.path);
        put(fields, " ");
        put(fields, size);
        put(fields, vbd.readonly ? " read-only" : " read-write");
        end(fields);
    }
}

static void add_cpus(struct fields *fields, struct lvm_span cpus)
{
    struct lvm_items items = lvm_items(cpus);
    for (struct lvm_span one; lvm_next_text(&items, &one);) {
        add_text(fields, "cpus", one);
    }
}

static void add_exit(struct fields *fields, const struct lvm_exit *exit)
{
    if (exit->present) {
        add_moment(fields, "exited", exit->at);
        begin(fields, "exit");
        if (fields->output) {
            lvm_put_outcome(fields->output, exit);
        }
        end(fields);
    }
}

static void add_all(struct fields *fields, const struct lvm_domain *domain)
{
    char text[LVM_QUANTITY_BYTES];
    add_text(fields, "name", domain->name);
    add_text(fields, "uuid", domain->uuid);
    add_number(fields, "domid", domain->domid);
    add_text(fields, "state", domain->state);
    add_text(fields, "flavor", domain->flavor);
    add_text(fields, "mode", domain->mode);
    lvm_format_size(domain->memory_kib.value, text);
    add(fields, "memory", text);
    add_number(fields, "vcpus", domain->vcpus);
    add_cpus(fields, domain->cpus);
    add_text(fields, "image", domain->image);
    add_text(fields, "cmdline", domain->cmdline);
    add_moment(fields, "created", domain->created);
    add_vifs(fields, domain->vifs);
    add_vbds(fields, domain->vbds);
    add_number(fields, "cpu weight", domain->cpu_weight);
    if (domain->cpu_cap.present) {
        lvm_format_number(domain->cpu_cap.value, text);
        begin(fields, "cpu cap");
        put(fields, text);
        put(fields, " %");
        end(fields);
    }
    if (domain->restarts.value) {
        add_number(fields, "restarts", domain->restarts);
    }
    add_number(fields, "heartbeat", domain->heartbeat);
    add_moment(fields, "ready", domain->ready);
    add_exit(fields, &domain->exit);
}

int lvm_info(int argc, char **argv)
{
    struct lvm_words words;
    if (!lvm_read_words(options, argc, argv, &words) || words.arguments != 1) {
        return LVM_HAND_OVER;
    }
    struct lvm_connection connection = {.path = lvm_socket_path(&words)};
    struct lvm_call call;
    struct lvm_domain_reply reply;
    size_t at = 0;
    lvm_begin_call(&call, "Info", false);
    lvm_write(&call, "{\"domain\":");
    lvm_write_text(&call, lvm_next_argument(&words, &at));
    lvm_write(&call, "}");
    int rc = lvm_look(&connection, &call, "Info", &lvm_domain_reply_shape, &reply);
    if (rc) {
        return rc;
    }
    struct lvm_output output = {.fd = STDOUT_FILENO};
    struct fields fields = {0};
    add_all(&fields, &reply.domain);
    if (fields.rc) {
        return LVM_HAND_OVER;
    }
    fields.output = &output;
    add_all(&fields, &reply.domain);
    return lvm_flush(&output);
}
