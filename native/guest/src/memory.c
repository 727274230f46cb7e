/* Memory beyond the image: handed out once, never taken back. Its content is not defined. */
#include "internal.h"

#define PAGE 4096u

extern char image_end[];

static uint32_t next_page, end;

/* Modules lie at the top of low RAM; what a guest may use ends below the lowest. */
static uint32_t ram_end(void)
{
    uint64_t kib = lightvm_device_page ? lightvm_device_page->memory_kib : 1024;
    uint32_t modules = lightvm_modules_start();
    return kib * 1024 < modules ? (uint32_t)(kib * 1024) : modules;
}

void *lightvm_pages(uint32_t n)
{
    if (!next_page) {
        next_page = ((uint32_t)image_end + PAGE - 1) & ~(PAGE - 1);
        end = ram_end(); /* now: the list of modules may lie in what is handed out */
    }
    if (n > (end - next_page) / PAGE) {
        return NULL;
    }
    void *pages = (void *)next_page;
    next_page += n * PAGE;
    return pages;
}

uint32_t lightvm_pages_left(void) { return next_page ? (end - next_page) / PAGE : 0; }
