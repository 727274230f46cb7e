/* The console: a ring of bytes each way (docs/device-page.md, "Console ring"). */
#include "internal.h"

struct lightvm_console_ring *lightvm_console;
uint32_t lightvm_console_evtchn;

uint32_t lightvm_console_port(void) { return lightvm_console_evtchn; }

void lightvm_console_kick(void) { lightvm_notify(lightvm_console_evtchn); }

/* Wait for room in the console ring. Asleep, not spinning: dom0 may be busy, or its daemon gone for a while. */
static void wait_room(volatile struct lightvm_console_ring *ring, uint32_t produced)
{
    for (;;) {
        lightvm_clear_event(lightvm_console_evtchn);
        if (produced - ring->out_cons != sizeof(ring->out)) {
            return;
        }
        lightvm_console_kick();
        lightvm_wait_events(&lightvm_console_evtchn, 1, 0);
    }
}

void lightvm_write(const char *bytes, size_t n)
{
    volatile struct lightvm_console_ring *ring = lightvm_console;
    if (!ring) {
        return;
    }
    uint32_t produced = ring->out_prod;
    for (size_t i = 0; i < n; i++) {
        if (produced - ring->out_cons == sizeof(ring->out)) {
            wait_room(ring, produced);
        }
        ring->out[produced++ % sizeof(ring->out)] = (uint8_t)bytes[i];
        compiler_barrier(); /* pairs with the fence in the toolstack's lvm_console_take */
        ring->out_prod = produced;
    }
    lightvm_console_kick();
}

void lightvm_print(const char *text)
{
    size_t n = 0;
    while (text[n]) {
        n++;
    }
    lightvm_write(text, n);
}

size_t lightvm_console_room(void)
{
    volatile struct lightvm_console_ring *ring = lightvm_console;
    return ring ? sizeof(ring->out) - (ring->out_prod - ring->out_cons) : 0;
}

size_t lightvm_read(char *bytes, size_t n)
{
    volatile struct lightvm_console_ring *ring = lightvm_console;
    if (!ring) {
        return 0;
    }
    uint32_t produced = ring->in_prod, consumed = ring->in_cons;
    compiler_barrier(); /* the index first, then the bytes that it announces */
    if (produced - consumed > sizeof(ring->in)) {
        ring->in_cons = produced; /* cannot be: what is between them is no input */
        return 0;
    }
    size_t taken = 0;
    while (taken < n && consumed != produced) {
        bytes[taken++] = (char)ring->in[consumed++ % sizeof(ring->in)];
    }
    if (taken) {
        compiler_barrier(); /* the bytes are taken before their places are given back */
        ring->in_cons = consumed;
        lightvm_console_kick();
    }
    return taken;
}
