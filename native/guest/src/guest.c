/* The guest's side of the boot contract: find the pages, talk to Xen, end in order. */
#include "internal.h"

#define SCHEDOP_BLOCK 1u
#define SCHEDOP_SHUTDOWN 2u
#define SCHEDOP_POLL 3u
#define EVTCHNOP_SEND 4u
#define XENMEM_ADD_TO_PHYSMAP 7u
#define HYPERCALL_MSR 0x40000000u
#define HYPERCALL_SLOT 32u
#define MOST_PORTS 16u
#define MOST_ARGUMENTS 64

/* Not in lightvm.h, so that a guest without arguments may leave the parameters out. */
int main(int argc, char **argv);

extern char hypercall_page[];

const struct lightvm_device_page *lightvm_device_page;
struct lightvm_control_page *lightvm_control;
static uint32_t control_port;

/* The parts of hvm_start_info that are used here. */
struct start_info {
    uint32_t magic, version, flags, nr_modules;
    uint64_t modlist_paddr, cmdline_paddr;
};
struct module {
    uint64_t paddr, size, cmdline_paddr, reserved;
};
static const struct start_info *start_info;

/*
 * Xen fills the hypercall page when its address is written to the MSR. It also learns there that this is 32-bit code, and lays
 * out the shared info page for that. A trap, and so only where one of the two is needed.
 */
static void fill_hypercall_page(void)
{
    static int filled;
    if (!filled) {
        __asm__ volatile("wrmsr" ::"c"(HYPERCALL_MSR), "a"(hypercall_page), "d"(0) : "memory");
        filled = 1;
    }
}

long lightvm_hypercall(uint32_t number, uint32_t command, void *argument)
{
    long result;
    uint32_t instruction = lightvm_device_page ? lightvm_device_page->hypercall : 0;
    if (instruction == LIGHTVM_HYPERCALL_VMMCALL) {
        __asm__ volatile("vmmcall"
                         : "=a"(result), "+b"(command), "+c"(argument)
                         : "a"(number)
                         : "memory");
    } else if (instruction == LIGHTVM_HYPERCALL_VMCALL) {
        __asm__ volatile("vmcall"
                         : "=a"(result), "+b"(command), "+c"(argument)
                         : "a"(number)
                         : "memory");
    } else {
        fill_hypercall_page();
        __asm__ volatile("call *%[slot]"
                         : "=a"(result), "+b"(command), "+c"(argument)
                         : [slot] "r"(hypercall_page + number * HYPERCALL_SLOT)
                         : "memory");
    }
    return result;
}

static void *at(uint64_t paddr) { return (void *)(uintptr_t)paddr; }

void lightvm_notify(uint32_t port)
{
    lightvm_hypercall(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_SEND, &port);
}

void lightvm_place_page(uint32_t space, uint32_t index, uint32_t address)
{
    struct {
        uint16_t domid, size;
        uint32_t space, index, gfn;
    } place = {DOMID_SELF, 0, space, index, address >> 12};
    if (lightvm_hypercall(HYPERVISOR_MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, &place)) {
        lightvm_print("lightvm: Xen refused a page of its own\n");
        lightvm_exit(LIGHTVM_EXIT_CRASH, 1);
    }
}

volatile struct shared_info *lightvm_shared_info(void)
{
    static volatile struct shared_info *there;
    if (!there && lightvm_device_page) {
        there = at((uint64_t)lightvm_device_page->shared_info_gfn << 12);
    } else if (!there) {
        there = at(SHARED_INFO_PAGE);
        lightvm_place_page(XENMAPSPACE_SHARED_INFO, 0, SHARED_INFO_PAGE);
    }
    return there;
}

volatile struct shared_info *lightvm_whole_shared_info(void)
{
    fill_hypercall_page();
    return lightvm_shared_info();
}

void lightvm_clear_event(uint32_t port)
{
    volatile uint32_t *word = &lightvm_shared_info()->pending[port / 32];
    __atomic_fetch_and(word, ~(1u << (port % 32)), __ATOMIC_SEQ_CST);
}

void lightvm_wait_events(const uint32_t *ports, uint32_t n, uint64_t until_ns)
{
    uint32_t copy[MOST_PORTS]; /* on the stack: Xen reads it */
    for (uint32_t i = 0; i < n && i < MOST_PORTS; i++) {
        copy[i] = ports[i];
    }
    struct {
        uint32_t ports, n;
        uint64_t timeout;
    } poll = {(uint32_t)copy, n, until_ns};
    lightvm_hypercall(HYPERVISOR_SCHED_OP, SCHEDOP_POLL, &poll);
}

const void *lightvm_device(enum lightvm_entry_type type, uint32_t index)
{
    const struct lightvm_device_page *page = lightvm_device_page;
    for (uint32_t i = 0; page && i < page->nr_entries; i++) {
        const struct lightvm_device_entry *entry =
            (const void *)((const uint8_t *)page + page->header_size + i * page->entry_size);
        if (entry->type == type && entry->index == index) {
            return entry;
        }
    }
    return NULL;
}

_Noreturn void lightvm_block(void)
{
    for (;;) {
        lightvm_hypercall(HYPERVISOR_SCHED_OP, SCHEDOP_BLOCK, NULL);
    }
}

_Noreturn void lightvm_shutdown(enum lightvm_exit_reason reason)
{
    uint32_t code = reason;
    lightvm_hypercall(HYPERVISOR_SCHED_OP, SCHEDOP_SHUTDOWN, &code);
    lightvm_block();
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
        compiler_barrier(); /* pairs with the fence in the toolstack's lvm_control_read */
        lightvm_control->exiting = 1;
        compiler_barrier();
        lightvm_control_kick();
    }
    lightvm_shutdown(reason);
}

uint32_t lightvm_control_port(void) { return control_port; }

void lightvm_control_kick(void) { lightvm_notify(control_port); }

uint32_t lightvm_modules_start(void)
{
    const struct module *modules = at(start_info->modlist_paddr);
    uint32_t start = 0xffffffffu;
    for (uint32_t i = 0; i < start_info->nr_modules; i++) {
        if (modules[i].paddr < start) {
            start = (uint32_t)modules[i].paddr;
        }
    }
    return start;
}

/*
 * Under a toolstack that gives no device page, such as xl, a guest runs without console and control page. All guests come
 * through here, so it has few branches: an emulator translates for each guest anew what is between two of them.
 */
static void find_pages(void)
{
    const struct module *modules = at(start_info->modlist_paddr);
    if (start_info->nr_modules == 0) {
        return;
    }
    const struct lightvm_device_page *page = at(modules[0].paddr);
    if (page->magic != LIGHTVM_DEVICE_MAGIC || page->version != LIGHTVM_DEVICE_VERSION) {
        return;
    }
    lightvm_device_page = page;
    static struct {
        uint32_t gfn, evtchn;
    } places[LIGHTVM_ENTRY_CONTROL + 2]; /* by type; all others in the last */
    const uint8_t *entry = (const uint8_t *)page + page->header_size;
    for (uint32_t i = 0; i < page->nr_entries; i++) {
        const struct lightvm_device_entry *device = (const void *)entry;
        uint32_t type = device->type;
        type = type > LIGHTVM_ENTRY_CONTROL ? LIGHTVM_ENTRY_CONTROL + 1 : type;
        places[type].gfn = device->gfn;
        places[type].evtchn = device->evtchn;
        entry += page->entry_size;
    }
    lightvm_console = page_at(places[LIGHTVM_ENTRY_CONSOLE].gfn);
    lightvm_console_evtchn = places[LIGHTVM_ENTRY_CONSOLE].evtchn;
    lightvm_control = page_at(places[LIGHTVM_ENTRY_CONTROL].gfn);
    control_port = places[LIGHTVM_ENTRY_CONTROL].evtchn;
}

_Noreturn void lightvm_start(const struct start_info *info)
{
    char *argv[1 + MOST_ARGUMENTS + 1];
    int argc = 1;
    start_info = info;
    find_pages();
    const struct lightvm_device_page *page = lightvm_device_page;
    argv[0] = page && page->name[0] ? (char *)page->name : "guest";
    if (info->cmdline_paddr) {
        argc += lightvm_split(at(info->cmdline_paddr), argv + 1, MOST_ARGUMENTS);
    }
    argv[argc] = NULL;
    lightvm_exit(LIGHTVM_EXIT_POWEROFF, main(argc, argv));
}
