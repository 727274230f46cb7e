/* Grants: pages of ours that another domain may use (public/grant_table.h, version 1). */
#include "internal.h"

#define GTF_PERMIT_ACCESS 1u
#define ENTRIES 512u /* of the one frame that is used */

struct grant_entry {
    uint16_t flags;
    uint16_t domid;
    uint32_t frame;
};

static volatile struct grant_entry *table;
static uint32_t next_ref;

uint32_t lightvm_grant_pages(uint16_t domid, void *pages, uint32_t n)
{
    if (!table) {
        table = (void *)(lightvm_device_page->grant_table_gfn << 12);
        next_ref = lightvm_device_page->first_free_ref;
    }
    if (n > ENTRIES - next_ref) {
        return 0;
    }
    uint32_t first = next_ref, frame = (uint32_t)pages >> 12;
    for (; n; n--) {
        volatile struct grant_entry *entry = &table[next_ref++];
        entry->domid = domid;
        entry->frame = frame++;
        compiler_barrier();
        entry->flags = GTF_PERMIT_ACCESS;
    }
    return first;
}

uint32_t lightvm_grant(uint16_t domid, void *page) { return lightvm_grant_pages(domid, page, 1); }
