/* The guests' console and events, with dom0's part played here. */
#include "harness.h"

#include <string.h>

#include "../guest/src/console.c"
#include "../guest/src/events.c"

static struct shared_info info;
static struct lightvm_console_ring ring;
static int notified, slept, started, laid_out;
static char printed[10000];
static size_t nr_printed;

volatile struct shared_info *lightvm_shared_info(void) { return &info; }

volatile struct shared_info *lightvm_whole_shared_info(void)
{
    laid_out = 1;
    return &info;
}

void lightvm_clear_event(uint32_t port) { info.pending[port / 32] &= ~(1u << (port % 32)); }

void lightvm_start_interrupts(void) { started++; }

static void take_output(void)
{
    while (ring.out_cons != ring.out_prod) {
        printed[nr_printed++] = (char)ring.out[ring.out_cons++ % sizeof(ring.out)];
    }
}

void lightvm_notify(uint32_t port)
{
    CHECK(port == 7);
    notified++;
}

void lightvm_wait_events(const uint32_t *ports, uint32_t n, uint64_t until_ns)
{
    CHECK(n == 1 && ports[0] == 7 && until_ns == 0);
    CHECK(notified); /* or dom0 would not know */
    slept++;
    take_output();
}

static void fresh(uint32_t start)
{
    memset(&info, 0, sizeof(info));
    memset(&ring, 0, sizeof(ring));
    memset(handlers, 0, sizeof(handlers));
    ring.in_cons = ring.in_prod = ring.out_cons = ring.out_prod = start;
    lightvm_console = &ring;
    lightvm_console_evtchn = 7;
    notified = slept = started = 0;
    nr_printed = 0;
}

static void type_in(const char *text)
{
    while (*text) {
        ring.in[ring.in_prod++ % sizeof(ring.in)] = (uint8_t)*text++;
    }
}

static void output_wraps_and_waits_for_room(void)
{
    fresh(0xffffff00u);
    char text[5000];
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = (char)(i * 7);
    }
    lightvm_write(text, sizeof(text));
    take_output();
    CHECK(slept == 2 && nr_printed == sizeof(text) && memcmp(printed, text, nr_printed) == 0);
    CHECK(lightvm_console_room() == 2048);
    lightvm_print("abc");
    CHECK(lightvm_console_room() == 2045);
}

static void input_comes_once_and_wraps(void)
{
    char bytes[2000];
    fresh(0xfffffffeu);
    CHECK(lightvm_read(bytes, 10) == 0 && notified == 0);
    type_in("hello");
    CHECK(lightvm_read(bytes, 3) == 3 && memcmp(bytes, "hel", 3) == 0 && notified == 1);
    CHECK(lightvm_read(bytes, 0) == 0);
    CHECK(lightvm_read(bytes, 10) == 2 && memcmp(bytes, "lo", 2) == 0);
    CHECK(lightvm_read(bytes, 10) == 0 && notified == 2);
    ring.in_prod += sizeof(ring.in);
    CHECK(lightvm_read(bytes, sizeof(bytes)) == sizeof(ring.in));
}

static void impossible_input_is_skipped(void)
{
    char bytes[10];
    fresh(0);
    ring.in_prod = 1025;
    CHECK(lightvm_read(bytes, 10) == 0 && ring.in_cons == 1025);
    lightvm_console = NULL;
    CHECK(lightvm_read(bytes, 10) == 0 && lightvm_console_room() == 0);
    lightvm_print("nowhere");
}

static void count(void *counter) { ++*(int *)counter; }

static void send_event(uint32_t port)
{
    info.pending[port / 32] |= 1u << (port % 32);
    info.vcpus[0].pending_words |= 1u << (port / 32);
    info.vcpus[0].events_pending = 1;
}

static void handlers_are_called_once_for_their_own_events(void)
{
    int a = 0, b = 0;
    fresh(0);
    info.mask[1] = ~0u;
    send_event(40); /* before anybody cares */
    lightvm_on_event(7, count, &a);
    lightvm_on_event(40, count, &b);
    lightvm_on_event(64, count, &b); /* no such port */
    CHECK(laid_out && started == 2 && info.mask[1] == ~(1u << 8));
    CHECK(lightvm_take_events() == 1 && b == 1);
    send_event(7);
    send_event(9);
    CHECK(lightvm_take_events() == 1 && a == 1 && b == 1);
    CHECK(info.vcpus[0].events_pending == 0 && info.vcpus[0].pending_words == 0);
    CHECK(info.pending[0] == 1u << 9); /* is left for those that poll */
    CHECK(lightvm_take_events() == 0);
}

int main(void)
{
    RUN(output_wraps_and_waits_for_room);
    RUN(input_comes_once_and_wraps);
    RUN(impossible_input_is_skipped);
    RUN(handlers_are_called_once_for_their_own_events);
    return 0;
}
