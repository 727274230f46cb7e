/* The command line: split into words as a shell does, and words looked up: `word` and `key=value`. */
#include "internal.h"

#include <stdlib.h>

static int is_blank(char c) { return c == ' ' || c == '\t'; }

int lightvm_split(char *text, char **words, int most)
{
    int n = 0;
    char *to = text; /* words grow shorter by their quotes, so this never overtakes `text` */
    for (;;) {
        while (is_blank(*text)) {
            text++;
        }
        if (!*text || n == most) {
            return n;
        }
        words[n++] = to;
        for (int quoted = 0; *text && (quoted || !is_blank(*text)); text++) {
            if (*text == '"') {
                quoted = !quoted;
            } else {
                *to++ = *text;
            }
        }
        if (*text) {
            text++; /* the NUL may take the blank's place */
        }
        *to++ = '\0';
    }
}

/* What follows `prefix` in `text`, or NULL. */
static const char *after(const char *text, const char *prefix)
{
    while (*prefix && *text == *prefix) {
        text++;
        prefix++;
    }
    return *prefix ? NULL : text;
}

const char *lightvm_option(char **argv, const char *key)
{
    while (*argv && *++argv) {
        const char *value = after(*argv, key);
        if (value) {
            return value;
        }
    }
    return NULL;
}

int lightvm_word(char **argv, const char *word)
{
    while (*argv && *++argv) {
        const char *rest = after(*argv, word);
        if (rest && !*rest) {
            return 1;
        }
    }
    return 0;
}

int lightvm_number(const char *text)
{
    int negative = *text == '-';
    unsigned value = 0; /* wraps, where an int must not */
    text += negative;
    while (*text >= '0' && *text <= '9') {
        value = value * 10 + (unsigned)(*text++ - '0');
    }
    return (int)(negative ? -value : value);
}

int atoi(const char *text) { return lightvm_number(text); }
