/* Guest-written words are read once, checked, then used. */
#include "harness.h"

#include <string.h>

#include "../src/events.c"

static int notified, unmasked;
static int pending[4], n_pending;

int xenevtchn_fd(xenevtchn_handle *xce)
{
    (void)xce;
    return 7;
}
xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle *xce)
{
    (void)xce;
    if (n_pending == 0) {
        errno = EAGAIN;
        return -1;
    }
    int port = pending[--n_pending];
    if (port < 0) {
        errno = -port;
        return -1;
    }
    return port;
}
int xenevtchn_unmask(xenevtchn_handle *xce, evtchn_port_t port)
{
    (void)xce;
    unmasked = (int)port;
    errno = EINVAL;
    return port == 99 ? -1 : 0;
}
int xenevtchn_notify(xenevtchn_handle *xce, evtchn_port_t port)
{
    (void)xce;
    notified = (int)port;
    return 0;
}
int lvm_fail(const char *step, int error)
{
    (void)step;
    return error;
}

static _Alignas(4096) uint8_t special[LVM_SPECIAL_PAGES * LVM_PAGE_SIZE];
static struct lvm_xen xen;

static struct lvm_domain fresh(void)
{
    memset(special, 0, sizeof(special));
    notified = unmasked = -1;
    return (struct lvm_domain){.xen = &xen,
                               .special = special,
                               .console_local = 42,
                               .control_local = 43};
}

static void console_gives_what_was_written_and_tells_the_guest(void)
{
    struct lvm_domain domain = fresh();
    struct lvm_console_ring *ring = lvm_console(&domain);
    uint8_t out[LVM_CONSOLE_OUT_SIZE];
    memcpy(ring->out, "hello", 5);
    ring->out_prod = 5;
    CHECK(lvm_console_take(&domain, out) == 5);
    CHECK(memcmp(out, "hello", 5) == 0);
    CHECK(ring->out_cons == 5 && notified == 42);
}

static void console_without_output_makes_no_call(void)
{
    struct lvm_domain domain = fresh();
    uint8_t out[LVM_CONSOLE_OUT_SIZE];
    CHECK(lvm_console_take(&domain, out) == 0);
    CHECK(notified == -1);
}

static void console_wraps_in_ring_and_in_index(void)
{
    struct lvm_domain domain = fresh();
    struct lvm_console_ring *ring = lvm_console(&domain);
    uint8_t out[LVM_CONSOLE_OUT_SIZE];
    uint32_t start =
        0xfffffffeu; /* 2046 in the ring, and two steps before the index itself wraps */
    domain.console_consumed = ring->out_cons = start;
    for (uint32_t i = 0; i < 6; i++) {
        ring->out[(start + i) % LVM_CONSOLE_OUT_SIZE] = (uint8_t)('a' + i);
    }
    ring->out_prod = start + 6;
    CHECK(lvm_console_take(&domain, out) == 6);
    CHECK(memcmp(out, "abcdef", 6) == 0);
}

static void console_takes_a_full_ring(void)
{
    struct lvm_domain domain = fresh();
    uint8_t out[LVM_CONSOLE_OUT_SIZE];
    lvm_console(&domain)->out_prod = LVM_CONSOLE_OUT_SIZE;
    CHECK(lvm_console_take(&domain, out) == (int)LVM_CONSOLE_OUT_SIZE);
}

static void console_refuses_impossible_indices_once(void)
{
    struct lvm_domain domain = fresh();
    struct lvm_console_ring *ring = lvm_console(&domain);
    uint8_t out[1]; /* nothing may be written there */
    ring->out_prod = LVM_CONSOLE_OUT_SIZE + 1;
    CHECK(lvm_console_take(&domain, out) == -EPROTO);
    CHECK(ring->out_cons == ring->out_prod);
    CHECK(lvm_console_take(&domain, out) == 0);
}

static void console_trusts_its_own_index_and_not_the_guests(void)
{
    struct lvm_domain domain = fresh();
    struct lvm_console_ring *ring = lvm_console(&domain);
    uint8_t out[LVM_CONSOLE_OUT_SIZE];
    ring->out_prod = 4;
    CHECK(lvm_console_take(&domain, out) == 4);
    ring->out_cons = 0x12345678; /* the guest may scribble over what only dom0 writes */
    ring->out_prod = 6;
    CHECK(lvm_console_take(&domain, out) == 2);
}

static void control_words_come_as_the_guest_wrote_them(void)
{
    struct lvm_domain domain = fresh();
    struct lvm_control_page *page = lvm_control_page(&domain);
    page->ready = 1;
    page->exiting = 0xdeadbeef;
    page->exit_reason = 3;
    page->exit_status = 0xffffffff;
    struct lvm_control control;
    lvm_control_read(&domain, &control);
    CHECK(control.ready == 1 && control.exiting == 0xdeadbeef);
    CHECK(control.exit_reason == 3 && control.exit_status == 0xffffffff);
}

static void spin_ends_at_once_for_a_ready_or_exiting_guest_and_in_time_for_a_silent_one(void)
{
    struct lvm_domain domain = fresh();
    lvm_control_page(&domain)->watched = 1;
    CHECK(lvm_control_spin(&domain, 100) == 0);
    CHECK(lvm_control_page(&domain)->watched == 0);
    lvm_control_page(&domain)->ready = 1;
    CHECK(lvm_control_spin(&domain, 60u * 1000 * 1000) == 1);
    domain = fresh();
    lvm_control_page(&domain)->exiting = 1;
    CHECK(lvm_control_spin(&domain, 60u * 1000 * 1000) == 1);
}

static void events_come_up_to_the_asked_number(void)
{
    uint32_t ports[2];
    n_pending = 3;
    pending[0] = 1, pending[1] = 2, pending[2] = 3;
    CHECK(lvm_take_events(&xen, ports, 2) == 2);
    CHECK(ports[0] == 3 && ports[1] == 2);
    CHECK(lvm_take_events(&xen, ports, 2) == 1 && ports[0] == 1);
    CHECK(lvm_take_events(&xen, ports, 2) == 0);
}

static void events_report_a_broken_channel(void)
{
    uint32_t ports[2];
    n_pending = 1;
    pending[0] = -EFBIG;
    CHECK(lvm_take_events(&xen, ports, 2) == -EFBIG);
}

static void unmask_passes_port_and_error_on(void)
{
    CHECK(lvm_unmask(&xen, 12) == 0 && unmasked == 12);
    CHECK(lvm_unmask(&xen, 99) == -EINVAL);
}

int main(void)
{
    RUN(console_gives_what_was_written_and_tells_the_guest);
    RUN(console_without_output_makes_no_call);
    RUN(console_wraps_in_ring_and_in_index);
    RUN(console_takes_a_full_ring);
    RUN(console_refuses_impossible_indices_once);
    RUN(console_trusts_its_own_index_and_not_the_guests);
    RUN(control_words_come_as_the_guest_wrote_them);
    RUN(spin_ends_at_once_for_a_ready_or_exiting_guest_and_in_time_for_a_silent_one);
    RUN(events_come_up_to_the_asked_number);
    RUN(events_report_a_broken_channel);
    RUN(unmask_passes_port_and_error_on);
    return lvm_events_fd(&xen) == 7 ? 0 : 1;
}
