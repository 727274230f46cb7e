/* What the client prints. */
#include "harness.h"

#include <fcntl.h>
#include <string.h>

#include "../client/json.c"
#include "../client/output.c"

static struct lvm_span span(const char *text)
{
    return (struct lvm_span){text, text + strlen(text)};
}

/* What was put and not written yet. */
static bool holds(const struct lvm_output *output, const char *text)
{
    return output->length == strlen(text) && !memcmp(output->bytes, text, output->length);
}

static void no_control_character_gets_through(void)
{
    struct lvm_output output = {.fd = -1};
    struct lvm_span text =
        span("a\\u001b[2J\\n\\t\\r\\u0000\x7f \\\\ \xc3\xa9\xe2\x82\xac\\ud83d\\ude00");
    lvm_put_text(&output, text);
    CHECK(holds(&output, "a\\x1b[2J\\n\\t\\r\\x00\\x7f \\ \\xe9\\u20ac\\U0001f600"));
    CHECK(lvm_text_width(text) == output.length);
    output.length = 0;
    lvm_put_plain(&output, "/a\x1b\n");
    CHECK(holds(&output, "/a\\x1b\\n"));
}

static void row_ends_without_blanks_and_line_keeps_them(void)
{
    struct lvm_output output = {.fd = -1};
    lvm_put(&output, "a ");
    lvm_put_blanks(&output, 1);
    lvm_put(&output, "b ");
    lvm_end_row(&output);
    lvm_put(&output, "c ");
    lvm_end_line(&output);
    CHECK(holds(&output, "a  b\nc \n"));
}

static void more_than_a_buffer_is_written_in_order(void)
{
    static char got[3 * sizeof(((struct lvm_output *)0)->bytes)];
    int ends[2];
    CHECK(pipe(ends) == 0);
    struct lvm_output output = {.fd = ends[1]};
    for (size_t i = 0; i < sizeof(got); i++) {
        lvm_put(&output, i % 2 ? "b" : "a");
    }
    CHECK(lvm_flush(&output) == 0);
    CHECK(read(ends[0], got, sizeof(got)) == (ssize_t)sizeof(got));
    for (size_t i = 0; i < sizeof(got); i++) {
        CHECK(got[i] == (i % 2 ? 'b' : 'a'));
    }
}

static void output_that_cannot_be_written_is_an_error(void)
{
    int null = open("/dev/null", O_WRONLY);
    CHECK(null >= 0 && dup2(null, STDERR_FILENO) >= 0);
    struct lvm_output output = {.fd = open("/dev/full", O_WRONLY)};
    lvm_put(&output, "a");
    CHECK(lvm_flush(&output) == LVM_FAILED && output.error == ENOSPC);
}

#define SAYS(call, text) ((call), !strcmp(got, (text)))

static void quantities_are_those_of_the_python_command(void)
{
    char got[LVM_QUANTITY_BYTES];
    CHECK(SAYS(lvm_format_size(4096, got), "4M") && SAYS(lvm_format_size(4097, got), "4097K"));
    CHECK(SAYS(lvm_format_size(1048576, got), "1G") && SAYS(lvm_format_size(0, got), "0K"));
    CHECK(SAYS(lvm_format_milliseconds(412, got), "0.41 ms"));
    CHECK(SAYS(lvm_format_milliseconds(15, got), "0.01 ms")); /* 0.015 is a little less than that */
    CHECK(SAYS(lvm_format_milliseconds(LVM_INTEGER_MAX, got), "9007199254740.99 ms"));
    CHECK(SAYS(lvm_format_age(59.9, got), "59s") && SAYS(lvm_format_age(60, got), "1m"));
    CHECK(SAYS(lvm_format_age(7199, got), "1h") && SAYS(lvm_format_age(172800, got), "2d"));
    CHECK(SAYS(lvm_format_age(-5, got), "0s") && lvm_format_age(1e300, got) == -ERANGE);
}

static void moments_are_local(void)
{
    char got[LVM_QUANTITY_BYTES];
    setenv("TZ", "UTC-2", 1);
    CHECK(lvm_format_moment(1700000000.25, got) == 0);
    CHECK(!strcmp(got, "2023-11-15T00:13:20.250"));
    CHECK(lvm_format_moment(-1, got) == -ERANGE && lvm_format_moment(1e300, got) == -ERANGE);
}

int main(void)
{
    RUN(no_control_character_gets_through);
    RUN(row_ends_without_blanks_and_line_keeps_them);
    RUN(more_than_a_buffer_is_written_in_order);
    RUN(quantities_are_those_of_the_python_command);
    RUN(moments_are_local);
    RUN(output_that_cannot_be_written_is_an_error);
    return 0;
}
