/*
 * malloc and its family, over the guest's pages. Every block knows its own size and that of the block before it, so that
 * a block that is freed joins its free neighbours at once. Free blocks are listed by the power of two in their size.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

#define PAGE 4096u
#define GROWTH_PAGES 16u /* taken at once, where there are as many */
#define USED 1u          /* in `size`: sizes are multiples of ALIGNMENT */

struct block {
    size_t before; /* size of the block before; 0: there is none */
    size_t size;   /* with this header */
    /* Only while it is free: */
    struct block *next, **link; /* `link` is what points here */
};

#define HEADER offsetof(struct block, next)
#define ALIGNMENT HEADER
#define NR_LISTS (8 * sizeof(size_t))

static struct block *lists[NR_LISTS];
static struct block
    *end; /* of the newest pages: a header that is always in use, and nothing behind it */

static _Noreturn void corrupted(void)
{
    lightvm_print("heap: a block was freed twice, or written over\n");
    lightvm_exit(LIGHTVM_EXIT_CRASH, 1);
}

static size_t size_of(const struct block *block) { return block->size & ~(size_t)USED; }

static int is_free(const struct block *block) { return !(block->size & USED); }

static struct block *following(struct block *block)
{
    return (struct block *)((char *)block + size_of(block));
}

static void *memory_of(struct block *block) { return (char *)block + HEADER; }

static struct block *block_of(void *memory)
{
    struct block *block = (struct block *)((char *)memory - HEADER);
    if (is_free(block) || following(block)->before != size_of(block)) {
        corrupted();
    }
    return block;
}

/* The size of a block that holds n bytes; 0 where there can be none. */
static size_t block_size(size_t n)
{
    if (n > (size_t)-1 / 2) {
        return 0;
    }
    size_t size = (n + HEADER + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    return size < sizeof(struct block) ? sizeof(struct block) : size;
}

static size_t list_of(size_t size) { return NR_LISTS - 1 - (size_t)__builtin_clzl(size); }

static void list(struct block *block)
{
    block->link = &lists[list_of(block->size)];
    block->next = *block->link;
    *block->link = block;
    if (block->next) {
        block->next->link = &block->next;
    }
}

static void unlist(struct block *block)
{
    *block->link = block->next;
    if (block->next) {
        block->next->link = block->link;
    }
}

/* Make a block free that is in no list. */
static void release(struct block *block)
{
    block->size = size_of(block);
    struct block *next = following(block);
    if (is_free(next)) {
        unlist(next);
        block->size += next->size;
    }
    struct block *before = (struct block *)((char *)block - block->before);
    if (block->before && is_free(before)) {
        unlist(before);
        before->size += block->size;
        block = before;
    }
    following(block)->before = block->size;
    list(block);
}

/* Take what a block in use has beyond `size` from it. */
static void trim(struct block *block, size_t size)
{
    size_t rest = size_of(block) - size;
    if (rest < sizeof(struct block)) {
        return;
    }
    block->size = size | USED;
    struct block *tail = following(block);
    tail->before = size;
    tail->size = rest;
    release(tail);
}

static int add_pages(uint32_t n)
{
    char *pages = lightvm_pages(n);
    if (!pages) {
        return 0;
    }
    struct block *block = (struct block *)pages;
    if (end && (char *)end + HEADER == pages) {
        block = end; /* these pages continue the last ones */
        block->size = n * PAGE;
    } else {
        block->before = 0;
        block->size = n * PAGE - HEADER;
    }
    end = following(block);
    end->size = HEADER | USED;
    release(block);
    return 1;
}

static int grow(size_t size)
{
    size_t n = (size + HEADER + PAGE - 1) / PAGE;
    return (n < GROWTH_PAGES && add_pages(GROWTH_PAGES)) || add_pages((uint32_t)n);
}

static struct block *find(size_t size)
{
    size_t i = list_of(size);
    for (struct block *block = lists[i]; block; block = block->next) {
        if (block->size >= size) {
            return block;
        }
    }
    while (++i < NR_LISTS) {
        if (lists[i]) {
            return lists[i];
        }
    }
    return NULL;
}

void *malloc(size_t n)
{
    size_t size = block_size(n);
    if (!size) {
        return NULL;
    }
    struct block *block = find(size);
    if (!block && grow(size)) {
        block = find(size);
    }
    if (!block) {
        return NULL;
    }
    unlist(block);
    block->size |= USED;
    trim(block, size);
    return memory_of(block);
}

void free(void *memory)
{
    if (memory) {
        release(block_of(memory));
    }
}

void *calloc(size_t n, size_t size)
{
    size_t bytes;
    void *memory = __builtin_mul_overflow(n, size, &bytes) ? NULL : malloc(bytes);
    return memory ? memset(memory, 0, bytes) : NULL;
}

/* Let a block in use have the free block behind it. */
static void annex(struct block *block)
{
    struct block *next = following(block);
    unlist(next);
    block->size += next->size;
    following(block)->before = size_of(block);
}

void *realloc(void *memory, size_t n)
{
    size_t size = block_size(n);
    if (!memory || !size) {
        return memory ? NULL : malloc(n);
    }
    struct block *block = block_of(memory);
    struct block *next = following(block);
    if (size_of(block) < size && is_free(next) && size_of(block) + next->size >= size) {
        annex(block);
    }
    if (size_of(block) >= size) {
        trim(block, size);
        return memory;
    }
    void *other = malloc(n);
    if (other) {
        memcpy(other, memory, size_of(block) - HEADER);
        free(memory);
    }
    return other;
}
