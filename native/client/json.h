/* A strict reader of JSON that allocates nothing: what it returns are places in the message.
 *
 * Each function passes over blanks, reads one thing at `at` and moves on. It returns 0, or -EBADMSG
 * where something else is there, after which the reader is of no more use.
 */
#ifndef LVM_JSON_H
#define LVM_JSON_H

#include <stdbool.h>
#include <stdint.h>

/* How many arrays and objects may lie in one another. */
#define LVM_DEPTH_MAX 128
/* No integer that is further from 0 has a meaning here; doubles stand for all of these. */
#define LVM_INTEGER_MAX (INT64_C(1) << 53)

/* Bytes of a message; of a string, those between its quotes, with their escapes. */
struct lvm_span {
    const char *at; /* NULL: there is none */
    const char *end;
};

struct lvm_json {
    const char *at;
    const char *end;
    bool unicode; /* a string had a character beyond ASCII */
};

struct lvm_json lvm_json(struct lvm_span message);

/* Only blanks follow. */
int lvm_json_end(struct lvm_json *json);

/* A string: valid UTF-8, valid escapes, no control characters. */
int lvm_json_text(struct lvm_json *json, struct lvm_span *ret_text);

/* An integer of at most LVM_INTEGER_MAX either way. */
int lvm_json_integer(struct lvm_json *json, int64_t *ret_value);

/* A number that is finite as a double, and not longer than 63 characters. */
int lvm_json_float(struct lvm_json *json, double *ret_value);

int lvm_json_truth(struct lvm_json *json, bool *ret_value);

/* Returns 1 after a null, or 0 where something else is, which is left in its place. */
int lvm_json_null(struct lvm_json *json);

/* Any value, to a depth of LVM_DEPTH_MAX. */
int lvm_json_skip(struct lvm_json *json);

/* Steps into an array with '[', or into an object with '{'. */
int lvm_json_open(struct lvm_json *json, char bracket);

/* Goes on to the next item of what was stepped into, which ends with `closing`. `count` begins as 0
 * and counts them. Returns 1 where there is one, and 0 after the end. */
int lvm_json_next(struct lvm_json *json, char closing, unsigned *count);

/* The key of an object's item, with its colon. */
int lvm_json_key(struct lvm_json *json, struct lvm_span *ret_key);

/* Takes one character off a string that was read; returns its code point, or -1 at the end. */
int32_t lvm_text_next(struct lvm_span *text);

/* Whether a string that was read says `word`. */
bool lvm_text_is(struct lvm_span text, const char *word);

#endif
