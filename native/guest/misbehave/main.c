/*
 * Misbehaves on request, for tests. Words of the command line, in the order in which they are obeyed:
 *   ready         say ready first
 *   crash         tell Xen that the guest has crashed
 *   triple-fault  take an exception without a handler
 *   shutdown      power off without a word in the control page
 *   loop          spin for ever
 *   flood         write to the console for ever
 *   ring          put impossible indices into the console ring
 *   control       put nonsense into the control page
 *   deaf          never hear what the toolstack asks for
 *   yes           acknowledge everything, and do nothing of it
 *   reboot        ask for a reboot
 *   hostile       write nonsense into every page that can be written, and notify every channel, for ever
 *   device-page   try to write the device page; exit status 0 where the page did not change
 */
#include "lightvm.h"

static void triple_fault(void)
{
    static const struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) no_table = {0, 0};
    __asm__ volatile("lidt %0; int3" ::"m"(no_table));
}

static void flood(void)
{
    static const char line[] = "a flood of words, a flood of words, a flood of words\n";
    static char block[1024];
    for (size_t i = 0; i < sizeof(block); i++) {
        block[i] = line[i % (sizeof(line) - 1)];
    }
    for (;;) {
        lightvm_write(block, sizeof(block));
    }
}

/* Words that mean nothing, and an end that never comes: the toolstack must take none of it for true. */
static void nonsense(void)
{
    lightvm_control->magic = 0;
    lightvm_control->version = 0xdeadbeef;
    lightvm_control->ready = 0xdeadbeef;
    lightvm_control->exit_reason = 0xdeadbeef;
    lightvm_control->exit_status = 0xdeadbeef;
    lightvm_control->exiting = 0xdeadbeef;
    lightvm_control_kick();
}

static void say_yes(void)
{
    uint32_t port = lightvm_control_port();
    for (;;) {
        lightvm_clear_event(port);
        if (lightvm_request()) {
            lightvm_acknowledge();
        }
        lightvm_wait_events(&port, 1, 0);
    }
}

static void scribble(uint32_t gfn, uint32_t *state)
{
    volatile uint32_t *words = (volatile uint32_t *)(gfn << 12);
    for (uint32_t i = 0; i < 1024; i++) {
        *state = *state * 1664525u + 1013904223u;
        words[i] = *state;
    }
}

/* All special pages and the rings of vifs; those that are not there, or read-only, swallow what is written. */
static void be_hostile(void)
{
    uint32_t state = 1, first = (uint32_t)lightvm_control >> 12;
    for (;;) {
        for (uint32_t page = 0; page < 24; page++) {
            if (first + page - 1 != lightvm_device_page->shared_info_gfn) {
                scribble(first + page - 1, &state);
            }
        }
        for (uint32_t port = 1; port < 64; port++) {
            lightvm_notify(port);
        }
    }
}

static int write_device_page(void)
{
    volatile uint32_t *word = (volatile uint32_t *)&lightvm_device_page->nr_entries;
    uint32_t before = *word;
    *word = ~before;
    return *word == before ? 0 : 1;
}

int main(int argc, char **argv)
{
    (void)argc;
    if (lightvm_word(argv, "ready")) {
        lightvm_ready();
    }
    if (lightvm_word(argv, "crash")) {
        lightvm_shutdown(LIGHTVM_EXIT_CRASH);
    }
    if (lightvm_word(argv, "triple-fault")) {
        triple_fault();
    }
    if (lightvm_word(argv, "shutdown")) {
        lightvm_shutdown(LIGHTVM_EXIT_POWEROFF);
    }
    if (lightvm_word(argv, "loop")) {
        for (;;) {
            __asm__ volatile("pause");
        }
    }
    if (lightvm_word(argv, "flood")) {
        flood();
    }
    if (lightvm_word(argv, "deaf")) {
        lightvm_block();
    }
    if (lightvm_word(argv, "yes")) {
        say_yes();
    }
    if (lightvm_word(argv, "reboot")) {
        lightvm_exit(LIGHTVM_EXIT_REBOOT, 0);
    }
    if (lightvm_word(argv, "hostile")) {
        be_hostile();
    }
    if (lightvm_word(argv, "ring")) {
        lightvm_console->out_prod = lightvm_console->out_cons + 0x12345678;
        lightvm_console_kick();
        lightvm_sleep();
    }
    if (lightvm_word(argv, "control")) {
        nonsense();
        lightvm_sleep();
    }
    return lightvm_word(argv, "device-page") ? write_device_page() : 0;
}
