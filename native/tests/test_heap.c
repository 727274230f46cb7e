/* The guests' malloc: random operations against a model, and the mistakes that it notices. */
#include "harness.h"

#include <setjmp.h>
#include <stdint.h>
#include <string.h>

/* Ours beside the C library's. */
#define malloc heap_malloc
#define calloc heap_calloc
#define realloc heap_realloc
#define free heap_free
#include "../guest/src/heap.c"

#define ARENA_PAGES 2048u

static _Alignas(4096) char arena[ARENA_PAGES * PAGE];
static uint32_t arena_used, arena_end;
static jmp_buf exited;

void *lightvm_pages(uint32_t n)
{
    if (n > arena_end - arena_used) {
        return NULL;
    }
    void *pages = arena + arena_used * PAGE;
    arena_used += n;
    return pages;
}

void lightvm_print(const char *text) { (void)text; }

_Noreturn void lightvm_exit(enum lightvm_exit_reason reason, int status)
{
    CHECK(reason == LIGHTVM_EXIT_CRASH && status == 1);
    longjmp(exited, 1);
}

static void fresh(uint32_t pages)
{
    memset(lists, 0, sizeof(lists));
    end = NULL;
    arena_used = 0;
    arena_end = pages;
}

static uint32_t random_number(void)
{
    static uint32_t state = 2463534242u;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

/* Free blocks: each is listed where it belongs, and has no free neighbour. Returns how many. */
static size_t check_lists(void)
{
    size_t found = 0;
    for (size_t i = 0; i < NR_LISTS; i++) {
        for (struct block *block = lists[i]; block; block = block->next) {
            CHECK(is_free(block) && list_of(block->size) == i && *block->link == block);
            CHECK(!is_free(following(block)) && following(block)->before == block->size);
            CHECK(!block->before || !is_free((struct block *)((char *)block - block->before)));
            found++;
        }
    }
    return found;
}

#define SLOTS 300
static struct {
    uint8_t *memory;
    size_t size;
    uint8_t fill;
} model[SLOTS];

static void check_fill(int i, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        CHECK(model[i].memory[k] == model[i].fill);
    }
}

static size_t random_size(void)
{
    uint32_t kind = random_number() % 20;
    return random_number() % (kind == 0 ? 30000 : kind < 5 ? 2000 : 100);
}

static void keep(int i, void *memory, size_t size)
{
    CHECK((uintptr_t)memory % ALIGNMENT == 0);
    model[i].memory = memory;
    model[i].size = size;
    model[i].fill = (uint8_t)random_number();
    if (memory) {
        memset(memory, model[i].fill, size);
    }
}

static void forget(int i)
{
    check_fill(i, model[i].memory ? model[i].size : 0);
    heap_free(model[i].memory);
    model[i].memory = NULL;
}

static void operate(int i)
{
    size_t size = random_size();
    if (!model[i].memory) {
        uint8_t *memory = random_number() % 2 ? heap_malloc(size) : heap_calloc(1, size);
        keep(i, memory, size);
    } else if (random_number() % 3 == 0) {
        uint8_t *memory = heap_realloc(model[i].memory, size);
        if (memory) {
            model[i].memory = memory;
            check_fill(i, size < model[i].size ? size : model[i].size);
            keep(i, memory, size);
        }
    } else {
        forget(i);
    }
}

static void random_operations_keep_every_byte(void)
{
    fresh(ARENA_PAGES);
    memset(model, 0, sizeof(model));
    for (int step = 0; step < 100000; step++) {
        operate((int)(random_number() % SLOTS));
        if (step % 1000 == 0) {
            check_lists();
            arena_used += random_number() % 8 == 0; /* somebody else takes a page in between */
        }
    }
    for (int i = 0; i < SLOTS; i++) {
        forget(i);
    }
    check_lists();
}

static void all_that_is_freed_becomes_one_block_again(void)
{
    fresh(4 * GROWTH_PAGES);
    void *blocks[100];
    for (int i = 0; i < 100; i++) {
        blocks[i] = heap_malloc(2000);
        CHECK(blocks[i]);
    }
    for (int i = 0; i < 100; i++) {
        heap_free(blocks[(i * 37) % 100]);
    }
    CHECK(check_lists() == 1);
    size_t all = arena_used * PAGE - 2 * HEADER;
    uint32_t before = arena_used;
    CHECK(heap_malloc(all) && arena_used == before);
}

static void memory_that_is_used_up_is_told_and_comes_back(void)
{
    fresh(40);
    void *blocks[200];
    int n = 0;
    while ((blocks[n] = heap_malloc(1000))) {
        n++;
    }
    CHECK(arena_used == 40 && n > 40 * 4 - 5);
    CHECK(heap_malloc((size_t)-1) == NULL && heap_malloc((size_t)-1 / 2) == NULL);
    CHECK(heap_realloc(blocks[0], 5000) == NULL);
    heap_free(blocks[7]);
    CHECK(heap_malloc(1000) == blocks[7]);
}

static void calloc_clears_and_refuses_a_product_that_does_not_fit(void)
{
    fresh(64);
    uint8_t *memory = heap_malloc(500);
    memset(memory, 0xff, 500);
    heap_free(memory);
    memory = heap_calloc(50, 10);
    for (int i = 0; i < 500; i++) {
        CHECK(memory[i] == 0);
    }
    CHECK(heap_calloc((size_t)-1 / 2, 3) == NULL);
}

static void realloc_grows_in_place_where_it_can(void)
{
    fresh(64);
    char *memory = heap_realloc(NULL, 100);
    CHECK(heap_realloc(memory, 5000) == memory);
    CHECK(heap_realloc(memory, 10) == memory);
    CHECK(heap_malloc(200) == memory + block_size(10));
}

static int exits(void (*work)(void))
{
    if (setjmp(exited)) {
        return 1;
    }
    work();
    return 0;
}

static void free_twice(void)
{
    void *memory = heap_malloc(100);
    heap_free(memory);
    heap_free(memory);
}

static void write_beyond(void)
{
    char *memory = heap_malloc(ALIGNMENT - 1);
    void *next = heap_malloc(100);
    memset(memory, 1, 64);
    (void)next;
    heap_free(memory);
}

static void mistakes_end_the_guest(void)
{
    fresh(64);
    CHECK(exits(free_twice));
    fresh(64);
    CHECK(exits(write_beyond));
    heap_free(NULL);
}

int main(void)
{
    RUN(random_operations_keep_every_byte);
    RUN(all_that_is_freed_becomes_one_block_again);
    RUN(memory_that_is_used_up_is_told_and_comes_back);
    RUN(calloc_clears_and_refuses_a_product_that_does_not_fit);
    RUN(realloc_grows_in_place_where_it_can);
    RUN(mistakes_end_the_guest);
    return 0;
}
