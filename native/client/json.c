/* A strict reader of JSON that allocates nothing. */
#include "json.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void skip_blanks(struct lvm_json *json)
{
    while (json->at < json->end
           && (*json->at == ' ' || *json->at == '\t' || *json->at == '\n' || *json->at == '\r')) {
        json->at++;
    }
}

/* The next character that is no blank, or 0 at the end. */
static char peek(struct lvm_json *json)
{
    skip_blanks(json);
    return json->at < json->end ? *json->at : '\0';
}

static bool take(struct lvm_json *json, const char *literal)
{
    size_t length = strlen(literal);
    skip_blanks(json);
    if ((size_t)(json->end - json->at) < length || memcmp(json->at, literal, length) != 0) {
        return false;
    }
    json->at += length;
    return true;
}

struct lvm_json lvm_json(struct lvm_span message)
{
    return (struct lvm_json){.at = message.at, .end = message.end};
}

int lvm_json_end(struct lvm_json *json)
{
    skip_blanks(json);
    return json->at == json->end ? 0 : -EBADMSG;
}

/* The length of the UTF-8 sequence at `at` and its code point, or 0 where it is none. */
static int read_utf8(const char *at, const char *end, int32_t *ret_code)
{
    static const int32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char first = (unsigned char)*at;
    int length = first < 0x80 ? 1 : first < 0xc0 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (length == 0 || first > 0xf4 || end - at < length) {
        return 0;
    }
    int32_t code = length == 1 ? first : first & (0x7f >> length);
    for (int i = 1; i < length; i++) {
        unsigned char next = (unsigned char)at[i];
        if ((next & 0xc0) != 0x80) {
            return 0;
        }
        code = code << 6 | (next & 0x3f);
    }
    if (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
        return 0;
    }
    *ret_code = code;
    return length;
}

/* The four digits after a \u, or -1. */
static int32_t read_hex(const char *at, const char *end)
{
    if (end - at < 4) {
        return -1;
    }
    int32_t code = 0;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) {
            return -1;
        }
        code = code << 4 | digit;
    }
    return code;
}

/* The length of the escape at `at`, which has a backslash, and its code point; 0 where it is none.
 * Two escapes that are a pair of surrogates are one. */
static int read_escape(const char *at, const char *end, int32_t *ret_code)
{
    static const char names[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    if (end - at < 2) {
        return 0;
    }
    if (at[1] != 'u') {
        const char *found = at[1] ? strchr(names, at[1]) : NULL;
        if (!found) {
            return 0;
        }
        *ret_code = meanings[found - names];
        return 2;
    }
    int32_t code = read_hex(at + 2, end);
    if (code < 0 || (code >= 0xdc00 && code < 0xe000)) {
        return 0;
    }
    if (code < 0xd800 || code >= 0xe000) {
        *ret_code = code;
        return 6;
    }
    int32_t low = end - at >= 8 && at[6] == '\\' && at[7] == 'u' ? read_hex(at + 8, end) : -1;
    if (low < 0xdc00 || low >= 0xe000) {
        return 0;
    }
    *ret_code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    return 12;
}

/* The length of the character at `at`, in a string, and its code point; 0 where it is none. */
static int read_character(const char *at, const char *end, int32_t *ret_code)
{
    if (*at == '\\') {
        return read_escape(at, end, ret_code);
    }
    return (unsigned char)*at < 0x20 ? 0 : read_utf8(at, end, ret_code);
}

int lvm_json_text(struct lvm_json *json, struct lvm_span *ret_text)
{
    if (!take(json, "\"")) {
        return -EBADMSG;
    }
    const char *start = json->at;
    while (json->at < json->end && *json->at != '"') {
        int32_t code;
        int length = read_character(json->at, json->end, &code);
        if (length == 0) {
            return -EBADMSG;
        }
        json->unicode |= code >= 0x80;
        json->at += length;
    }
    if (json->at == json->end) {
        return -EBADMSG;
    }
    *ret_text = (struct lvm_span){.at = start, .end = json->at++};
    return 0;
}

int32_t lvm_text_next(struct lvm_span *text)
{
    int32_t code = -1;
    if (text->at < text->end) {
        text->at += read_character(text->at, text->end, &code);
    }
    return code;
}

bool lvm_text_is(struct lvm_span text, const char *word)
{
    for (; *word; word++) {
        if (lvm_text_next(&text) != (unsigned char)*word) {
            return false;
        }
    }
    return text.at == text.end;
}

static int skip_digits(struct lvm_json *json)
{
    const char *start = json->at;
    while (json->at < json->end && *json->at >= '0' && *json->at <= '9') {
        json->at++;
    }
    return json->at > start ? 0 : -EBADMSG;
}

static int read_number(struct lvm_json *json, struct lvm_span *ret_number, bool *ret_whole)
{
    skip_blanks(json);
    const char *start = json->at;
    bool whole = true;
    if (json->at < json->end && *json->at == '-') {
        json->at++;
    }
    const char *digits = json->at;
    if (skip_digits(json) || (*digits == '0' && json->at - digits > 1)) {
        return -EBADMSG;
    }
    if (json->at < json->end && *json->at == '.') {
        whole = false;
        json->at++;
        if (skip_digits(json)) {
            return -EBADMSG;
        }
    }
    if (json->at < json->end && (*json->at == 'e' || *json->at == 'E')) {
        whole = false;
        json->at++;
        if (json->at < json->end && (*json->at == '+' || *json->at == '-')) {
            json->at++;
        }
        if (skip_digits(json)) {
            return -EBADMSG;
        }
    }
    *ret_number = (struct lvm_span){.at = start, .end = json->at};
    *ret_whole = whole;
    return 0;
}

int lvm_json_integer(struct lvm_json *json, int64_t *ret_value)
{
    struct lvm_span number;
    bool whole;
    if (read_number(json, &number, &whole) || !whole) {
        return -EBADMSG;
    }
    bool negative = *number.at == '-';
    int64_t value = 0;
    for (const char *at = number.at + negative; at < number.end; at++) {
        value = value * 10 + (*at - '0');
        if (value > LVM_INTEGER_MAX) {
            return -EBADMSG;
        }
    }
    *ret_value = negative ? -value : value;
    return 0;
}

int lvm_json_float(struct lvm_json *json, double *ret_value)
{
    struct lvm_span number;
    bool whole;
    char text[64];
    if (read_number(json, &number, &whole)) {
        return -EBADMSG;
    }
    size_t length = (size_t)(number.end - number.at);
    if (length >= sizeof(text)) {
        return -EBADMSG;
    }
    memcpy(text, number.at, length);
    text[length] = '\0';
    double value = strtod(text, NULL);
    if (!isfinite(value)) {
        return -EBADMSG;
    }
    *ret_value = value;
    return 0;
}

int lvm_json_truth(struct lvm_json *json, bool *ret_value)
{
    bool value = take(json, "true");
    if (!value && !take(json, "false")) {
        return -EBADMSG;
    }
    *ret_value = value;
    return 0;
}

int lvm_json_null(struct lvm_json *json) { return take(json, "null"); }

int lvm_json_open(struct lvm_json *json, char bracket)
{
    return take(json, (char[]){bracket, '\0'}) ? 0 : -EBADMSG;
}

int lvm_json_next(struct lvm_json *json, char closing, unsigned *count)
{
    if (peek(json) == closing) {
        json->at++;
        return 0;
    }
    if (*count > 0 && (!take(json, ",") || peek(json) == closing)) {
        return -EBADMSG;
    }
    ++*count;
    return json->at < json->end ? 1 : -EBADMSG;
}

int lvm_json_key(struct lvm_json *json, struct lvm_span *ret_key)
{
    struct lvm_span key;
    if (lvm_json_text(json, &key) || !take(json, ":")) {
        return -EBADMSG;
    }
    *ret_key = key;
    return 0;
}

static int skip_value(struct lvm_json *json, unsigned depth);

static int skip_items(struct lvm_json *json, char bracket, char closing, unsigned depth)
{
    unsigned count = 0;
    int rc = depth == LVM_DEPTH_MAX ? -EBADMSG : lvm_json_open(json, bracket);
    while (!rc && (rc = lvm_json_next(json, closing, &count)) > 0) {
        struct lvm_span key;
        rc = closing == '}' ? lvm_json_key(json, &key) : 0;
        if (!rc) {
            rc = skip_value(json, depth + 1);
        }
    }
    return rc;
}

static int skip_value(struct lvm_json *json, unsigned depth)
{
    struct lvm_span span;
    bool truth;
    switch (peek(json)) {
    case '{':
        return skip_items(json, '{', '}', depth);
    case '[':
        return skip_items(json, '[', ']', depth);
    case '"':
        return lvm_json_text(json, &span);
    case 't':
    case 'f':
        return lvm_json_truth(json, &truth);
    case 'n':
        return lvm_json_null(json) ? 0 : -EBADMSG;
    default:
        return read_number(json, &span, &truth);
    }
}

int lvm_json_skip(struct lvm_json *json) { return skip_value(json, 0); }
