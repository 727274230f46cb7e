/* The guests' clocks, over a clock page as Xen fills it. */
#include "harness.h"

#include "../guest/src/time.c"

static struct shared_info info;
static int laid_out;

volatile struct shared_info *lightvm_shared_info(void) { return &info; }

volatile struct shared_info *lightvm_whole_shared_info(void)
{
    laid_out = 1;
    return &info;
}

static uint64_t random_number(void)
{
    return ((uint64_t)(uint32_t)rand() << 42) ^ ((uint64_t)(uint32_t)rand() << 21)
           ^ (uint32_t)rand();
}

static void scaling_is_exact(void)
{
    for (int i = 0; i < 100000; i++) {
        uint64_t a = random_number() >> (rand() % 64);
        uint32_t b = (uint32_t)random_number();
        CHECK(scale(a, b) == (uint64_t)(((unsigned __int128)a * b) >> 32));
    }
    CHECK(scale(~0ull, 0xffffffffu) == (uint64_t)(((unsigned __int128)~0ull * 0xffffffffu) >> 32));
}

static void division_is_exact(void)
{
    for (int i = 0; i < 100000; i++) {
        uint64_t n = random_number() >> (rand() % 64);
        uint32_t by = (uint32_t)random_number() | 1;
        CHECK(lightvm_divide(n, by) == n / by);
    }
    CHECK(lightvm_divide(~0ull, 1) == ~0ull);
    CHECK(lightvm_divide(~0ull, 1000000000u) == ~0ull / 1000000000u);
}

/* What the clock says between two readings of the counter, at so many nanoseconds for 2^32 ticks, shifted. */
static void check_clock(uint32_t multiplier, int8_t shift)
{
    uint64_t start = read_counter();
    info.vcpus[0].time = (struct vcpu_time_info){.version = 2,
                                                 .tsc_timestamp = start,
                                                 .system_time = 5000000000ull,
                                                 .tsc_to_system_mul = multiplier,
                                                 .tsc_shift = shift};
    uint64_t said = lightvm_now_ns();
    uint64_t passed = read_counter() - start;
    passed = shift < 0 ? passed >> -shift : passed << shift;
    CHECK(said >= 5000000000ull && said <= 5000000000ull + scale(passed, multiplier));
}

static void the_clock_counts_from_the_moment_in_the_page(void)
{
    check_clock(0x80000000u, 0);
    check_clock(0xffffffffu, -1);
    check_clock(0x10000000u, 2);
    info.vcpus[0].time.tsc_to_system_mul = 0; /* a clock that stands still */
    CHECK(lightvm_now_ms() == 5000);
    CHECK(!laid_out); /* the clock is where it is for all code */
    info.wc_version = 2;
    info.wc_sec = 1700000000u;
    CHECK(lightvm_wall_seconds() == 1700000005u && laid_out);
}

int main(void)
{
    RUN(scaling_is_exact);
    RUN(division_is_exact);
    RUN(the_clock_counts_from_the_moment_in_the_page);
    return 0;
}
