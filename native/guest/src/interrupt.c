/*
 * Events as interrupts. Xen raises one vector for all channels (HVM_PARAM_CALLBACK_IRQ), for as long as the flag in the shared
 * info page is set: there is no local APIC in between, to be enabled or told that the interrupt is done.
 */
#include "internal.h"

#define HVMOP_SET_PARAM 0u
#define HVM_PARAM_CALLBACK_IRQ 0u
#define CALLBACK_IS_VECTOR (2ull << 56)

#define VECTOR 32u /* the first behind those of exceptions */
#define CODE 8u    /* selectors: offsets into the table of segments */
#define DATA 16u
#define INTERRUPT_GATE 0x8e00u

/* The segments that the guest starts with, flat ones: an interrupt reloads them, and so they must be in memory. */
static const uint64_t segments[] = {0, 0x00cf9b000000ffffull, 0x00cf93000000ffffull};

static struct {
    uint16_t offset_low, selector, type, offset_high;
} gates[VECTOR + 1];

struct table {
    uint16_t limit;
    const void *address;
} __attribute__((packed));

struct frame;

__attribute__((interrupt)) static void on_interrupt(struct frame *frame)
{
    (void)frame;
    lightvm_take_events();
}

static void load_tables(void)
{
    uint32_t handler = (uint32_t)on_interrupt;
    gates[VECTOR].offset_low = (uint16_t)handler;
    gates[VECTOR].selector = CODE;
    gates[VECTOR].type = INTERRUPT_GATE;
    gates[VECTOR].offset_high = (uint16_t)(handler >> 16);
    struct table segment_table = {sizeof(segments) - 1, segments};
    struct table gate_table = {sizeof(gates) - 1, gates};
    __asm__ volatile(
        "lgdt %[segments]\n\t"
        "lidt %[gates]\n\t"
        "ljmp %[code], $1f\n"
        "1:\n\t"
        "movl %[data], %%ds\n\t"
        "movl %[data], %%es\n\t"
        "movl %[data], %%ss"
        :
        : [segments] "m"(segment_table), [gates] "m"(gate_table), [code] "i"(CODE), [data] "r"(DATA)
        : "memory");
}

void lightvm_start_interrupts(void)
{
    static int started;
    if (started) {
        return;
    }
    started = 1;
    load_tables();
    struct {
        uint16_t domid, pad;
        uint32_t index;
        uint64_t value;
    } parameter = {DOMID_SELF, 0, HVM_PARAM_CALLBACK_IRQ, CALLBACK_IS_VECTOR | VECTOR};
    lightvm_hypercall(HYPERVISOR_HVM_OP, HVMOP_SET_PARAM, &parameter);
}

void lightvm_halt(void)
{
    if (!lightvm_take_events()) {
        /* An interrupt is taken after the instruction behind sti at the earliest, so none is missed in between. */
        __asm__ volatile("sti; hlt; cli" ::: "memory");
    }
}
