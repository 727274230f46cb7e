/* The guests' network device, against a back-end that is played here, honest or not. */
#include "harness.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "../guest/src/vif.c"

#define RINGS 0x10000000u /* rings have addresses of 32 bits */
#define PORT 9u
#define FIRST_REF 24u

static struct lightvm_vif_entry entry = {.type = LIGHTVM_ENTRY_VIF,
                                         .evtchn = PORT,
                                         .tx_gfn = RINGS >> 12,
                                         .rx_gfn = (RINGS >> 12) + 1};
static _Alignas(4096) uint8_t memory[(RX_BUFFERS + TX_BUFFERS) * PAGE];
static uint32_t pages_used, pages_most, refs_used, notified;
static uint32_t tx_taken, rx_taken; /* requests that the back-end has seen */

const void *lightvm_device(enum lightvm_entry_type type, uint32_t index)
{
    return type == LIGHTVM_ENTRY_VIF && index == 0 ? &entry : NULL;
}

void *lightvm_pages(uint32_t n)
{
    if (pages_used + n > pages_most) {
        return NULL;
    }
    pages_used += n;
    return memory + (pages_used - n) * PAGE;
}

uint32_t lightvm_grant_pages(uint16_t domid, void *pages, uint32_t n)
{
    CHECK(domid == 0 && (uint8_t *)pages == memory + (pages_used - n) * PAGE);
    refs_used += n;
    return FIRST_REF + refs_used - n;
}

void lightvm_notify(uint32_t port)
{
    CHECK(port == PORT);
    notified++;
}

static struct lightvm_vif *fresh(void)
{
    memset(page_at(entry.tx_gfn), 0, 2 * PAGE);
    memset(vifs, 0, sizeof(vifs));
    memset(memory, 0, sizeof(memory));
    pages_used = refs_used = notified = tx_taken = rx_taken = 0;
    pages_most = RX_BUFFERS + TX_BUFFERS;
    struct lightvm_vif *vif = lightvm_vif_open(0);
    CHECK(vif);
    vif->tx->req_event = vif->rx->req_event = 1;
    return vif;
}

/* The back-end's part. */

static uint8_t *buffer_of(uint32_t ref) { return memory + (ref - FIRST_REF) * PAGE; }

static void respond_rx(struct lightvm_vif *vif, uint16_t id, uint16_t offset, int16_t status)
{
    volatile struct rx_response *response = &rx_slot(vif, vif->rx->rsp_prod)->response;
    response->id = id;
    response->offset = offset;
    response->status = status;
    vif->rx->rsp_prod = vif->rx->rsp_prod + 1;
}

static void deliver(struct lightvm_vif *vif, uint8_t fill)
{
    CHECK(rx_taken != vif->rx->req_prod);
    struct rx_request request = rx_slot(vif, rx_taken++)->request;
    CHECK(request.ref == FIRST_REF + request.id);
    memset(buffer_of(request.ref), fill, 100);
    respond_rx(vif, request.id, 0, 100);
}

static void respond_tx(struct lightvm_vif *vif, uint16_t id)
{
    tx_slot(vif, vif->tx->rsp_prod)->response.id = id;
    vif->tx->rsp_prod = vif->tx->rsp_prod + 1;
}

static uint16_t transmit(struct lightvm_vif *vif, uint8_t fill)
{
    CHECK(tx_taken != vif->tx->req_prod);
    struct tx_request request = tx_slot(vif, tx_taken++)->request;
    CHECK(request.ref == FIRST_REF + RX_BUFFERS + request.id && request.size == 60);
    CHECK(buffer_of(request.ref)[0] == fill && buffer_of(request.ref)[59] == fill);
    return request.id;
}

static int send(struct lightvm_vif *vif, uint8_t fill)
{
    void *buffer = lightvm_vif_tx_buffer(vif);
    if (!buffer) {
        return 0;
    }
    memset(buffer, fill, 60);
    lightvm_vif_send(vif, 60);
    return 1;
}

/* Tests. */

static void opening_offers_all_buffers_and_tells_nobody_before_the_flush(void)
{
    struct lightvm_vif *vif = fresh();
    CHECK(vif->rx->req_prod == RX_BUFFERS && notified == 0);
    lightvm_vif_flush(vif);
    lightvm_vif_flush(vif);
    CHECK(notified == 1);
    CHECK(lightvm_vif_open(1) == NULL);
    pages_used = 1;
    CHECK(lightvm_vif_open(0) == NULL); /* no memory */
}

static void frames_come_in_order_and_their_buffers_go_back(void)
{
    struct lightvm_vif *vif = fresh();
    uint32_t length;
    for (int i = 0; i < 1000; i++) {
        CHECK(lightvm_vif_receive(vif, &length) == NULL);
        deliver(vif, (uint8_t)i);
        deliver(vif, (uint8_t)(i + 1));
        for (int k = 0; k < 2; k++) {
            const uint8_t *frame = lightvm_vif_receive(vif, &length);
            CHECK(frame && length == 100 && frame[99] == (uint8_t)(i + k));
            lightvm_vif_release(vif);
            lightvm_vif_release(vif); /* once is enough, twice is no harm */
        }
        lightvm_vif_idle(vif);
        CHECK(vif->rx->req_prod - rx_taken == RX_BUFFERS);
    }
}

static void frames_go_out_until_all_buffers_are_on_their_way(void)
{
    struct lightvm_vif *vif = fresh();
    for (int round = 0; round < 100; round++) {
        uint16_t ids[TX_BUFFERS];
        for (uint32_t i = 0; i < TX_BUFFERS; i++) {
            CHECK(send(vif, (uint8_t)(i + round)));
        }
        CHECK(!send(vif, 0));
        for (uint32_t i = 0; i < TX_BUFFERS; i++) {
            ids[i] = transmit(vif, (uint8_t)(i + round));
        }
        for (uint32_t i = 0; i < TX_BUFFERS; i++) {
            respond_tx(vif, ids[(i * 7) % TX_BUFFERS]);
        }
    }
}

static void the_back_end_is_told_only_when_it_asks(void)
{
    struct lightvm_vif *vif = fresh();
    lightvm_vif_flush(vif);
    notified = 0;
    CHECK(send(vif, 1)); /* request 0, and it waits for the first */
    lightvm_vif_flush(vif);
    CHECK(notified == 1);
    CHECK(send(vif, 1) && send(vif, 1)); /* awake */
    lightvm_vif_flush(vif);
    CHECK(notified == 1);
    vif->tx->req_event = vif->tx_prod + 1;
    CHECK(send(vif, 1));
    lightvm_vif_flush(vif);
    CHECK(notified == 2);
}

static void an_idle_guest_has_an_event_for_the_next_frame(void)
{
    struct lightvm_vif *vif = fresh();
    CHECK(lightvm_vif_idle(vif) == 1 && vif->rx->rsp_event == 1);
    deliver(vif, 1);
    CHECK(lightvm_vif_idle(vif) == 0);
}

static void nonsense_of_the_back_end_stays_without_harm(void)
{
    struct lightvm_vif *vif = fresh();
    uint32_t length;
    respond_rx(vif, RX_BUFFERS, 0, 60); /* no such buffer */
    respond_rx(vif, 0xffff, 0, 60);
    respond_rx(vif, 0, 0, 0); /* no frame: the buffer is offered again */
    respond_rx(vif, 1, 0, -1);
    respond_rx(vif, 2, 4095, 2); /* beyond the page */
    respond_rx(vif, 3, 0xffff, 32767);
    CHECK(lightvm_vif_receive(vif, &length) == NULL);
    CHECK(vif->rx_prod == RX_BUFFERS + 4);
    respond_rx(vif, 4, 4094, 2);
    CHECK(lightvm_vif_receive(vif, &length) == memory + 4 * PAGE + 4094 && length == 2);
    CHECK(send(vif, 1));
    respond_tx(vif, TX_BUFFERS);
    respond_tx(vif, 0xffff);
    reclaim(vif);
    CHECK(vif->nr_tx_free == TX_BUFFERS - 1);
}

static uint32_t random_number(void)
{
    static uint32_t state = 88172645u;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static void random_rings_lead_nowhere_outside_the_buffers(void)
{
    struct lightvm_vif *vif = fresh();
    uint32_t length;
    for (int round = 0; round < 20000; round++) {
        uint32_t *ring = page_at(random_number() % 2 ? entry.rx_gfn : entry.tx_gfn);
        ring[16 + random_number() % 1000] = random_number();
        vif->rx->rsp_prod = vif->rx_cons + random_number() % 20;
        vif->tx->rsp_prod = vif->tx_cons + random_number() % 20;
        const uint8_t *frame = lightvm_vif_receive(vif, &length);
        if (frame) {
            CHECK(frame >= memory && length > 0 && length <= PAGE);
            CHECK((frame - memory) / PAGE < RX_BUFFERS);
            CHECK((frame - memory) % PAGE + length <= PAGE);
            lightvm_vif_release(vif);
        }
        uint8_t *buffer = lightvm_vif_tx_buffer(vif);
        if (buffer) {
            CHECK(buffer >= memory + RX_BUFFERS * PAGE && buffer < memory + sizeof(memory));
            lightvm_vif_send(vif, 60);
        }
        lightvm_vif_idle(vif);
    }
}

int main(void)
{
    void *rings = mmap(page_at(entry.tx_gfn), 2 * PAGE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(rings == page_at(entry.tx_gfn));
    RUN(opening_offers_all_buffers_and_tells_nobody_before_the_flush);
    RUN(frames_come_in_order_and_their_buffers_go_back);
    RUN(frames_go_out_until_all_buffers_are_on_their_way);
    RUN(the_back_end_is_told_only_when_it_asks);
    RUN(an_idle_guest_has_an_event_for_the_next_frame);
    RUN(nonsense_of_the_back_end_stays_without_harm);
    RUN(random_rings_lead_nowhere_outside_the_buffers);
    return 0;
}
