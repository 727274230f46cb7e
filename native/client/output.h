/* What the command prints, as lightvm/cli/output.py prints it: no control character of anybody's gets
 * to a terminal. */
#ifndef LVM_OUTPUT_H
#define LVM_OUTPUT_H

#include <stddef.h>

#include "reply.h"

/* Zero, but for `fd`, is an output to which nothing was put. */
struct lvm_output {
    int fd;
    int error;     /* errno of a write that failed; nothing is written after it */
    size_t blanks; /* put, and written only when something else of the line follows */
    size_t length;
    char bytes[4096];
};

void lvm_put(struct lvm_output *output, const char *text);

/* Puts text with unprintable characters as escapes, and all beyond ASCII; `lvm_put_plain` that of
 * somebody here, `lvm_put_text` that of a message. */
void lvm_put_plain(struct lvm_output *output, const char *text);
void lvm_put_text(struct lvm_output *output, struct lvm_span text);

/* How many characters lvm_put_text puts. */
size_t lvm_text_width(struct lvm_span text);

void lvm_put_number(struct lvm_output *output, int64_t number);
void lvm_put_blanks(struct lvm_output *output, size_t count);

/* Ends a line; a row ends without the blanks that were put last. */
void lvm_end_line(struct lvm_output *output);
void lvm_end_row(struct lvm_output *output);

/* Writes what was put. Returns 0, or 1 after a line on stderr where that, or an earlier write, has
 * failed. */
int lvm_flush(struct lvm_output *output);

/* Prints the line of an error and returns the exit code for it. */
int lvm_print_error(const struct lvm_error *error);

/* Quantities for people; `ret_text` has room for LVM_QUANTITY_BYTES. */
#define LVM_QUANTITY_BYTES 48
void lvm_format_number(int64_t number, char *ret_text);
void lvm_format_size(int64_t kib, char *ret_text);
void lvm_format_milliseconds(int64_t us, char *ret_text);

/* These return -ERANGE for what is out of the ordinary, which is left to Python. */
int lvm_format_age(double seconds, char *ret_text);
int lvm_format_moment(double seconds, char *ret_text);

/* Puts how a domain ended. */
void lvm_put_outcome(struct lvm_output *output, const struct lvm_exit *exit);

#endif
