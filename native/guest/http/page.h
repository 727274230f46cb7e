/* The answers of this server: made once, sent from where they are. */
#ifndef PAGE_H
#define PAGE_H

#include <stddef.h>

struct page {
    const char *head; /* the status line and fields, but for "Connection" and the empty line */
    size_t head_length;
    const char *body;
    size_t body_length;
};

enum page_name { PAGE_INDEX, PAGE_HEALTH, PAGE_BAD, PAGE_NOT_FOUND, PAGE_NOT_ALLOWED, NR_PAGES };

extern struct page pages[NR_PAGES];

/* Make all pages; returns 0 where memory is short. `name` and the n bytes of `about` are shown on the index. */
int make_pages(const char *name, const char *about, size_t n);

#endif
