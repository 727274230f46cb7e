/* The plain forms of a command line: those that mean the same here as to Python's parser.
 *
 * Whatever is not one of them, be it rare or wrong, is handed over before anything was sent.
 */
#ifndef LVM_WORDS_H
#define LVM_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LVM_WORDS_MAX 2048
/* No word of a plain form is longer. */
#define LVM_WORD_BYTES 4096

enum lvm_value {
    LVM_FLAG,    /* none */
    LVM_STRING,  /* any text */
    LVM_CHOICE,  /* one of `choices` */
    LVM_COUNT,   /* a whole number from 1 on */
    LVM_SIZE,    /* KiB: 512K, 4M, 1G, a plain number in MiB */
    LVM_SECONDS, /* milliseconds: 5, 0.25 */
    LVM_FILE,    /* a path */
    LVM_NET,     /* NETWORK[,mac=MAC][,ip=ADDRESS] */
    LVM_DISK,    /* FILE[,ro|,rw] */
};

struct lvm_option {
    const char *name; /* NULL ends a table */
    enum lvm_value value;
    const char *member; /* of the request, or NULL */
    bool repeated;      /* each time counts; of others the last one does */
    const char *choices[4];
};

struct lvm_word {
    const struct lvm_option *option; /* NULL: the word is an argument */
    const char *value;
};

struct lvm_words {
    size_t count;
    size_t arguments; /* how many of them are no options */
    struct lvm_word word[LVM_WORDS_MAX];
};

/* What all verbs have. */
#define LVM_SOCKET_OPTION {.name = "--socket", .value = LVM_STRING}

/* Reads the words after a verb; returns whether they are all plain. */
bool lvm_read_words(const struct lvm_option *options, int argc, char **argv,
                    struct lvm_words *ret_words);

/* The next argument from *at on, which is moved behind it, or NULL. */
const char *lvm_next_argument(const struct lvm_words *words, size_t *at);

/* The value of an option that is not repeated, "" of a flag, or NULL where it is not given. */
const char *lvm_given(const struct lvm_words *words, const char *name);

/* The socket's path: --socket, the environment, or the default; NULL: not plain. */
const char *lvm_socket_path(const struct lvm_words *words);

/* Quantities of values; 0 where it is none in a plain form. */
uint64_t lvm_parse_count(const char *text);
uint64_t lvm_parse_size(const char *text);
uint64_t lvm_parse_milliseconds(const char *text);

#endif
