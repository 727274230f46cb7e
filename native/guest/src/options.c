/* Words of the command line: `word` and `key=value`, separated by blanks. */
#include "lightvm.h"

static int starts_with(const char *text, const char *prefix)
{
    while (*prefix && *text == *prefix) {
        text++;
        prefix++;
    }
    return *prefix == '\0';
}

static const char *next_word(const char *text)
{
    while (*text && *text != ' ') {
        text++;
    }
    while (*text == ' ') {
        text++;
    }
    return text;
}

const char *lightvm_option(const char *command_line, const char *key)
{
    for (const char *word = command_line; *word; word = next_word(word)) {
        if (starts_with(word, key)) {
            while (*key) {
                key++;
                word++;
            }
            return word;
        }
    }
    return NULL;
}

int lightvm_word(const char *command_line, const char *word)
{
    size_t n = 0;
    while (word[n]) {
        n++;
    }
    for (const char *at = command_line; *at; at = next_word(at)) {
        if (starts_with(at, word) && (at[n] == '\0' || at[n] == ' ')) {
            return 1;
        }
    }
    return 0;
}

int lightvm_number(const char *text)
{
    int sign = 1, value = 0;
    if (*text == '-') {
        sign = -1;
        text++;
    }
    while (*text >= '0' && *text <= '9') {
        value = value * 10 + (*text++ - '0');
    }
    return sign * value;
}
