/* What the command prints. */
#include "output.h"
#include "verbs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void write_out(struct lvm_output *output)
{
    const char *at = output->bytes, *end = at + output->length;
    while (at < end && !output->error) {
        ssize_t written = write(output->fd, at, (size_t)(end - at));
        if (written >= 0) {
            at += written;
        } else if (errno != EINTR) {
            output->error = errno;
        }
    }
    output->length = 0;
}

static void put_byte(struct lvm_output *output, char byte)
{
    if (output->length == sizeof(output->bytes)) {
        write_out(output);
    }
    output->bytes[output->length++] = byte;
}

static void put_character(struct lvm_output *output, char c)
{
    if (c == ' ') {
        output->blanks++;
        return;
    }
    for (; output->blanks > 0; output->blanks--) {
        put_byte(output, ' ');
    }
    put_byte(output, c);
}

void lvm_put(struct lvm_output *output, const char *text)
{
    for (; *text; text++) {
        put_character(output, *text);
    }
}

void lvm_put_blanks(struct lvm_output *output, size_t count) { output->blanks += count; }

void lvm_end_line(struct lvm_output *output) { put_character(output, '\n'); }

void lvm_end_row(struct lvm_output *output)
{
    output->blanks = 0;
    lvm_end_line(output);
}

/* Writes a character as it is printed into `ret_text`, and returns how many bytes that takes: at most
 * ten, as in "\U0010ffff". */
static size_t make_printable(int32_t code, char *ret_text)
{
    static const char digits[] = "0123456789abcdef";
    static const char controls[] = "\t\n\r", names[] = "tnr";
    if (code >= 0x20 && code < 0x7f) {
        ret_text[0] = (char)code;
        return 1;
    }
    ret_text[0] = '\\';
    const char *control = code && code < 0x20 ? strchr(controls, code) : NULL;
    if (control) {
        ret_text[1] = names[control - controls];
        return 2;
    }
    size_t width = code < 0x100 ? 2 : code < 0x10000 ? 4 : 8;
    ret_text[1] = width == 2 ? 'x' : width == 4 ? 'u' : 'U';
    for (size_t i = 0; i < width; i++) {
        ret_text[2 + i] = digits[code >> 4 * (width - 1 - i) & 15];
    }
    return 2 + width;
}

static void put_printable(struct lvm_output *output, int32_t code)
{
    char text[10];
    size_t length = make_printable(code, text);
    for (size_t i = 0; i < length; i++) {
        put_character(output, text[i]);
    }
}

void lvm_put_plain(struct lvm_output *output, const char *text)
{
    for (; *text; text++) {
        put_printable(output, (unsigned char)*text);
    }
}

void lvm_put_text(struct lvm_output *output, struct lvm_span text)
{
    for (int32_t code; (code = lvm_text_next(&text)) >= 0;) {
        put_printable(output, code);
    }
}

size_t lvm_text_width(struct lvm_span text)
{
    char printable[10];
    size_t width = 0;
    for (int32_t code; (code = lvm_text_next(&text)) >= 0;) {
        width += make_printable(code, printable);
    }
    return width;
}

void lvm_put_number(struct lvm_output *output, int64_t number)
{
    char text[LVM_QUANTITY_BYTES];
    lvm_format_number(number, text);
    lvm_put(output, text);
}

int lvm_flush(struct lvm_output *output)
{
    write_out(output);
    if (!output->error) {
        return 0;
    }
    char text[64];
    snprintf(text, sizeof(text), "[Errno %d] %s", output->error, strerror(output->error));
    return lvm_print_error(&(struct lvm_error){.code = "os-error", .text = text});
}

int lvm_print_error(const struct lvm_error *error)
{
    struct lvm_output line = {.fd = STDERR_FILENO};
    lvm_put(&line, "lightvm: ");
    lvm_put(&line, error->code);
    lvm_put(&line, ": ");
    lvm_put(&line, error->text ? error->text : "");
    lvm_put_text(&line, error->message);
    if (error->place || error->where.at < error->where.end) {
        lvm_put(&line, " (");
        lvm_put_plain(&line, error->place ? error->place : "");
        lvm_put_text(&line, error->where);
        lvm_put(&line, ")");
    }
    lvm_end_line(&line);
    write_out(&line);
    return strcmp(error->code, "no-daemon") == 0 ? LVM_NO_DAEMON : LVM_FAILED;
}

void lvm_format_number(int64_t number, char *ret_text)
{
    snprintf(ret_text, LVM_QUANTITY_BYTES, "%lld", (long long)number);
}

void lvm_format_size(int64_t kib, char *ret_text)
{
    static const int64_t gib = 1024 * 1024, mib = 1024;
    int64_t factor = kib && kib % gib == 0 ? gib : kib && kib % mib == 0 ? mib : 1;
    char unit = factor == gib ? 'G' : factor == mib ? 'M' : 'K';
    snprintf(ret_text, LVM_QUANTITY_BYTES, "%lld%c", (long long)(kib / factor), unit);
}

void lvm_format_milliseconds(int64_t us, char *ret_text)
{
    snprintf(ret_text, LVM_QUANTITY_BYTES, "%.2f ms", (double)us / 1000);
}

int lvm_format_age(double seconds, char *ret_text)
{
    static const struct {
        char unit;
        int64_t seconds;
    } units[] = {{'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}};
    if (seconds >= 1e12) {
        return -ERANGE;
    }
    int64_t whole = seconds > 0 ? (int64_t)seconds : 0;
    size_t i = 0;
    while (units[i].unit != 's' && whole < units[i].seconds) {
        i++;
    }
    snprintf(ret_text, LVM_QUANTITY_BYTES, "%lld%c", (long long)(whole / units[i].seconds),
             units[i].unit);
    return 0;
}

int lvm_format_moment(double seconds, char *ret_text)
{
    if (seconds < 0 || seconds >= 1e11) {
        return -ERANGE;
    }
    time_t whole = (time_t)seconds;
    struct tm local;
    char clock[32];
    if (!localtime_r(&whole, &local)
        || strftime(clock, sizeof(clock), "%Y-%m-%dT%H:%M:%S", &local) == 0) {
        return -ERANGE;
    }
    snprintf(ret_text, LVM_QUANTITY_BYTES, "%s.%03d", clock,
             (int)((int64_t)(seconds * 1000) % 1000));
    return 0;
}

void lvm_put_outcome(struct lvm_output *output, const struct lvm_exit *exit)
{
    lvm_put_text(output, exit->reason);
    if (exit->status.present) {
        lvm_put(output, " ");
        lvm_put_number(output, exit->status.value);
    }
}
