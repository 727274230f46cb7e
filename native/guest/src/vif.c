/*
 * A network device: Xen's ring protocol (public/io/netif.h), one slot for each packet, buffers granted once and for all.
 * The back-end is connected already: there is no handshake.
 */
#include "internal.h"

#define SLOTS 256u
#define RX_BUFFERS 64u
#define TX_BUFFERS 32u
#define PAGE 4096u

struct ring {
    uint32_t req_prod, req_event, rsp_prod, rsp_event;
    uint8_t pad[48];
    uint8_t slots[];
};

struct tx_request {
    uint32_t ref;
    uint16_t offset, flags, id, size;
};
struct tx_response {
    uint16_t id;
    int16_t status;
};
union tx_slot {
    struct tx_request request;
    struct tx_response response;
};

struct rx_request {
    uint16_t id, pad;
    uint32_t ref;
};
struct rx_response {
    uint16_t id, offset, flags;
    int16_t status;
};
union rx_slot {
    struct rx_request request;
    struct rx_response response;
};
_Static_assert(sizeof(union tx_slot) == 12 && sizeof(union rx_slot) == 8, "layout");

struct lightvm_vif {
    const struct lightvm_vif_entry *entry;
    volatile struct ring *tx, *rx;
    uint32_t tx_prod, tx_cons, rx_prod, rx_cons;
    uint8_t *tx_pages, *rx_pages;
    uint32_t tx_ref, rx_ref; /* of the first page; the others follow */
    uint8_t tx_free[TX_BUFFERS];
    uint32_t nr_tx_free;
    uint16_t rx_held; /* buffer that the guest is reading */
    int notify;
};

static struct lightvm_vif vifs[LIGHTVM_VIFS_MAX];

static volatile union tx_slot *tx_slot(struct lightvm_vif *vif, uint32_t index)
{
    return (volatile union tx_slot *)vif->tx->slots + index % SLOTS;
}

static volatile union rx_slot *rx_slot(struct lightvm_vif *vif, uint32_t index)
{
    return (volatile union rx_slot *)vif->rx->slots + index % SLOTS;
}

/* Make requests visible, and remember to notify if the back-end sleeps. */
static void push(struct lightvm_vif *vif, volatile struct ring *ring, uint32_t prod)
{
    uint32_t old = ring->req_prod;
    compiler_barrier();
    ring->req_prod = prod;
    full_barrier(); /* the back-end writes req_event, then looks at req_prod */
    if (prod - ring->req_event < prod - old) {
        vif->notify = 1;
    }
}

static void offer_buffer(struct lightvm_vif *vif, uint16_t id)
{
    volatile struct rx_request *request = &rx_slot(vif, vif->rx_prod++)->request;
    request->id = id;
    request->ref = vif->rx_ref + id;
}

/* Pages that the back-end may use; returns the reference of the first, or 0. */
static uint32_t make_buffers(uint8_t **ret_pages, uint32_t n)
{
    *ret_pages = lightvm_pages(n);
    return *ret_pages ? lightvm_grant_pages(0, *ret_pages, n) : 0;
}

struct lightvm_vif *lightvm_vif_open(uint32_t index)
{
    const struct lightvm_vif_entry *entry = lightvm_device(LIGHTVM_ENTRY_VIF, index);
    if (!entry) {
        return NULL;
    }
    struct lightvm_vif *vif = &vifs[index];
    vif->entry = entry;
    vif->tx = page_at(entry->tx_gfn);
    vif->rx = page_at(entry->rx_gfn);
    vif->rx_ref = make_buffers(&vif->rx_pages, RX_BUFFERS);
    vif->tx_ref = make_buffers(&vif->tx_pages, TX_BUFFERS);
    if (!vif->rx_ref || !vif->tx_ref) {
        return NULL;
    }
    for (uint16_t id = 0; id < RX_BUFFERS; id++) {
        offer_buffer(vif, id);
    }
    for (uint32_t id = 0; id < TX_BUFFERS; id++) {
        vif->tx_free[id] = (uint8_t)id;
    }
    vif->nr_tx_free = TX_BUFFERS;
    vif->rx_held = RX_BUFFERS;
    push(vif, vif->rx, vif->rx_prod);
    /* To be notified, but not yet: dom0 would start to work, and the guest might have to wait for it. */
    vif->notify = 1;
    return vif;
}

const struct lightvm_vif_config *lightvm_vif_config(const struct lightvm_vif *vif)
{
    return &vif->entry->config;
}

uint32_t lightvm_vif_port(const struct lightvm_vif *vif) { return vif->entry->evtchn; }

void lightvm_vif_flush(struct lightvm_vif *vif)
{
    if (vif->notify) {
        vif->notify = 0;
        lightvm_notify(vif->entry->evtchn);
    }
}

/* Take buffers back that the back-end has sent. Ids are the back-end's word, and checked. */
static void reclaim(struct lightvm_vif *vif)
{
    uint32_t prod = vif->tx->rsp_prod;
    compiler_barrier();
    while (vif->tx_cons != prod && vif->nr_tx_free < TX_BUFFERS) {
        uint16_t id = tx_slot(vif, vif->tx_cons++)->response.id;
        if (id < TX_BUFFERS) {
            vif->tx_free[vif->nr_tx_free++] = (uint8_t)id;
        }
    }
}

void *lightvm_vif_tx_buffer(struct lightvm_vif *vif)
{
    if (vif->nr_tx_free == 0) {
        reclaim(vif);
    }
    if (vif->nr_tx_free == 0) {
        return NULL;
    }
    return vif->tx_pages + vif->tx_free[vif->nr_tx_free - 1] * PAGE;
}

void lightvm_vif_send(struct lightvm_vif *vif, uint32_t length)
{
    uint8_t id = vif->tx_free[--vif->nr_tx_free];
    volatile struct tx_request *request = &tx_slot(vif, vif->tx_prod++)->request;
    request->ref = vif->tx_ref + id;
    request->offset = 0;
    request->flags = 0;
    request->id = id;
    request->size = (uint16_t)length;
    push(vif, vif->tx, vif->tx_prod);
}

const void *lightvm_vif_receive(struct lightvm_vif *vif, uint32_t *ret_length)
{
    while (vif->rx_cons != vif->rx->rsp_prod) {
        compiler_barrier();
        volatile struct rx_response *response = &rx_slot(vif, vif->rx_cons++)->response;
        uint16_t id = response->id, offset = response->offset;
        int16_t status = response->status;
        if (id >= RX_BUFFERS) {
            continue;
        }
        if (status <= 0 || offset + (uint32_t)status > PAGE) {
            offer_buffer(vif, id);
            continue;
        }
        vif->rx_held = id;
        *ret_length = (uint32_t)status;
        return vif->rx_pages + id * PAGE + offset;
    }
    return NULL;
}

void lightvm_vif_release(struct lightvm_vif *vif)
{
    if (vif->rx_held < RX_BUFFERS) {
        offer_buffer(vif, vif->rx_held);
        vif->rx_held = RX_BUFFERS;
    }
}

int lightvm_vif_idle(struct lightvm_vif *vif)
{
    push(vif, vif->rx, vif->rx_prod);
    lightvm_vif_flush(vif);
    vif->rx->rsp_event = vif->rx_cons + 1;
    /* Sent buffers are taken back when they are needed; with none left, the next one is news. */
    vif->tx->rsp_event = vif->tx_cons + (vif->nr_tx_free ? TX_BUFFERS / 2 : 1);
    full_barrier();
    return vif->rx_cons == vif->rx->rsp_prod;
}
