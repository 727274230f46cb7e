/* The guests' command line, and the C functions they bring along. */
#include "harness.h"

#include <stdint.h>
#include <string.h>

#define atoi guest_atoi
#include "../guest/src/options.c"

#define memcpy guest_memcpy
#define memmove guest_memmove
#define memset guest_memset
#define memcmp guest_memcmp
#define memchr guest_memchr
#define strlen guest_strlen
#define strcmp guest_strcmp
#define strncmp guest_strncmp
#include "../guest/src/string.c"
#undef memcpy
#undef memmove
#undef memset
#undef memcmp
#undef memchr
#undef strlen
#undef strcmp
#undef strncmp

static char text[200];
static char *words[10];

static int split(const char *line, int most)
{
    memset(words, 0, sizeof(words));
    snprintf(text, sizeof(text), "%s", line);
    return lightvm_split(text, words, most);
}

static int same(int i, const char *word) { return strcmp(words[i], word) == 0; }

static void blanks_separate_words(void)
{
    CHECK(split("", 9) == 0 && split("  \t ", 9) == 0);
    CHECK(split("one", 9) == 1 && same(0, "one"));
    CHECK(split("  a  bc\td ", 9) == 3 && same(0, "a") && same(1, "bc") && same(2, "d"));
}

static void quotes_keep_blanks_and_vanish(void)
{
    CHECK(split("say=\"a b\"c d", 9) == 2 && same(0, "say=a bc") && same(1, "d"));
    CHECK(split("\"\" x", 9) == 2 && same(0, "") && same(1, "x"));
    CHECK(split("x \"no end ", 9) == 2 && same(1, "no end "));
    CHECK(split("\"", 9) == 1 && same(0, ""));
}

static void words_beyond_the_bound_are_dropped(void)
{
    CHECK(split("a b c", 2) == 2 && same(1, "b") && words[2] == NULL);
    CHECK(split("a b ", 2) == 2 && split("a", 0) == 0);
}

static void options_and_words_are_found_by_their_whole_name(void)
{
    char *argv[] = {"status=9", "n=1", "ready", "n=2", "status=-7", NULL};
    CHECK(strcmp(lightvm_option(argv, "n="), "1") == 0);
    CHECK(strcmp(lightvm_option(argv, "status="), "-7") == 0); /* argv[0] is the name */
    CHECK(lightvm_option(argv, "m=") == NULL);
    CHECK(lightvm_word(argv, "ready") && lightvm_word(argv, "n=1"));
    CHECK(!lightvm_word(argv, "read") && !lightvm_word(argv, "ready2"));
    char *nothing[] = {NULL};
    CHECK(!lightvm_word(nothing, "a") && !lightvm_option(nothing, "a="));
}

static void numbers_end_at_the_first_other_character(void)
{
    CHECK(lightvm_number("") == 0 && lightvm_number("-") == 0 && lightvm_number("x1") == 0);
    CHECK(lightvm_number("120:3") == 120 && lightvm_number("-7 ") == -7);
    CHECK(lightvm_number("2147483647") == 2147483647);
    lightvm_number("99999999999999999999"); /* some number, without undefined behaviour */
    CHECK(guest_atoi("12") == 12);
}

static void random_lines_split_within_their_bounds(void)
{
    static const char alphabet[] = "ab \t\"=";
    srand(1);
    for (int round = 0; round < 100000; round++) {
        size_t n = (size_t)rand() % 30;
        char *line = malloc(n + 1); /* of its own, so that a byte beyond is noticed */
        for (size_t i = 0; i < n; i++) {
            line[i] = alphabet[rand() % 6];
        }
        line[n] = '\0';
        int found = lightvm_split(line, words, 10);
        for (int i = 0; i < found; i++) {
            CHECK(words[i] >= line && words[i] + strlen(words[i]) <= line + n);
            CHECK(strchr(words[i], '"') == NULL);
        }
        free(line);
    }
}

static void memory_functions_do_as_those_of_c(void)
{
    char a[64], b[64];
    srand(2);
    for (int round = 0; round < 20000; round++) {
        size_t from = (size_t)rand() % 32, to = (size_t)rand() % 32, n = (size_t)rand() % 32;
        for (size_t i = 0; i < sizeof(a); i++) {
            a[i] = b[i] = (char)(rand() % 3);
        }
        CHECK(guest_memmove(a + to, a + from, n) == a + to);
        memmove(b + to, b + from, n);
        CHECK(memcmp(a, b, sizeof(a)) == 0);
        guest_memset(a + to, rand(), n);
        memset(b + to, n ? a[to] : 0, n);
        CHECK(memcmp(a, b, sizeof(a)) == 0);
        guest_memcpy(a, b + 32, n);
        CHECK(memcmp(a, b + 32, n) == 0);
        int ours = guest_memcmp(a + from, b + to, n), theirs = memcmp(a + from, b + to, n);
        CHECK((ours < 0) == (theirs < 0) && (ours > 0) == (theirs > 0));
        CHECK(guest_memchr(a, 1, n) == memchr(a, 1, n));
    }
}

static void text_functions_do_as_those_of_c(void)
{
    CHECK(guest_strlen("") == 0 && guest_strlen("abc") == 3);
    CHECK(guest_strcmp("a", "a") == 0 && guest_strcmp("a", "ab") < 0
          && guest_strcmp("b", "ab") > 0);
    CHECK(guest_strcmp("\xff", "a") > 0); /* bytes without a sign */
    CHECK(guest_strncmp("abc", "abd", 2) == 0 && guest_strncmp("abc", "abd", 3) < 0);
    CHECK(guest_strncmp("a", "b", 0) == 0);
}

int main(void)
{
    RUN(blanks_separate_words);
    RUN(quotes_keep_blanks_and_vanish);
    RUN(words_beyond_the_bound_are_dropped);
    RUN(options_and_words_are_found_by_their_whole_name);
    RUN(numbers_end_at_the_first_other_character);
    RUN(random_lines_split_within_their_bounds);
    RUN(memory_functions_do_as_those_of_c);
    RUN(text_functions_do_as_those_of_c);
    return 0;
}
