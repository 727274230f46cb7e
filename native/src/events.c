/* Event channels, and what guests write into shared pages: each word is read once, checked, then used. */
#include "engine.h"

#include <errno.h>

#define LOOKS_PER_CLOCK 64 /* reading the clock costs more than a look at the page */
#define READ_ONCE(word) __atomic_load_n(&(word), __ATOMIC_RELAXED)

int lvm_events_fd(const struct lvm_xen *xen) { return xenevtchn_fd(xen->evtchn); }

int lvm_take_events(struct lvm_xen *xen, uint32_t *ret_ports, uint32_t max)
{
    uint32_t n = 0;
    while (n < max) {
        /* The descriptor is non-blocking, so this says EAGAIN when nothing is pending. */
        xenevtchn_port_or_error_t port = xenevtchn_pending(xen->evtchn);
        if (port < 0) {
            if (errno == EAGAIN || errno == EINTR) {
                break;
            }
            return lvm_fail("evtchn_pending", -errno);
        }
        ret_ports[n++] = (uint32_t)port;
    }
    return (int)n;
}

int lvm_unmask(struct lvm_xen *xen, uint32_t local_port)
{
    return xenevtchn_unmask(xen->evtchn, local_port) < 0 ? lvm_fail("evtchn_unmask", -errno) : 0;
}

int lvm_console_take(struct lvm_domain *domain, uint8_t *buffer)
{
    struct lvm_console_ring *ring = lvm_console(domain);
    uint32_t consumed = domain->console_consumed;
    uint32_t produced = READ_ONCE(ring->out_prod);
    /* Pairs with the guest's write barrier between its bytes and out_prod. */
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    uint32_t n = produced - consumed;
    if (n == 0) {
        return 0;
    }
    bool impossible = n > LVM_CONSOLE_OUT_SIZE;
    for (uint32_t i = 0; !impossible && i < n; i++) {
        buffer[i] = READ_ONCE(ring->out[(consumed + i) % LVM_CONSOLE_OUT_SIZE]);
    }
    domain->console_consumed = produced;
    /* The bytes are out before the guest may reuse their place. */
    __atomic_store_n(&ring->out_cons, produced, __ATOMIC_RELEASE);
    if (domain->console_local >= 0) {
        xenevtchn_notify(domain->xen->evtchn, (evtchn_port_t)domain->console_local);
    }
    return impossible ? lvm_fail("console ring", -EPROTO) : (int)n;
}

int lvm_console_put(struct lvm_domain *domain, const uint8_t *bytes, uint32_t n)
{
    struct lvm_console_ring *ring = lvm_console(domain);
    uint32_t produced = READ_ONCE(ring->in_prod);
    uint32_t waiting = produced - READ_ONCE(ring->in_cons);
    if (waiting > LVM_CONSOLE_IN_SIZE) {
        return lvm_fail("console ring", -EPROTO);
    }
    if (n > LVM_CONSOLE_IN_SIZE - waiting) {
        n = LVM_CONSOLE_IN_SIZE - waiting;
    }
    for (uint32_t i = 0; i < n; i++) {
        ring->in[(produced + i) % LVM_CONSOLE_IN_SIZE] = bytes[i];
    }
    /* The guest sees the bytes before it sees that they are there. */
    __atomic_store_n(&ring->in_prod, produced + n, __ATOMIC_RELEASE);
    if (domain->console_local >= 0) {
        xenevtchn_notify(domain->xen->evtchn, (evtchn_port_t)domain->console_local);
    }
    return (int)n;
}

int lvm_control_request(struct lvm_domain *domain, uint32_t request)
{
    __atomic_store_n(&lvm_control_page(domain)->request, request, __ATOMIC_RELEASE);
    int rc = xenevtchn_notify(domain->xen->evtchn, (evtchn_port_t)domain->control_local);
    return rc < 0 ? lvm_fail("evtchn_notify", -errno) : 0;
}

void lvm_control_read(const struct lvm_domain *domain, struct lvm_control *ret_control)
{
    const struct lvm_control_page *page = lvm_control_page(domain);
    ret_control->ready = READ_ONCE(page->ready);
    ret_control->exiting = READ_ONCE(page->exiting);
    /* Pairs with the guest's write barrier between reason and status, and exiting. */
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    ret_control->exit_reason = READ_ONCE(page->exit_reason);
    ret_control->exit_status = READ_ONCE(page->exit_status);
    ret_control->heartbeat = READ_ONCE(page->heartbeat);
    ret_control->acknowledged = READ_ONCE(page->acknowledged);
}

static int said_something(const struct lvm_control_page *page)
{
    return READ_ONCE(page->ready) || READ_ONCE(page->exiting);
}

int lvm_control_spin(struct lvm_domain *domain, uint32_t microseconds)
{
    struct lvm_control_page *page = lvm_control_page(domain);
    int64_t *now = &domain->xen->moments.heard;
    int64_t end = 0; /* a guest that is quicker than this loop costs one look at the clock */
    for (;;) {
        for (int look = 0; look < LOOKS_PER_CLOCK; look++) {
            if (said_something(page)) {
                *now = lvm_now();
                return 1;
            }
            __builtin_ia32_pause();
        }
        *now = lvm_now();
        if (!end) {
            end = *now + (int64_t)microseconds * 1000;
        } else if (*now >= end) {
            break;
        }
    }
    lvm_control_unwatch(domain);
    return said_something(page);
}
