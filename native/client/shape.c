/* Typed reading of JSON. */
#include "shape.h"

#include <errno.h>
#include <string.h>

static int read_word(struct lvm_json *json, const char *const *words, struct lvm_span *ret_word)
{
    struct lvm_span text;
    if (lvm_json_text(json, &text)) {
        return -EBADMSG;
    }
    for (; *words; words++) {
        if (lvm_text_is(text, *words)) {
            *ret_word = text;
            return 0;
        }
    }
    return -EBADMSG;
}

static int read_item(struct lvm_json *json, const struct lvm_shape *shape)
{
    union {
        max_align_t aligned;
        char bytes[LVM_SHAPE_BYTES];
    } item;
    struct lvm_span text;
    return shape ? lvm_read_shape(json, shape, &item) : lvm_json_text(json, &text);
}

static int read_list(struct lvm_json *json, const struct lvm_shape *shape,
                     struct lvm_span *ret_list)
{
    const char *start = json->at;
    unsigned count = 0;
    int rc = lvm_json_open(json, '[');
    while (!rc && (rc = lvm_json_next(json, ']', &count)) > 0) {
        rc = read_item(json, shape);
    }
    if (!rc) {
        *ret_list = (struct lvm_span){.at = start, .end = json->at};
    }
    return rc;
}

static int read_any(struct lvm_json *json, struct lvm_span *ret_value)
{
    const char *start = json->at;
    int rc = lvm_json_skip(json);
    if (!rc) {
        *ret_value = (struct lvm_span){.at = start, .end = json->at};
    }
    return rc;
}

static int read_value(struct lvm_json *json, const struct lvm_field *field, void *ret_member)
{
    struct lvm_integer *integer = ret_member;
    struct lvm_float *number = ret_member;
    switch (field->kind) {
    case LVM_TEXT:
        return lvm_json_text(json, ret_member);
    case LVM_WORD:
        return read_word(json, field->words, ret_member);
    case LVM_INTEGER:
        integer->present = true;
        return lvm_json_integer(json, &integer->value);
    case LVM_FLOAT:
        number->present = true;
        return lvm_json_float(json, &number->value);
    case LVM_TRUTH:
        return lvm_json_truth(json, ret_member);
    case LVM_OBJECT:
        return lvm_read_shape(json, field->shape, ret_member);
    case LVM_LIST:
        return read_list(json, field->shape, ret_member);
    case LVM_ANY:
        return read_any(json, ret_member);
    case LVM_NULL:
        return lvm_json_null(json) ? 0 : -EBADMSG;
    }
    return -EBADMSG;
}

static size_t size_of(const struct lvm_field *field)
{
    switch (field->kind) {
    case LVM_INTEGER:
        return sizeof(struct lvm_integer);
    case LVM_FLOAT:
        return sizeof(struct lvm_float);
    case LVM_TRUTH:
        return sizeof(bool);
    case LVM_OBJECT:
        return field->shape->size;
    case LVM_NULL:
        return 0;
    default:
        return sizeof(struct lvm_span);
    }
}

static int read_field(struct lvm_json *json, const struct lvm_field *field, void *ret_value)
{
    char *member = (char *)ret_value + field->offset;
    memset(member, 0, size_of(field)); /* it may be there for the second time */
    if (field->nullable && lvm_json_null(json)) {
        return 0;
    }
    return read_value(json, field, member);
}

static size_t find_field(const struct lvm_shape *shape, struct lvm_span key)
{
    size_t index = 0;
    while (index < shape->count && !lvm_text_is(key, shape->fields[index].name)) {
        index++;
    }
    return index;
}

int lvm_read_shape(struct lvm_json *json, const struct lvm_shape *shape, void *ret_value)
{
    uint32_t seen = 0;
    unsigned count = 0;
    memset(ret_value, 0, shape->size);
    int rc = lvm_json_open(json, '{');
    while (!rc && (rc = lvm_json_next(json, '}', &count)) > 0) {
        struct lvm_span key;
        rc = lvm_json_key(json, &key);
        if (rc) {
            break;
        }
        size_t index = find_field(shape, key);
        if (index == shape->count) {
            rc = lvm_json_skip(json);
        } else {
            seen |= UINT32_C(1) << index;
            rc = read_field(json, &shape->fields[index], ret_value);
        }
    }
    for (size_t i = 0; !rc && i < shape->count; i++) {
        if (shape->fields[i].required && !(seen >> i & 1)) {
            rc = -EBADMSG;
        }
    }
    if (!rc) {
        *(bool *)ret_value = true;
    }
    return rc;
}

struct lvm_items lvm_items(struct lvm_span list)
{
    struct lvm_items items = {.json = lvm_json(list)};
    if (!list.at || lvm_json_open(&items.json, '[')) {
        items.json = (struct lvm_json){0};
    }
    return items;
}

bool lvm_next_item(struct lvm_items *items, const struct lvm_shape *shape, void *ret_value)
{
    return lvm_json_next(&items->json, ']', &items->count) > 0
           && !lvm_read_shape(&items->json, shape, ret_value);
}

bool lvm_next_text(struct lvm_items *items, struct lvm_span *ret_text)
{
    return lvm_json_next(&items->json, ']', &items->count) > 0
           && !lvm_json_text(&items->json, ret_text);
}
