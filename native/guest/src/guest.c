/* The guest's side of the boot contract: find the pages, talk to Xen, end in order. */
#include "lightvm.h"

#define HYPERVISOR_MEMORY_OP 12u
#define HYPERVISOR_SCHED_OP 29u
#define HYPERVISOR_EVENT_CHANNEL_OP 32u
#define SCHEDOP_BLOCK 1u
#define SCHEDOP_SHUTDOWN 2u
#define SCHEDOP_POLL 3u
#define EVTCHNOP_SEND 4u
#define XENMEM_ADD_TO_PHYSMAP 7u
#define XENMAPSPACE_SHARED_INFO 0u
#define DOMID_SELF 0x7ff0u
#define HYPERCALL_MSR 0x40000000u
#define HYPERCALL_SLOT 32u

extern char hypercall_page[];

const struct lightvm_device_page *lightvm_device_page;
struct lightvm_control_page *lightvm_control;
struct lightvm_console_ring *lightvm_console;
static uint32_t console_port, control_port;

/* Xen's shared info page, as a 32-bit guest sees it: the pending bits come after 32 vCPU records of 64 bytes. */
static struct {
    uint8_t vcpus[32 * 64];
    volatile uint32_t pending[32];
    uint8_t rest[4096 - 32 * 64 - 32 * 4];
} shared_info __attribute__((aligned(4096)));

/* The parts of hvm_start_info that are used here. */
struct start_info {
    uint32_t magic, version, flags, nr_modules;
    uint64_t modlist_paddr, cmdline_paddr;
};
struct module {
    uint64_t paddr, size;
};

/* Xen fills the hypercall page when its address is written to the MSR: a trap, and so not before it is needed. */
static void fill_hypercall_page(void)
{
    static int filled;
    if (!filled) {
        __asm__ volatile("wrmsr" ::"c"(HYPERCALL_MSR), "a"(hypercall_page), "d"(0) : "memory");
        filled = 1;
    }
}

static long hypercall(uint32_t number, uint32_t command, void *argument)
{
    long result;
    fill_hypercall_page();
    __asm__ volatile("call *%[slot]"
                     : "=a"(result), "+b"(command), "+c"(argument)
                     : [slot] "r"(hypercall_page + number * HYPERCALL_SLOT)
                     : "memory");
    return result;
}

static void *at(uint64_t paddr) { return (void *)(uintptr_t)paddr; }

static void write_barrier(void)
{
    __asm__ volatile("" ::: "memory"); /* x86 keeps stores in order; the compiler must too */
}

void lightvm_notify(uint32_t port) { hypercall(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_SEND, &port); }

static void map_shared_info(void)
{
    struct {
        uint16_t domid, size;
        uint32_t space, index, gfn;
    } place = {DOMID_SELF, 0, XENMAPSPACE_SHARED_INFO, 0, (uint32_t)&shared_info >> 12};
    hypercall(HYPERVISOR_MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, &place);
}

static void clear_event(uint32_t port)
{
    __atomic_fetch_and(&shared_info.pending[port / 32], ~(1u << (port % 32)), __ATOMIC_SEQ_CST);
}

/* Sleep until an event is pending on `port`; clear it before looking at what it announces. */
static void wait_event(uint32_t port)
{
    struct {
        uint32_t ports, n;
        uint64_t timeout; /* 0: none */
    } poll = {(uint32_t)&port, 1, 0};
    hypercall(HYPERVISOR_SCHED_OP, SCHEDOP_POLL, &poll);
}

_Noreturn void lightvm_sleep(void)
{
    for (;;) {
        hypercall(HYPERVISOR_SCHED_OP, SCHEDOP_BLOCK, NULL);
    }
}

_Noreturn void lightvm_shutdown(enum lightvm_exit_reason reason)
{
    uint32_t code = reason;
    hypercall(HYPERVISOR_SCHED_OP, SCHEDOP_SHUTDOWN, &code);
    lightvm_sleep();
}

void lightvm_ready(void)
{
    if (lightvm_control) {
        volatile struct lightvm_control_page *control = lightvm_control;
        control->ready = 1;
        __atomic_thread_fence(
            __ATOMIC_SEQ_CST); /* pairs with the fence in the toolstack's lvm_control_spin */
        if (!control->watched) {
            lightvm_control_kick();
        }
    }
}

_Noreturn void lightvm_exit(enum lightvm_exit_reason reason, int status)
{
    if (lightvm_control) {
        lightvm_control->exit_reason = reason;
        lightvm_control->exit_status = (uint32_t)status;
        write_barrier(); /* pairs with the fence in the toolstack's lvm_control_read */
        lightvm_control->exiting = 1;
        write_barrier();
        lightvm_control_kick();
    }
    lightvm_shutdown(reason);
}

void lightvm_console_kick(void) { lightvm_notify(console_port); }

void lightvm_control_kick(void) { lightvm_notify(control_port); }

/* Wait for room in the console ring. Asleep, not spinning: dom0 may be busy, or its daemon gone for a while. */
static void wait_room(volatile struct lightvm_console_ring *ring, uint32_t produced)
{
    static int mapped;
    if (!mapped) {
        map_shared_info();
        mapped = 1;
    }
    for (;;) {
        clear_event(console_port);
        if (produced - ring->out_cons != sizeof(ring->out)) {
            return;
        }
        lightvm_console_kick();
        wait_event(console_port);
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
        write_barrier(); /* pairs with the fence in the toolstack's lvm_console_take */
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

/* Under a toolstack that gives no device page, such as xl, a guest runs without console and control page. */
static void find_pages(const struct start_info *info)
{
    const struct module *modules = at(info->modlist_paddr);
    if (info->nr_modules == 0) {
        return;
    }
    const struct lightvm_device_page *page = at(modules[0].paddr);
    if (page->magic != LIGHTVM_DEVICE_MAGIC || page->version != LIGHTVM_DEVICE_VERSION) {
        return;
    }
    lightvm_device_page = page;
    const uint8_t *entry = (const uint8_t *)page + page->header_size;
    for (uint32_t i = 0; i < page->nr_entries; i++) {
        const struct lightvm_device_entry *device = (const void *)entry;
        void *there = at((uint64_t)device->gfn << 12);
        if (device->type == LIGHTVM_ENTRY_CONSOLE) {
            lightvm_console = there;
            console_port = device->evtchn;
        } else if (device->type == LIGHTVM_ENTRY_CONTROL) {
            lightvm_control = there;
            control_port = device->evtchn;
        }
        entry += page->entry_size;
    }
}

_Noreturn void lightvm_start(const struct start_info *info)
{
    find_pages(info);
    const char *command_line = info->cmdline_paddr ? at(info->cmdline_paddr) : "";
    lightvm_exit(LIGHTVM_EXIT_POWEROFF, main(command_line));
}

/* gcc may call these even in freestanding code. */
void *memcpy(void *to, const void *from, size_t n)
{
    uint8_t *t = to;
    const uint8_t *f = from;
    while (n--) {
        *t++ = *f++;
    }
    return to;
}

void *memset(void *to, int value, size_t n)
{
    uint8_t *t = to;
    while (n--) {
        *t++ = (uint8_t)value;
    }
    return to;
}
