/*
 * Line by line: the request line, then fields up to an empty line. What a server may be generous about, this one is where it
 * costs nothing: a lone LF ends a line, and empty lines may come first.
 */
#include "request.h"

#include <string.h>

struct text {
    const char *at;
    size_t n;
};

/* What was seen of the fields. */
struct fields {
    int hosts;
    int closes;
    int has_body;
};

static int is_token(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '!'
           || (c >= '#' && c <= '\'') || c == '*' || c == '+' || c == '-' || c == '.' || c == '^'
           || c == '_' || c == '`' || c == '|' || c == '~';
}

static int is_blank(char c) { return c == ' ' || c == '\t'; }

static int is_control(char c) { return (unsigned char)c < ' ' || c == 127; }

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c; }

static int same(struct text text, const char *word)
{
    size_t n = strlen(word);
    return text.n == n && memcmp(text.at, word, n) == 0;
}

/* The same without regard to case; `word` is in lower case. */
static int names(struct text text, const char *word)
{
    size_t i = 0;
    while (i < text.n && word[i] && lower(text.at[i]) == word[i]) {
        i++;
    }
    return i == text.n && !word[i];
}

static struct text trim(struct text text)
{
    while (text.n && is_blank(*text.at)) {
        text.at++;
        text.n--;
    }
    while (text.n && is_blank(text.at[text.n - 1])) {
        text.n--;
    }
    return text;
}

/* Take what comes before `end` from the front of `text`, and `end` too; all where there is none. */
static struct text take_until(struct text *text, char end)
{
    struct text taken = {text->at, 0};
    while (taken.n < text->n && text->at[taken.n] != end) {
        taken.n++;
    }
    size_t gone = taken.n < text->n ? taken.n + 1 : taken.n;
    text->at += gone;
    text->n -= gone;
    return taken;
}

/* Take a line; returns 0 where its end has not come. */
static int take_line(struct text *text, struct text *ret_line)
{
    if (!text->n || !memchr(text->at, '\n', text->n)) {
        return 0;
    }
    struct text line = take_until(text, '\n');
    if (line.n && line.at[line.n - 1] == '\r') {
        line.n--;
    }
    *ret_line = line;
    return 1;
}

static int has_control(struct text text)
{
    for (size_t i = 0; i < text.n; i++) {
        if (is_control(text.at[i]) && text.at[i] != '\t') {
            return 1;
        }
    }
    return 0;
}

static int all_tokens(struct text text)
{
    for (size_t i = 0; i < text.n; i++) {
        if (!is_token(text.at[i])) {
            return 0;
        }
    }
    return text.n > 0;
}

/* The path of a request's target: "/path?query", or "http://host/path?query" as proxies are asked. */
static int read_target(struct text target, struct request *request)
{
    static const char scheme[] = "http://";
    size_t n = sizeof(scheme) - 1;
    if (target.n > n && names((struct text){target.at, n}, scheme)) {
        target.at += n;
        target.n -= n;
        while (target.n && *target.at != '/') {
            target.at++;
            target.n--;
        }
    }
    struct text path = take_until(&target, '?');
    request->path = path.at;
    request->path_length = path.n;
    return path.n && (*path.at == '/' || (request->method == METHOD_OTHER && same(path, "*")));
}

/* "GET /path HTTP/1.1" */
static int read_request_line(struct text line, struct request *request)
{
    struct text method = take_until(&line, ' '), target = take_until(&line, ' ');
    request->method = same(method, "GET")    ? METHOD_GET
                      : same(method, "HEAD") ? METHOD_HEAD
                                             : METHOD_OTHER;
    request->keeps = same(line, "HTTP/1.1");
    return all_tokens(method) && read_target(target, request)
           && (request->keeps || same(line, "HTTP/1.0"));
}

/* Whether "close" is in a list with commas. */
static int lists_close(struct text list)
{
    while (list.n) {
        if (names(trim(take_until(&list, ',')), "close")) {
            return 1;
        }
    }
    return 0;
}

static int all_digits(struct text text, int *ret_is_zero)
{
    *ret_is_zero = 1;
    for (size_t i = 0; i < text.n; i++) {
        if (text.at[i] < '0' || text.at[i] > '9') {
            return 0;
        }
        *ret_is_zero &= text.at[i] == '0';
    }
    return text.n > 0;
}

/* "Name: value" */
static int read_field(struct text line, struct fields *fields)
{
    if (!memchr(line.at, ':', line.n)) {
        return 0;
    }
    struct text name = take_until(&line, ':'), value = trim(line);
    int is_zero = 1;
    if (names(name, "host")) {
        fields->hosts++;
    } else if (names(name, "connection")) {
        fields->closes |= lists_close(value);
    } else if (names(name, "transfer-encoding")) {
        fields->has_body = 1;
    } else if (names(name, "content-length")) {
        if (!all_digits(value, &is_zero)) {
            return 0;
        }
        fields->has_body |= !is_zero;
    }
    return all_tokens(name);
}

static void skip_empty_lines(struct text *text)
{
    struct text rest = *text, line;
    while (take_line(&rest, &line) && line.n == 0) {
        *text = rest;
    }
}

enum outcome read_request(const char *bytes, size_t n, struct request *ret)
{
    struct text rest = {bytes, n}, line;
    struct request request = {0};
    struct fields fields = {0};
    skip_empty_lines(&rest);
    if (!take_line(&rest, &line)) {
        return REQUEST_UNFINISHED;
    }
    if (has_control(line) || !read_request_line(line, &request)) {
        return REQUEST_BAD;
    }
    for (;;) {
        if (!take_line(&rest, &line)) {
            return REQUEST_UNFINISHED;
        }
        if (line.n == 0) {
            break;
        }
        if (has_control(line) || !read_field(line, &fields)) {
            return REQUEST_BAD;
        }
    }
    /* HTTP/1.1 wants one host; older clients need not say any. */
    if (fields.hosts > 1 || (request.keeps && fields.hosts == 0)) {
        return REQUEST_BAD;
    }
    request.keeps &= !fields.closes;
    request.has_body = fields.has_body;
    request.length = (size_t)(rest.at - bytes);
    *ret = request;
    return REQUEST_WHOLE;
}
