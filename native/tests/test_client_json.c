/* The client's reader of JSON, fed from buffers that end where the message ends. */
#include "harness.h"

#include <string.h>

#include "../client/json.c"

static const char REPLY[] =
    "{\"parameters\":{\"name\":\"w\\u00e9b\\n\",\"domid\":12,\"created\":-1.5e+2,\"vifs\":[],"
    "\"exit\":{\"reason\":\"x\",\"status\":null},\"on\":[true,false,\"\xc3\xa9\xf0\x9f\x98\x80\"]},"
    "\"continues\":true}";

/* Reads a copy that is followed by nothing, so that a byte too far is found. */
static int with_copy(const char *bytes, size_t length, int (*read)(struct lvm_json *json))
{
    char *copy = malloc(length ? length : 1);
    memcpy(copy, bytes, length);
    struct lvm_json json = lvm_json((struct lvm_span){copy, copy + length});
    int rc = read(&json);
    free(copy);
    return rc;
}

static int read_any(struct lvm_json *json)
{
    int rc = lvm_json_skip(json);
    return rc ? rc : lvm_json_end(json);
}

static int is_json(const char *text) { return with_copy(text, strlen(text), read_any) == 0; }

static void values_are_read(void)
{
    static const char *const good[] = {
        "null",        "true",
        " false ",     "0",
        "-0",          "12",
        "1.5",         "-1E-3",
        "\"\"",        "[]",
        "{}",          "[ 1 , 2 ]",
        "[[],{}]",     "{\"a\":[{}]}",
        "\"\\u0041\"", "\"\\ud83d\\ude00\"",
        "\"\x7f\"",    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\t\n\r 1",
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        CHECK(is_json(good[i]));
    }
    CHECK(is_json(REPLY));
}

static void what_is_no_json_is_refused(void)
{
    static const char *const bad[] = {
        "",
        " ",
        "nul",
        "nullx",
        "True",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "0x1",
        "NaN",
        "Infinity",
        "-Infinity",
        "'a'",
        "\"",
        "\"a",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\n\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\n\"",
        "\"\\ud800\\u0041\"",
        "\"\x80\"",
        "\"\xc3\"",
        "\"\xc0\xaf\"",
        "\"\xe0\x80\x80\"",
        "\"\xed\xa0\x80\"",
        "\"\xf4\x90\x80\x80\"",
        "\"\xff\"",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        "}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{1:2}",
        "{\"a\" 1}",
        "{,}",
        "[}",
        "{]",
        "1 1",
        "{} x",
        "[1}",
        "/**/1",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK(!is_json(bad[i]));
    }
    CHECK(with_copy("\"a\0b\"", 5, read_any) == -EBADMSG);
    CHECK(with_copy("\"\\\0\"", 4, read_any) == -EBADMSG);
}

static int nested(char bracket, unsigned depth)
{
    char text[4 * LVM_DEPTH_MAX];
    memset(text, bracket, depth);
    memset(text + depth, bracket + 2, depth); /* '[' and ']', '{' and '}' are two apart */
    return with_copy(text, 2 * (size_t)depth, read_any);
}

static void depth_has_a_limit(void)
{
    CHECK(nested('[', LVM_DEPTH_MAX) == 0);
    CHECK(nested('[', LVM_DEPTH_MAX + 1) == -EBADMSG);
    static char endless[1 << 20];
    memset(endless, '[', sizeof(endless));
    CHECK(with_copy(endless, sizeof(endless), read_any) == -EBADMSG);
    for (size_t i = 0; i + 5 <= sizeof(endless); i += 5) {
        memcpy(endless + i, "{\"a\":", 5);
    }
    CHECK(with_copy(endless, sizeof(endless), read_any) == -EBADMSG);
}

static void every_truncation_is_refused(void)
{
    for (size_t length = 0; length < strlen(REPLY); length++) {
        CHECK(with_copy(REPLY, length, read_any) == -EBADMSG);
    }
}

static void every_changed_byte_is_read_or_refused(void)
{
    char text[sizeof(REPLY)];
    for (size_t at = 0; at < strlen(REPLY); at++) {
        for (int byte = 0; byte < 256; byte++) {
            memcpy(text, REPLY, sizeof(REPLY));
            text[at] = (char)byte;
            int rc = with_copy(text, strlen(REPLY), read_any);
            CHECK(rc == 0 || rc == -EBADMSG);
        }
    }
}

static int64_t integer;
static double number;

static int read_integer(struct lvm_json *json) { return lvm_json_integer(json, &integer); }
static int read_float(struct lvm_json *json) { return lvm_json_float(json, &number); }

static int as_integer(const char *text) { return with_copy(text, strlen(text), read_integer); }
static int as_float(const char *text) { return with_copy(text, strlen(text), read_float); }

static void numbers_are_exact_or_refused(void)
{
    CHECK(as_integer("9007199254740992") == 0 && integer == LVM_INTEGER_MAX);
    CHECK(as_integer("-9007199254740992") == 0 && integer == -LVM_INTEGER_MAX);
    CHECK(as_integer("-0") == 0 && integer == 0);
    CHECK(as_integer("9007199254740993") == -EBADMSG);
    CHECK(as_integer("99999999999999999999999999999999999") == -EBADMSG);
    CHECK(as_integer("1.0") == -EBADMSG && as_integer("1e3") == -EBADMSG);
    CHECK(as_integer("true") == -EBADMSG && as_integer("\"1\"") == -EBADMSG);
    CHECK(as_float("1700000000.001") == 0 && number == 1700000000.001);
    CHECK(as_float("12") == 0 && number == 12.0);
    CHECK(as_float("1e-999") == 0 && number == 0.0);
    CHECK(as_float("1e999") == -EBADMSG && as_float("-1e999") == -EBADMSG);
    CHECK(as_float("0.0000000000000000000000000000000000000000000000000000000000000001")
          == -EBADMSG);
}

static struct lvm_span text_of(const char *json_text, bool *ret_unicode)
{
    struct lvm_json json = lvm_json((struct lvm_span){json_text, json_text + strlen(json_text)});
    struct lvm_span text;
    CHECK(lvm_json_text(&json, &text) == 0);
    *ret_unicode = json.unicode;
    return text;
}

static void texts_are_characters(void)
{
    bool unicode;
    struct lvm_span text = text_of("\"a\\u0041\\n\xc3\xa9\\ud83d\\ude00\"", &unicode);
    CHECK(unicode);
    static const int32_t wanted[] = {'a', 'A', '\n', 0xe9, 0x1f600, -1, -1};
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        CHECK(lvm_text_next(&text) == wanted[i]);
    }
    text = text_of("\"na\\u006de\"", &unicode);
    CHECK(!unicode && lvm_text_is(text, "name"));
    CHECK(!lvm_text_is(text, "nam") && !lvm_text_is(text, "names") && !lvm_text_is(text, ""));
    text = text_of("\"a\\u0000\"", &unicode);
    CHECK(!lvm_text_is(text, "a"));
}

int main(void)
{
    RUN(values_are_read);
    RUN(what_is_no_json_is_refused);
    RUN(depth_has_a_limit);
    RUN(every_truncation_is_refused);
    RUN(every_changed_byte_is_read_or_refused);
    RUN(numbers_are_exact_or_refused);
    RUN(texts_are_characters);
    return 0;
}
