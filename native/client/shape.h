/* Typed reading of JSON: a table says what an object's fields are, and where each goes in a struct.
 *
 * The rules are those by which the Python clients read a reply: fields that the table does not have
 * are passed over, of a field that is there twice the last one counts, and an optional field may be
 * null or missing.
 */
#ifndef LVM_SHAPE_H
#define LVM_SHAPE_H

#include <stddef.h>

#include "json.h"

enum lvm_kind {
    LVM_TEXT,    /* struct lvm_span */
    LVM_WORD,    /* struct lvm_span: one of `words` */
    LVM_INTEGER, /* struct lvm_integer */
    LVM_FLOAT,   /* struct lvm_float */
    LVM_TRUTH,   /* bool */
    LVM_OBJECT,  /* a struct of `shape`, whose first member is `bool present` */
    LVM_LIST,    /* struct lvm_span: the array, its items checked against `shape`, or texts */
    LVM_ANY,     /* struct lvm_span: the value, which is JSON */
    LVM_NULL,    /* nothing but null: no member */
};

struct lvm_integer {
    bool present;
    int64_t value;
};

struct lvm_float {
    bool present;
    double value;
};

struct lvm_field {
    const char *name;
    enum lvm_kind kind;
    bool required;
    bool nullable;
    size_t offset;
    const struct lvm_shape *shape;
    const char *const *words;
};

struct lvm_shape {
    const struct lvm_field *fields;
    size_t count; /* at most LVM_FIELDS_MAX */
    size_t size;  /* of the struct, at most LVM_SHAPE_BYTES */
};

#define LVM_FIELDS_MAX 32
/* Room for any struct that is an item of a list. */
#define LVM_SHAPE_BYTES 768

/* Reads an object into a struct of `shape`. What was not there is absent: NULL, false, or not
 * `present`. Returns 0 or -EBADMSG. */
int lvm_read_shape(struct lvm_json *json, const struct lvm_shape *shape, void *ret_value);

/* Goes through a list that lvm_read_shape has checked. */
struct lvm_items {
    struct lvm_json json;
    unsigned count;
};

struct lvm_items lvm_items(struct lvm_span list);
bool lvm_next_item(struct lvm_items *items, const struct lvm_shape *shape, void *ret_value);
bool lvm_next_text(struct lvm_items *items, struct lvm_span *ret_text);

#endif
