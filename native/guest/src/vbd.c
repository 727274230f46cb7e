/*
 * A disk: Xen's ring protocol (public/io/blkif.h, as x86_64 lays it out), with buffers that are granted once and for all,
 * which the back-end then keeps mapped. The back-end is connected already: there is no handshake.
 */
#include "internal.h"

#define RING_SLOTS 32u /* of 112 bytes, as many as the page holds, rounded down to a power of two */
#define BUFFERS 8u     /* requests on their way at once */
#define BUFFER_PAGES 8u
#define PAGE 4096u
#define SECTOR 512u
#define BUFFER_SECTORS (BUFFER_PAGES * PAGE / SECTOR)
#define PAGE_SECTORS (PAGE / SECTOR)
#define MOST_SEGMENTS 11u

#define OP_READ 0u
#define OP_WRITE 1u
#define OP_FLUSH 3u
#define OP_DISCARD 5u

struct segment {
    uint32_t ref;
    uint8_t first, last; /* sectors of the page, both included */
    uint16_t pad;
};

struct request {
    uint8_t operation, nr_segments;
    uint16_t handle;
    uint32_t pad;
    uint64_t id, sector;
    union {
        struct segment segments[MOST_SEGMENTS];
        uint64_t nr_sectors; /* of OP_DISCARD */
    };
};

struct response {
    uint64_t id;
    uint8_t operation, pad;
    int16_t status;
};

union slot {
    struct request request;
    struct response response;
};
_Static_assert(sizeof(union slot) == 112, "layout");

struct ring {
    uint32_t req_prod, req_event, rsp_prod, rsp_event;
    uint8_t pad[48];
    union slot slots[];
};

struct buffer {
    uint8_t *pages;
    uint8_t *target; /* where a read is to go */
    uint32_t bytes;
    uint32_t busy;
    uint32_t first_ref; /* of its pages, in a row */
};

struct lightvm_vbd {
    const struct lightvm_vbd_entry *entry;
    volatile struct ring *ring;
    uint32_t produced, consumed;
    uint32_t nr_busy;
    int failed; /* since the call began */
    struct buffer buffers[BUFFERS];
};

static struct lightvm_vbd vbds[LIGHTVM_VBDS_MAX];

static int grant_buffer(struct buffer *buffer)
{
    buffer->pages = lightvm_pages(BUFFER_PAGES);
    if (buffer->pages) {
        buffer->first_ref = lightvm_grant_pages(0, buffer->pages, BUFFER_PAGES);
    }
    return buffer->first_ref != 0;
}

struct lightvm_vbd *lightvm_vbd_open(uint32_t index)
{
    const struct lightvm_vbd_entry *entry = lightvm_device(LIGHTVM_ENTRY_VBD, index);
    if (!entry || index >= LIGHTVM_VBDS_MAX) {
        return NULL;
    }
    struct lightvm_vbd *vbd = &vbds[index];
    if (vbd->entry) {
        return vbd;
    }
    for (uint32_t i = 0; i < BUFFERS; i++) {
        if (!grant_buffer(&vbd->buffers[i])) {
            return NULL;
        }
    }
    vbd->ring = (void *)(entry->gfn << 12);
    vbd->entry = entry;
    return vbd;
}

const struct lightvm_vbd_config *lightvm_vbd_config(const struct lightvm_vbd *vbd)
{
    return &vbd->entry->config;
}

/* Take one answer, or sleep until there is one. What the back-end says is checked before it is used. */
static void take_answer(struct lightvm_vbd *vbd)
{
    volatile struct ring *ring = vbd->ring;
    for (;;) {
        lightvm_clear_event(vbd->entry->evtchn);
        ring->rsp_event = vbd->consumed + 1;
        full_barrier(); /* the back-end writes rsp_prod, then looks at rsp_event */
        if (ring->rsp_prod != vbd->consumed) {
            break;
        }
        lightvm_wait_events(&vbd->entry->evtchn, 1, 0);
    }
    volatile struct response *answer = &ring->slots[vbd->consumed++ % RING_SLOTS].response;
    compiler_barrier();
    uint64_t id = answer->id;
    int16_t status = answer->status;
    if (id >= BUFFERS || !vbd->buffers[id].busy) {
        return;
    }
    struct buffer *buffer = &vbd->buffers[id];
    buffer->busy = 0;
    vbd->nr_busy--;
    if (status) {
        vbd->failed = status;
    } else if (buffer->target) {
        __builtin_memcpy(buffer->target, buffer->pages, buffer->bytes);
    }
}

static uint32_t take_buffer(struct lightvm_vbd *vbd)
{
    while (vbd->nr_busy == BUFFERS) {
        take_answer(vbd);
    }
    uint32_t id = 0;
    while (vbd->buffers[id].busy) {
        id++;
    }
    vbd->buffers[id].busy = 1;
    vbd->buffers[id].target = NULL;
    vbd->nr_busy++;
    return id;
}

/* The next free slot of the ring: never one in use, since there are fewer buffers than slots. */
static volatile struct request *begin_request(struct lightvm_vbd *vbd, uint32_t operation,
                                              uint32_t id, uint64_t sector)
{
    volatile struct request *request = &vbd->ring->slots[vbd->produced % RING_SLOTS].request;
    request->operation = (uint8_t)operation;
    request->nr_segments = 0;
    request->handle = 0;
    request->id = id;
    request->sector = sector;
    return request;
}

static void end_request(struct lightvm_vbd *vbd)
{
    volatile struct ring *ring = vbd->ring;
    uint32_t old = vbd->produced++;
    compiler_barrier();
    ring->req_prod = vbd->produced;
    full_barrier(); /* the back-end writes req_event, then looks at req_prod */
    if (vbd->produced - ring->req_event < vbd->produced - old) {
        lightvm_notify(vbd->entry->evtchn);
    }
}

static int finish(struct lightvm_vbd *vbd)
{
    while (vbd->nr_busy) {
        take_answer(vbd);
    }
    int failed = vbd->failed;
    vbd->failed = 0;
    return failed ? LIGHTVM_VBD_FAILED : 0;
}

static int check_range(const struct lightvm_vbd *vbd, uint64_t sector, uint64_t n, int writing)
{
    const struct lightvm_vbd_config *config = &vbd->entry->config;
    if (sector > config->sectors || n > config->sectors - sector) {
        return LIGHTVM_VBD_OUT_OF_RANGE;
    }
    return writing && (config->flags & LIGHTVM_VBD_READ_ONLY) ? LIGHTVM_VBD_IS_READ_ONLY : 0;
}

static void transfer_some(struct lightvm_vbd *vbd, uint32_t operation, uint64_t sector,
                          uint8_t *bytes, uint32_t n)
{
    uint32_t id = take_buffer(vbd);
    struct buffer *buffer = &vbd->buffers[id];
    buffer->bytes = n * SECTOR;
    if (operation == OP_WRITE) {
        __builtin_memcpy(buffer->pages, bytes, buffer->bytes);
    } else {
        buffer->target = bytes;
    }
    volatile struct request *request = begin_request(vbd, operation, id, sector);
    uint8_t segments = 0;
    for (uint32_t at = 0; at < n; at += PAGE_SECTORS) {
        uint32_t last = n - at < PAGE_SECTORS ? n - at : PAGE_SECTORS;
        request->segments[segments].ref = buffer->first_ref + segments;
        request->segments[segments].first = 0;
        request->segments[segments].last = (uint8_t)(last - 1);
        segments++;
    }
    request->nr_segments = segments;
    end_request(vbd);
}

static int transfer(struct lightvm_vbd *vbd, uint32_t operation, uint64_t sector, uint8_t *bytes,
                    uint32_t n)
{
    while (n && !vbd->failed) {
        uint32_t some = n < BUFFER_SECTORS ? n : BUFFER_SECTORS;
        transfer_some(vbd, operation, sector, bytes, some);
        sector += some;
        bytes += some * SECTOR;
        n -= some;
    }
    return finish(vbd);
}

int lightvm_vbd_read(struct lightvm_vbd *vbd, uint64_t sector, void *bytes, uint32_t n)
{
    int rc = check_range(vbd, sector, n, 0);
    return rc ? rc : transfer(vbd, OP_READ, sector, bytes, n);
}

int lightvm_vbd_write(struct lightvm_vbd *vbd, uint64_t sector, const void *bytes, uint32_t n)
{
    int rc = check_range(vbd, sector, n, 1);
    return rc ? rc : lightvm_vbd_write_anyway(vbd, sector, bytes, n);
}

int lightvm_vbd_write_anyway(struct lightvm_vbd *vbd, uint64_t sector, const void *bytes,
                             uint32_t n)
{
    return transfer(vbd, OP_WRITE, sector, (uint8_t *)bytes, n);
}

int lightvm_vbd_flush(struct lightvm_vbd *vbd)
{
    if (!(vbd->entry->config.flags & LIGHTVM_VBD_FLUSH)) {
        return 0;
    }
    begin_request(vbd, OP_FLUSH, take_buffer(vbd), 0);
    end_request(vbd);
    return finish(vbd);
}

int lightvm_vbd_discard(struct lightvm_vbd *vbd, uint64_t sector, uint64_t n)
{
    int rc = check_range(vbd, sector, n, 1);
    if (rc) {
        return rc;
    }
    if (!(vbd->entry->config.flags & LIGHTVM_VBD_DISCARD)) {
        return LIGHTVM_VBD_FAILED;
    }
    uint32_t id = take_buffer(vbd);
    begin_request(vbd, OP_DISCARD, id, sector)->nr_sectors = n;
    end_request(vbd);
    return finish(vbd);
}
