/* Handlers of events, and which of them are due. */
#include "internal.h"

#define PORTS 64u /* LightVM's domains have ports up to 63 */

static struct {
    lightvm_handler *handle;
    void *data;
} handlers[PORTS];

void lightvm_on_event(uint32_t port, lightvm_handler *handle, void *data)
{
    if (port >= PORTS) {
        return;
    }
    handlers[port].handle = handle;
    handlers[port].data = data;
    __atomic_fetch_and(&lightvm_whole_shared_info()->mask[port / 32], ~(1u << (port % 32)),
                       __ATOMIC_SEQ_CST);
    lightvm_start_interrupts();
}

/* Ports without a handler are left as they are, for those that poll. */
int lightvm_take_events(void)
{
    volatile struct shared_info *info = lightvm_whole_shared_info();
    int taken = 0;
    /* Xen marks the port, then its word, then the flag, and stops at what is marked already: so unmark the other way. */
    info->vcpus[0].events_pending = 0;
    __atomic_exchange_n(&info->vcpus[0].pending_words, 0, __ATOMIC_SEQ_CST);
    for (uint32_t port = 0; port < PORTS; port++) {
        if (handlers[port].handle && (info->pending[port / 32] >> (port % 32)) & 1) {
            lightvm_clear_event(port);
            handlers[port].handle(handlers[port].data);
            taken++;
        }
    }
    return taken;
}
