/* lvm create */
#include "output.h"
#include "path.h"
#include "varlink.h"
#include "verbs.h"
#include "words.h"

#include <string.h>
#include <unistd.h>

#define POLICY(event) \
    {"--on-" #event, LVM_CHOICE, "on_" #event, false, {"destroy", "restart", "preserve"}}

static const struct lvm_option options[] = {
    LVM_SOCKET_OPTION,
    {"--name", LVM_STRING, "name", false, {0}},
    {"--flavor", LVM_STRING, "flavor", false, {0}},
    {"--mode", LVM_CHOICE, "mode", false, {"noxs", "xenstore"}},
    {"--memory", LVM_SIZE, "memory_kib", false, {0}},
    {"--vcpus", LVM_COUNT, "vcpus", false, {0}},
    {"--cpus", LVM_STRING, "cpus", true, {0}},
    {"--cpu-weight", LVM_COUNT, "cpu_weight", false, {0}},
    {"--cpu-cap", LVM_COUNT, "cpu_cap", false, {0}},
    {"--cmdline", LVM_STRING, "cmdline", false, {0}},
    {"--module", LVM_FILE, "modules", true, {0}},
    {"--net", LVM_NET, "nets", true, {0}},
    {"--disk", LVM_DISK, "disks", true, {0}},
    POLICY(poweroff),
    POLICY(reboot),
    POLICY(crash),
    {"--count", LVM_COUNT, NULL, false, {0}},
    {"--paused", LVM_FLAG, "paused", false, {0}},
    {"--cold", LVM_FLAG, "cold", false, {0}},
    {"--wait", LVM_CHOICE, "wait", false, {"running", "ready"}},
    {"--timeout", LVM_SECONDS, "timeout_ms", false, {0}},
    {"--token", LVM_STRING, "token", false, {0}},
    {"--format", LVM_CHOICE, NULL, false, {"table"}},
    {0},
};

static void write_path(struct lvm_call *call, const char *path)
{
    char absolute[LVM_PATH_BYTES];
    if (!lvm_absolute_path(path, absolute)) {
        call->unfit = true;
        return;
    }
    lvm_write_text(call, absolute);
}

/* A part of a value that has several, up to a comma. */
static void write_part(struct lvm_call *call, const char *key, const char *text)
{
    char part[LVM_WORD_BYTES + 1];
    size_t length = strcspn(text, ",");
    memcpy(part, text, length);
    part[length] = '\0';
    lvm_write_key(call, key);
    lvm_write_text(call, part);
}

static void write_net(struct lvm_call *call, const char *net)
{
    lvm_write(call, "{");
    write_part(call, "network", net);
    while ((net = strchr(net, ','))) {
        net++;
        bool mac = *net == 'm';
        write_part(call, mac ? "mac" : "ipv4", net + (mac ? strlen("mac=") : strlen("ip=")));
    }
    lvm_write(call, "}");
}

static void write_disk(struct lvm_call *call, const char *disk)
{
    char path[LVM_WORD_BYTES + 1];
    strcpy(path, disk);
    char *mode = strrchr(path, ',');
    bool readonly = mode && strcmp(mode, ",ro") == 0;
    bool given = readonly || (mode && strcmp(mode, ",rw") == 0);
    if (given) {
        *mode = '\0';
    }
    lvm_write(call, "{\"path\":");
    write_path(call, path);
    if (given) {
        lvm_write(call, readonly ? ",\"readonly\":true" : ",\"readonly\":false");
    }
    lvm_write(call, "}");
}

static void write_value(struct lvm_call *call, enum lvm_value kind, const char *value)
{
    switch (kind) {
    case LVM_FLAG:
        lvm_write(call, "true");
        break;
    case LVM_COUNT:
        lvm_write_number(call, lvm_parse_count(value));
        break;
    case LVM_SIZE:
        lvm_write_number(call, lvm_parse_size(value));
        break;
    case LVM_SECONDS:
        lvm_write_number(call, lvm_parse_milliseconds(value));
        break;
    case LVM_FILE:
        write_path(call, value);
        break;
    case LVM_NET:
        write_net(call, value);
        break;
    case LVM_DISK:
        write_disk(call, value);
        break;
    default:
        lvm_write_text(call, value);
    }
}

static void write_repeated(struct lvm_call *call, const struct lvm_option *option,
                           const struct lvm_words *words)
{
    lvm_write(call, "[");
    for (size_t i = 0; i < words->count; i++) {
        if (words->word[i].option == option) {
            lvm_write_comma(call);
            write_value(call, option->value, words->word[i].value);
        }
    }
    lvm_write(call, "]");
}

/* Writes a request; a number that is not 0 tells it from others of the same call. */
static void write_request(struct lvm_call *call, const struct lvm_words *words, const char *image,
                          uint64_t number)
{
    lvm_write(call, "{\"image\":");
    lvm_write_text(call, image);
    for (const struct lvm_option *option = options; option->name; option++) {
        const char *value = option->member ? lvm_given(words, option->name) : NULL;
        if (!value) {
            continue;
        }
        lvm_write_key(call, option->member);
        if (option->repeated) {
            write_repeated(call, option, words);
        } else if (number
                   && (!strcmp(option->member, "name") || !strcmp(option->member, "token"))) {
            lvm_write_numbered(call, value, number);
        } else {
            write_value(call, option->value, value);
        }
    }
    lvm_write(call, "}");
}

static bool write_one(struct lvm_call *call, const struct lvm_words *words, const char *image)
{
    lvm_begin_call(call, "Create", false);
    lvm_write(call, "{\"request\":");
    write_request(call, words, image, 0);
    lvm_write(call, "}");
    return lvm_end_call(call);
}

static bool write_many(struct lvm_call *call, const struct lvm_words *words, const char *image,
                       uint64_t count)
{
    lvm_begin_call(call, "CreateMany", true);
    lvm_write(call, "{\"requests\":[");
    for (uint64_t number = 1; number <= count && !call->unfit; number++) {
        lvm_write_comma(call);
        write_request(call, words, image, number);
    }
    lvm_write(call, "]}");
    return lvm_end_call(call);
}

static int print_created(struct lvm_output *output, const struct lvm_created *created)
{
    char text[LVM_QUANTITY_BYTES];
    lvm_put_text(output, created->domain.name);
    lvm_put(output, "  ");
    lvm_put_number(output, created->domain.domid.value);
    lvm_put(output, "  ");
    lvm_put_text(output, created->source);
    lvm_format_milliseconds(created->phases.total_us.value, text);
    lvm_put(output, "  ");
    lvm_put(output, text);
    if (created->phases.ready_us.present) {
        lvm_format_milliseconds(created->phases.ready_us.value, text);
        lvm_put(output, "  ready after ");
        lvm_put(output, text);
    }
    lvm_end_line(output);
    return lvm_flush(output);
}

static void print_failure(const struct lvm_result *result, uint64_t count)
{
    struct lvm_output line = {.fd = STDERR_FILENO};
    lvm_put(&line, "lightvm: ");
    lvm_put_text(&line, result->failure.code);
    lvm_put(&line, ": ");
    lvm_put_text(&line, result->failure.message);
    lvm_put(&line, " (domain ");
    lvm_put_number(&line, result->index.value + 1);
    lvm_put(&line, " of ");
    lvm_put_number(&line, (int64_t)count);
    if (result->failure.where.at) {
        lvm_put(&line, ", ");
        lvm_put_text(&line, result->failure.where);
    }
    lvm_put(&line, ")");
    lvm_end_line(&line);
    lvm_flush(&line);
}

static int create_one(struct lvm_connection *connection, struct lvm_output *output)
{
    struct lvm_create_reply reply;
    struct lvm_error error;
    bool continues;
    if (lvm_receive(connection, "Create", &lvm_create_reply_shape, &reply, &continues, &error)) {
        return lvm_print_error(&error);
    }
    if (continues) {
        error = (struct lvm_error){.code = "protocol-error",
                                   .text = "more than one reply to io.github.lightvm.Create"};
        return lvm_print_error(&error);
    }
    return print_created(output, &reply.created);
}

/* Prints the results of a reply as they come. Returns 0, 1 where one has failed, or -1 where nothing
 * can be printed. */
static int print_results(struct lvm_output *output, struct lvm_span results, uint64_t count)
{
    struct lvm_items items = lvm_items(results);
    int code = LVM_DONE;
    for (struct lvm_result result; lvm_next_item(&items, &lvm_result_shape, &result);) {
        if (result.created.present && print_created(output, &result.created)) {
            return -1;
        }
        if (result.failure.present) {
            print_failure(&result, count);
            code = LVM_FAILED;
        }
    }
    return code;
}

static int create_many(struct lvm_connection *connection, struct lvm_output *output, uint64_t count)
{
    struct lvm_error error;
    bool continues = true;
    int code = LVM_DONE;
    while (continues) {
        struct lvm_list_reply reply;
        if (lvm_receive(connection, "CreateMany", &lvm_create_many_reply_shape, &reply, &continues,
                        &error)) {
            return lvm_print_error(&error);
        }
        int rc = print_results(output, reply.list, count);
        if (rc < 0) {
            return LVM_FAILED;
        }
        code |= rc;
    }
    return code;
}

static bool is_configuration(const char *source)
{
    const char *end = strrchr(source, '.');
    return end && (!strcmp(end, ".cfg") || !strcmp(end, ".toml") || !strcmp(end, ".json"));
}

int lvm_create(int argc, char **argv)
{
    struct lvm_words words;
    char image[LVM_PATH_BYTES];
    size_t at = 0;
    if (!lvm_read_words(options, argc, argv, &words) || words.arguments != 1) {
        return LVM_HAND_OVER;
    }
    const char *source = lvm_next_argument(&words, &at);
    const char *many = lvm_given(&words, "--count");
    if (is_configuration(source) || !lvm_find_image(source, image)
        || (lvm_given(&words, "--timeout") && !lvm_given(&words, "--wait"))
        || (many && isatty(STDERR_FILENO))) { /* Python shows how far it is */
        return LVM_HAND_OVER;
    }
    struct lvm_connection connection = {.path = lvm_socket_path(&words)};
    struct lvm_call call;
    struct lvm_error error;
    uint64_t count = many ? lvm_parse_count(many) : 0;
    if (!connection.path
        || !(many ? write_many(&call, &words, image, count) : write_one(&call, &words, image))) {
        return LVM_HAND_OVER;
    }
    if (lvm_open(&connection, &error) || lvm_send(&connection, &call, &error)) {
        return error.inexact ? LVM_HAND_OVER : lvm_print_error(&error);
    }
    struct lvm_output output = {.fd = STDOUT_FILENO};
    return many ? create_many(&connection, &output, count) : create_one(&connection, &output);
}
