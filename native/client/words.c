/* The plain forms of a command line. */
#include "words.h"
#include "varlink.h"

#include <stdlib.h>
#include <string.h>

/* Reads 1 to 9 digits; returns where they end, or NULL. */
static const char *read_digits(const char *text, uint64_t *ret_number)
{
    uint64_t number = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        number = number * 10 + (uint64_t)(*at - '0');
        if (at - text == 9) {
            return NULL;
        }
    }
    *ret_number = number;
    return at > text ? at : NULL;
}

uint64_t lvm_parse_count(const char *text)
{
    uint64_t number;
    const char *end = read_digits(text, &number);
    return end && !*end ? number : 0;
}

uint64_t lvm_parse_size(const char *text)
{
    static const char units[] = "KkMmGg";
    uint64_t number;
    const char *end = read_digits(text, &number);
    if (!end || !*end) {
        return end ? number * 1024 : 0;
    }
    const char *unit = strchr(units, *end++);
    if (!unit) {
        return 0;
    }
    if ((*end == 'i' || *end == 'I') && end[1]) {
        end++;
    }
    if (*end == 'b' || *end == 'B') {
        end++;
    }
    return *end ? 0 : number << 10 * ((unit - units) / 2);
}

uint64_t lvm_parse_milliseconds(const char *text)
{
    uint64_t number, part = 0;
    const char *end = read_digits(text, &number);
    if (!end || !*end) {
        return end ? number * 1000 : 0;
    }
    const char *digits = end + 1;
    if (*end != '.' || !(end = read_digits(digits, &part)) || *end || end - digits > 3) {
        return 0;
    }
    for (size_t places = (size_t)(end - digits); places < 3; places++) {
        part *= 10;
    }
    return number * 1000 + part;
}

static bool is_net(const char *text)
{
    static const char *const keys[] = {"mac=", "ip="};
    bool seen[2] = {false, false};
    if (!*text || *text == ',') {
        return false;
    }
    while ((text = strchr(text, ','))) {
        text++;
        int key = strncmp(text, keys[0], 4) == 0 ? 0 : strncmp(text, keys[1], 3) == 0 ? 1 : -1;
        if (key < 0 || seen[key]) {
            return false;
        }
        seen[key] = true;
        text += strlen(keys[key]);
        if (!*text || *text == ',') {
            return false;
        }
    }
    return true;
}

static bool is_good(const struct lvm_option *option, const char *value)
{
    switch (option->value) {
    case LVM_COUNT:
        return lvm_parse_count(value) > 0;
    case LVM_SIZE:
        return lvm_parse_size(value) > 0;
    case LVM_SECONDS:
        return lvm_parse_milliseconds(value) > 0;
    case LVM_NET:
        return is_net(value);
    case LVM_DISK:
        return *value && *value != ',';
    case LVM_CHOICE:
        for (size_t i = 0; option->choices[i]; i++) {
            if (strcmp(value, option->choices[i]) == 0) {
                return true;
            }
        }
        return false;
    default:
        return true;
    }
}

/* What is not ASCII depends on the locale. */
static bool is_plain(const char *text)
{
    size_t length = 0;
    for (; text[length]; length++) {
        if ((unsigned char)text[length] >= 0x80 || length == LVM_WORD_BYTES) {
            return false;
        }
    }
    return true;
}

static const struct lvm_option *find_option(const struct lvm_option *options, const char *word)
{
    size_t length = strcspn(word, "=");
    for (; options->name; options++) {
        if (strncmp(options->name, word, length) == 0 && !options->name[length]) {
            return options;
        }
    }
    return NULL;
}

/* Reads an option at argv[*i], which is moved to its last word; returns its value or NULL. */
static const char *read_value(const struct lvm_option *option, int argc, char **argv, int *i)
{
    const char *equals = strchr(argv[*i], '=');
    if (option->value == LVM_FLAG) {
        return equals ? NULL : "";
    }
    if (equals) {
        return equals + 1;
    }
    if (*i + 1 == argc || argv[*i + 1][0] == '-') {
        return NULL;
    }
    return argv[++*i];
}

bool lvm_read_words(const struct lvm_option *options, int argc, char **argv,
                    struct lvm_words *ret_words)
{
    ret_words->count = ret_words->arguments = 0;
    for (int i = 0; i < argc; i++) {
        struct lvm_word word = {.value = argv[i]};
        if (argv[i][0] == '-') {
            word.option = find_option(options, argv[i]);
            word.value = word.option ? read_value(word.option, argc, argv, &i) : NULL;
        }
        if (!word.value || !is_plain(word.value) || ret_words->count == LVM_WORDS_MAX
            || (word.option && !is_good(word.option, word.value))) {
            return false;
        }
        ret_words->arguments += !word.option;
        ret_words->word[ret_words->count++] = word;
    }
    return true;
}

const char *lvm_next_argument(const struct lvm_words *words, size_t *at)
{
    while (*at < words->count) {
        const struct lvm_word *word = &words->word[(*at)++];
        if (!word->option) {
            return word->value;
        }
    }
    return NULL;
}

const char *lvm_given(const struct lvm_words *words, const char *name)
{
    for (size_t i = words->count; i-- > 0;) {
        const struct lvm_option *option = words->word[i].option;
        if (option && strcmp(option->name, name) == 0) {
            return words->word[i].value;
        }
    }
    return NULL;
}

const char *lvm_socket_path(const struct lvm_words *words)
{
    const char *path = lvm_given(words, "--socket");
    if (!path) {
        const char *variable = getenv("LIGHTVM_SOCKET");
        path = variable && *variable ? variable : LVM_SOCKET;
    }
    return is_plain(path) ? path : NULL;
}
