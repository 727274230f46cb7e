/* Time: Xen's clock page and the processor's counter (public/xen.h, struct vcpu_time_info). */
#include "internal.h"

static uint64_t read_counter(void)
{
    uint32_t low, high;
    __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high)::"memory");
    return ((uint64_t)high << 32) | low;
}

/* (a * b) >> 32, of 64 and 32 bits. */
static uint64_t scale(uint64_t a, uint32_t b)
{
    return (uint64_t)(uint32_t)(a >> 32) * b + (((uint64_t)(uint32_t)a * b) >> 32);
}

uint64_t lightvm_now_ns(void)
{
    volatile struct vcpu_time_info *info = &lightvm_shared_info()->vcpus[0].time;
    uint32_t version;
    uint64_t now;
    do {
        version = info->version;
        compiler_barrier();
        uint64_t passed = read_counter() - info->tsc_timestamp;
        int8_t shift = info->tsc_shift;
        passed = shift < 0 ? passed >> -shift : passed << shift;
        now = info->system_time + scale(passed, info->tsc_to_system_mul);
        compiler_barrier();
    } while ((version & 1) || version != info->version);
    return now;
}

uint64_t lightvm_divide(uint64_t n, uint32_t by)
{
    uint32_t high = (uint32_t)(n >> 32) / by;
    uint32_t rest = (uint32_t)(n >> 32) % by;
    uint32_t low;
    __asm__("divl %[by]" : "=a"(low), "+d"(rest) : [by] "r"(by), "a"((uint32_t)n) : "cc");
    return ((uint64_t)high << 32) | low;
}

uint32_t lightvm_now_ms(void) { return (uint32_t)lightvm_divide(lightvm_now_ns(), 1000000); }

uint64_t lightvm_wall_seconds(void)
{
    volatile struct shared_info *info = lightvm_whole_shared_info();
    uint32_t version, seconds;
    do {
        version = info->wc_version;
        compiler_barrier();
        seconds = info->wc_sec; /* since the epoch, when the system clock was zero */
        compiler_barrier();
    } while ((version & 1) || version != info->wc_version);
    return seconds + lightvm_divide(lightvm_now_ns(), 1000000000);
}
