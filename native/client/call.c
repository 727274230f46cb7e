/* A call of the daemon as it is written. */
#include "call.h"

#include <string.h>

static void add(struct lvm_call *call, const char *bytes, size_t length)
{
    if (length > sizeof(call->bytes) - call->length) {
        call->unfit = true;
        return;
    }
    memcpy(call->bytes + call->length, bytes, length);
    call->length += length;
}

void lvm_write(struct lvm_call *call, const char *json) { add(call, json, strlen(json)); }

void lvm_begin_call(struct lvm_call *call, const char *method, bool more)
{
    call->length = 0;
    call->unfit = false;
    lvm_write(call, more ? "{\"more\":true," : "{");
    lvm_write(call, "\"method\":\"io.github.lightvm.");
    lvm_write(call, method);
    lvm_write(call, "\",\"parameters\":");
}

bool lvm_end_call(struct lvm_call *call)
{
    add(call, "}", sizeof("}"));
    return !call->unfit;
}

void lvm_write_comma(struct lvm_call *call)
{
    char last = call->bytes[call->length - 1];
    if (last != '{' && last != '[') {
        lvm_write(call, ",");
    }
}

void lvm_write_key(struct lvm_call *call, const char *key)
{
    lvm_write_comma(call);
    lvm_write(call, "\"");
    lvm_write(call, key);
    lvm_write(call, "\":");
}

static void add_escaped(struct lvm_call *call, const char *text)
{
    static const char digits[] = "0123456789abcdef";
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        char escape[] = "\\u00..";
        call->unfit |= c >= 0x80;
        if (c < 0x20) {
            escape[4] = digits[c >> 4];
            escape[5] = digits[c & 15];
            lvm_write(call, escape);
        } else {
            if (c == '"' || c == '\\') {
                lvm_write(call, "\\");
            }
            add(call, text, 1);
        }
    }
}

void lvm_write_text(struct lvm_call *call, const char *text)
{
    lvm_write(call, "\"");
    add_escaped(call, text);
    lvm_write(call, "\"");
}

void lvm_write_numbered(struct lvm_call *call, const char *text, uint64_t number)
{
    lvm_write(call, "\"");
    add_escaped(call, text);
    lvm_write(call, "-");
    lvm_write_number(call, number);
    lvm_write(call, "\"");
}

void lvm_write_number(struct lvm_call *call, uint64_t number)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    add(call, digits + at, sizeof(digits) - at);
}
