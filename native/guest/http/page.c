#include "page.h"

#include <stdlib.h>
#include <string.h>

struct page pages[NR_PAGES];

/* A text that grows, until memory is short. */
struct builder {
    char *bytes;
    size_t n, room;
    int failed;
};

static void make_room(struct builder *text, size_t n)
{
    size_t room = 2 * text->room + n;
    char *bytes = realloc(text->bytes, room);
    if (!bytes) {
        text->failed = 1;
        return;
    }
    text->bytes = bytes;
    text->room = room;
}

static void add(struct builder *text, const char *bytes, size_t n)
{
    if (!text->failed && n > text->room - text->n) {
        make_room(text, n);
    }
    if (!text->failed) {
        memcpy(text->bytes + text->n, bytes, n);
        text->n += n;
    }
}

static void add_text(struct builder *text, const char *more) { add(text, more, strlen(more)); }

static void add_number(struct builder *text, size_t number)
{
    char digits[10];
    size_t i = sizeof(digits);
    do {
        digits[--i] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    add(text, digits + i, sizeof(digits) - i);
}

/* What stands for a character in HTML; NULL: itself. */
static const char *escape(char c)
{
    switch (c) {
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '&':
        return "&amp;";
    case '"':
        return "&quot;";
    case '\0':
        return ""; /* may not be there at all */
    default:
        return NULL;
    }
}

static void add_escaped(struct builder *text, const char *bytes, size_t n)
{
    size_t start = 0; /* of what can be copied as it is */
    for (size_t i = 0; i < n; i++) {
        const char *instead = escape(bytes[i]);
        if (instead) {
            add(text, bytes + start, i - start);
            add_text(text, instead);
            start = i + 1;
        }
    }
    add(text, bytes + start, n - start);
}

static int make(enum page_name name, const char *status, const char *fields, struct builder body)
{
    struct builder head = {0};
    add_text(&head, "HTTP/1.1 ");
    add_text(&head, status);
    add_text(&head, "\r\n");
    add_text(&head, fields);
    add_text(&head, "Content-Length: ");
    add_number(&head, body.n);
    add_text(&head, "\r\n");
    pages[name] = (struct page){head.bytes, head.n, body.bytes, body.n};
    return !head.failed && !body.failed;
}

static int make_plain(enum page_name name, const char *status, const char *more_fields,
                      const char *text)
{
    struct builder fields = {0}, body = {0};
    add_text(&fields, "Content-Type: text/plain; charset=utf-8\r\n");
    add_text(&fields, more_fields);
    add(&fields, "", 1);
    add_text(&body, text);
    int made = !fields.failed && make(name, status, fields.bytes, body);
    free(fields.bytes);
    return made;
}

static int make_index(const char *name, const char *about, size_t n)
{
    struct builder body = {0};
    add_text(&body, "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>");
    add_escaped(&body, name, strlen(name));
    add_text(&body, "</title>\n<h1>");
    add_escaped(&body, name, strlen(name));
    add_text(&body, "</h1>\n");
    if (n) {
        add_text(&body, "<pre>");
        add_escaped(&body, about, n);
        add_text(&body, "</pre>\n");
    }
    add_text(&body, "</html>\n");
    return make(PAGE_INDEX, "200 OK", "Content-Type: text/html; charset=utf-8\r\n", body);
}

int make_pages(const char *name, const char *about, size_t n)
{
    return make_index(name, about, n) && make_plain(PAGE_HEALTH, "200 OK", "", "ok")
           && make_plain(PAGE_BAD, "400 Bad Request", "", "This is no request.\n")
           && make_plain(PAGE_NOT_FOUND, "404 Not Found", "", "There is nothing here.\n")
           && make_plain(PAGE_NOT_ALLOWED, "405 Method Not Allowed", "Allow: GET, HEAD\r\n",
                         "GET and HEAD are what there is.\n");
}
