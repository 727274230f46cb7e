/* What the library's files share, and guests need not know. */
#ifndef LIGHTVM_INTERNAL_H
#define LIGHTVM_INTERNAL_H

#include "lightvm.h"

#define HYPERVISOR_MEMORY_OP 12u
#define HYPERVISOR_SCHED_OP 29u
#define HYPERVISOR_EVENT_CHANNEL_OP 32u
#define HYPERVISOR_HVM_OP 34u

#define DOMID_SELF 0x7ff0u

#define XENMAPSPACE_SHARED_INFO 0u

/*
 * Xen's shared info page as a 32-bit guest sees it (public/xen.h). Until Xen knows that a guest is one (lightvm_whole_shared_info),
 * the page is that of 64-bit code: there `events_pending`, `time` and the first 64 bits of `pending` are the same, and no more.
 */
struct vcpu_time_info {
    uint32_t version;
    uint32_t pad0;
    uint64_t tsc_timestamp;
    uint64_t system_time;
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags;
    uint8_t pad1[2];
} __attribute__((packed));

struct shared_info {
    struct {
        uint8_t events_pending; /* the flag that raises an interrupt */
        uint8_t events_masked;  /* not looked at for guests like ours */
        uint8_t pad[2];
        uint32_t pending_words; /* of `pending` below, a bit for each */
        uint32_t of_the_processor[6];
        struct vcpu_time_info time;
    } vcpus[32];
    uint32_t pending[32];
    uint32_t mask[32];
    uint32_t wc_version, wc_sec, wc_nsec;
};
_Static_assert(sizeof(struct vcpu_time_info) == 32, "layout");
_Static_assert(__builtin_offsetof(struct shared_info, vcpus[0].time) == 32, "layout");
_Static_assert(__builtin_offsetof(struct shared_info, pending) == 2048, "layout");

/*
 * Split `text` in place into at most so many words; returns how many. Blanks separate words, double quotes keep blanks
 * together and vanish; what is beyond the last word is dropped.
 */
int lightvm_split(char *text, char **words, int most);

long lightvm_hypercall(uint32_t number, uint32_t command, void *argument);

/* Where Xen's shared info page goes under a toolstack that has put it nowhere: beyond all RAM. */
#define SHARED_INFO_PAGE 0xff100000u

/* Put one of Xen's own pages at an address. */
void lightvm_place_page(uint32_t space, uint32_t index, uint32_t address);

extern uint32_t lightvm_console_evtchn;

/* Where the lowest boot module begins; beyond all RAM where there is none. */
uint32_t lightvm_modules_start(void);

/* Call the handlers of all events that are pending; returns how many. */
int lightvm_take_events(void);
void lightvm_start_interrupts(void);

/* Mapped on first use; for what is the same for all code. */
volatile struct shared_info *lightvm_shared_info(void);

/* For the rest of it. */
volatile struct shared_info *lightvm_whole_shared_info(void);

static inline void *page_at(uint32_t gfn) { return (void *)(uintptr_t)(gfn << 12); }

static inline void full_barrier(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

/* x86 keeps loads in order among themselves, and stores; the compiler must too. */
static inline void compiler_barrier(void) { __asm__ volatile("" ::: "memory"); }

#endif
