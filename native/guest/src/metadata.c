/* The bytes that the domain's creator gave along. */
#include "internal.h"

#define METADATA_MOST 4096u

const char *lightvm_metadata(size_t *ret_size)
{
    const struct lightvm_device_page *page = lightvm_device_page;
    *ret_size = 0;
    if (!page || !page->metadata_size || page->metadata_size > METADATA_MOST) {
        return NULL;
    }
    *ret_size = page->metadata_size;
    return page_at(page->metadata_gfn);
}
