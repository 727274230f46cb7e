/* Command lines, paths, and the calls that are made of them. */
#include "harness.h"

#include <limits.h>
#include <string.h>

#include "../client/call.c"
#include "../client/path.c"
#include "../client/words.c"

static const struct lvm_option some[] = {
    LVM_SOCKET_OPTION,
    {.name = "--name", .value = LVM_STRING},
    {.name = "-q", .value = LVM_FLAG},
    {.name = "--count", .value = LVM_COUNT},
    {.name = "--for", .value = LVM_CHOICE, .choices = {"ready", "exited"}},
    {.name = "--net", .value = LVM_NET},
    {0},
};
static struct lvm_words words;

/* Reads words that end with NULL. */
static bool read_them(char **argv)
{
    int argc = 0;
    while (argv[argc]) {
        argc++;
    }
    return lvm_read_words(some, argc, argv, &words);
}

#define READ(...) read_them((char *[]){__VA_ARGS__, NULL})

static void plain_words_are_read(void)
{
    size_t at = 0;
    CHECK(READ("a", "--name", "x y", "-q", "b", "--name=", "--for=ready"));
    CHECK(words.arguments == 2 && words.count == 6);
    CHECK(!strcmp(lvm_next_argument(&words, &at), "a"));
    CHECK(!strcmp(lvm_next_argument(&words, &at), "b") && !lvm_next_argument(&words, &at));
    CHECK(!strcmp(lvm_given(&words, "--name"), "") && lvm_given(&words, "-q"));
    CHECK(!strcmp(lvm_given(&words, "--for"), "ready") && !lvm_given(&words, "--count"));
    CHECK(READ("--name=a=b") && !strcmp(lvm_given(&words, "--name"), "a=b"));
}

static void all_other_words_are_left_to_python(void)
{
    static char long_word[LVM_WORD_BYTES + 2];
    memset(long_word, 'a', LVM_WORD_BYTES + 1);
    CHECK(!READ("--other") && !READ("--") && !READ("-") && !READ("-5") && !READ("--nam", "x"));
    CHECK(!READ("--name") && !READ("--name", "-x") && !READ("--name", "--name"));
    CHECK(!READ("-q=1") && !READ("-qa") && !READ("--count", "0") && !READ("--count", "x"));
    CHECK(!READ("--for", "other") && !READ("--for=") && !READ("gr\xc3\xbc\xc3\x9f")
          && !READ("\xff"));
    CHECK(!READ(long_word));
    long_word[LVM_WORD_BYTES] = '\0';
    CHECK(READ(long_word));
}

static void too_many_words_are_left_to_python(void)
{
    static char *many[LVM_WORDS_MAX + 2];
    for (int i = 0; i <= LVM_WORDS_MAX; i++) {
        many[i] = "a";
    }
    CHECK(!read_them(many));
    many[LVM_WORDS_MAX] = NULL;
    CHECK(read_them(many));
}

static void quantities_are_those_of_the_python_command(void)
{
    CHECK(lvm_parse_count("1") == 1 && lvm_parse_count("999999999") == 999999999);
    CHECK(!lvm_parse_count("") && !lvm_parse_count("0") && !lvm_parse_count("1000000000"));
    CHECK(!lvm_parse_count("+1") && !lvm_parse_count(" 1") && !lvm_parse_count("1_0"));
    CHECK(lvm_parse_size("4") == 4096 && lvm_parse_size("512K") == 512);
    CHECK(lvm_parse_size("4m") == 4096 && lvm_parse_size("4MiB") == 4096);
    CHECK(lvm_parse_size("4MB") == 4096 && lvm_parse_size("1G") == 1048576);
    CHECK(lvm_parse_size("999999999G") == UINT64_C(999999999) * 1048576);
    CHECK(!lvm_parse_size("4T") && !lvm_parse_size("4Mi") && !lvm_parse_size("4MiBs"));
    CHECK(!lvm_parse_size("M") && !lvm_parse_size("0") && !lvm_parse_size("4 M"));
    CHECK(lvm_parse_milliseconds("5") == 5000 && lvm_parse_milliseconds("0.25") == 250);
    CHECK(lvm_parse_milliseconds("1.5") == 1500 && lvm_parse_milliseconds("0.001") == 1);
    CHECK(!lvm_parse_milliseconds("0") && !lvm_parse_milliseconds("0.000"));
    CHECK(!lvm_parse_milliseconds("1.") && !lvm_parse_milliseconds(".5"));
    CHECK(!lvm_parse_milliseconds("1e3") && !lvm_parse_milliseconds("0.0005"));
}

static void networks_are_a_name_and_at_most_one_of_each_address(void)
{
    CHECK(READ("--net", "lan") && READ("--net=lan,mac=m,ip=i") && READ("--net", "lan,ip=i,mac=m"));
    CHECK(!READ("--net", "") && !READ("--net", ",ip=i") && !READ("--net", "lan,")
          && !READ("--net", "a,b"));
    CHECK(!READ("--net", "lan,ip=") && !READ("--net", "lan,ip=,mac=m")
          && !READ("--net", "a,ip=1,ip=2"));
}

static bool is_absolute(const char *path, const char *wanted)
{
    char absolute[LVM_PATH_BYTES];
    return lvm_absolute_path(path, absolute) && !strcmp(absolute, wanted);
}

static void paths_are_made_absolute_by_their_letters(void)
{
    CHECK(is_absolute("/a/b", "/a/b") && is_absolute("/", "/") && is_absolute("/..", "/"));
    CHECK(is_absolute("/a//b/./c/../d/", "/a/b/d") && is_absolute("/a/../..", "/"));
    CHECK(is_absolute("//a", "//a") && is_absolute("///a", "/a") && is_absolute("//", "//"));
    CHECK(is_absolute("//..//b", "//b") && is_absolute("/...", "/..."));
    CHECK(chdir("/") == 0);
    CHECK(is_absolute("a", "/a") && is_absolute("./a/..", "/") && is_absolute("", "/"));
    CHECK(chdir("/usr") == 0);
    CHECK(is_absolute("a", "/usr/a") && is_absolute("../a", "/a") && is_absolute(".", "/usr"));
    static char long_path[LVM_PATH_BYTES + 1];
    memset(long_path, '/', LVM_PATH_BYTES);
    char absolute[LVM_PATH_BYTES];
    CHECK(!lvm_absolute_path(long_path, absolute));
}

static struct lvm_call call;

static void every_byte_of_ascii_is_escaped_as_json_wants_it(void)
{
    lvm_begin_call(&call, "Info", false);
    lvm_write(&call, "{");
    lvm_write_key(&call, "domain");
    lvm_write_text(&call, "a\"\\\n\x01\x1f\x7f/");
    lvm_write_key(&call, "n");
    lvm_write_number(&call, UINT64_MAX);
    lvm_write_key(&call, "m");
    lvm_write_numbered(&call, "x", 0);
    lvm_write(&call, "}");
    CHECK(lvm_end_call(&call));
    CHECK(!strcmp(call.bytes, "{\"method\":\"io.github.lightvm.Info\",\"parameters\":{\"domain\":"
                              "\"a\\\"\\\\\\u000a\\u0001\\u001f\x7f/\",\"n\":18446744073709551615,"
                              "\"m\":\"x-0\"}}"));
    CHECK(call.length == strlen(call.bytes) + 1);
}

static void what_cannot_be_sent_is_told_at_the_end(void)
{
    lvm_begin_call(&call, "Info", true);
    lvm_write_text(&call, "\xc3\xa9");
    CHECK(!lvm_end_call(&call));
    lvm_begin_call(&call, "Info", true);
    for (int i = 0; i < LVM_CALL_BYTES; i++) {
        lvm_write(&call, "1");
    }
    CHECK(!lvm_end_call(&call) && call.length <= LVM_CALL_BYTES);
    lvm_begin_call(&call, "Info", true);
    lvm_write(&call, "{}");
    CHECK(lvm_end_call(&call));
}

int main(void)
{
    RUN(plain_words_are_read);
    RUN(all_other_words_are_left_to_python);
    RUN(too_many_words_are_left_to_python);
    RUN(quantities_are_those_of_the_python_command);
    RUN(networks_are_a_name_and_at_most_one_of_each_address);
    RUN(paths_are_made_absolute_by_their_letters);
    RUN(every_byte_of_ascii_is_escaped_as_json_wants_it);
    RUN(what_cannot_be_sent_is_told_at_the_end);
    return 0;
}
