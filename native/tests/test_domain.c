/* Prepare is all or nothing; destroy ends; ended domains are found in one walk. */
#include "harness.h"

#include "fake_xen.h"

#include "../src/context.c"
#undef BOOT_PADDR
#include "../src/domain.c"
#include "../src/engine.c"
#include "../src/pages.c"
#include "../src/prepare.c"
#include "../src/schedule.c"
#include "../src/devices.c"
#include "../src/store.c"

static struct abi_domctl hot;
static struct lvm_xen xen = {.versions = {.domctl = ABI_DOMCTL_4_19, .sysctl = 0x15}, .hot = &hot};
static const struct lvm_shape shape = {.memory_kib = 5120,
                                       .window_kib = 256,
                                       .pool_kib = 128,
                                       .vcpus = 1,
                                       .max_evtchn = 63,
                                       .max_grant_frames = 4,
                                       .nr_vifs = 2};

static void nothing_is_left(void)
{
    CHECK(live_domains == 0 && mapped == 0 && bound == 0 && buffers == 0);
}

static void prepare_uses_superpages_where_they_fit(void)
{
    struct lvm_domain *domain;
    single_pages = superpages = 0;
    CHECK(lvm_prepare(&xen, &shape, &domain) == 0);
    CHECK(superpages == 2
          && single_pages == 256 + LVM_SPECIAL_PAGES + 4); /* 4 MiB, 1 MiB, special, rings */
    CHECK(lvm_domid(domain) == 9);
    CHECK(lvm_console_local(domain) == lvm_console_port(domain) + 100);
    CHECK(granted[8].flags == GTF_permit_access && granted[8].frame == LVM_RING_GFN);
    CHECK(granted[11].frame == LVM_RING_GFN + 3 && granted[12].flags == 0);
    CHECK(lvm_vif_port(domain, 1) != 0 && lvm_vif_port(domain, 2) == 0);
    lvm_release(domain);
    CHECK(lvm_destroy(&xen, 9) == 0);
    nothing_is_left();
}

static void populate_falls_back_to_single_pages(void)
{
    single_pages = superpages = 0;
    superpages_left = 1;
    CHECK(lvm_populate(&xen, 9, 0, 4 * SUPERPAGE_PAGES + 3) == 0);
    CHECK(superpages == 1 && single_pages == 3 * SUPERPAGE_PAGES + 3);
    superpages_left = 1000000;
}

static void populate_starts_with_single_pages_up_to_a_boundary(void)
{
    single_pages = superpages = 0;
    CHECK(lvm_populate(&xen, 9, 500, 12 + SUPERPAGE_PAGES) == 0);
    CHECK(superpages == 1 && single_pages == 12);
}

static void prepare_that_fails_anywhere_leaves_nothing(void)
{
    int failures = 0;
    for (int n = 1;; n++) {
        struct lvm_domain *domain = NULL;
        xen.context_header_size = 0;
        calls_until_failure = n;
        int rc = lvm_prepare(&xen, &shape, &domain);
        if (rc == 0) {
            calls_until_failure = -1;
            lvm_release(domain);
            lvm_destroy(&xen, 9);
            break;
        }
        CHECK(rc == -ENOMEM && domain == NULL && *lvm_failed_step());
        nothing_is_left();
        failures++;
    }
    CHECK(failures > 20); /* every hypercall, buffer, mapping and binding had its turn */
    nothing_is_left();
}

static void prepare_refuses_shapes_out_of_range(void)
{
    struct lvm_domain *domain;
    struct lvm_shape bad = shape;
    bad.memory_kib = 1020;
    CHECK(lvm_prepare(&xen, &bad, &domain) == -EINVAL);
    bad = shape, bad.memory_kib = 5121;
    CHECK(lvm_prepare(&xen, &bad, &domain) == -EINVAL);
    bad = shape, bad.window_kib = 5124;
    CHECK(lvm_prepare(&xen, &bad, &domain) == -EINVAL);
    bad = shape, bad.vcpus = 0;
    CHECK(lvm_prepare(&xen, &bad, &domain) == -EINVAL);
    bad = shape, bad.pool_kib = 0;
    CHECK(lvm_prepare(&xen, &bad, &domain) == -EINVAL);
    nothing_is_left();
}

static void adopt_that_fails_leaves_nothing(void)
{
    struct lvm_domain *domain = NULL;
    for (int n = 1; n <= 3; n++) {
        calls_until_failure = n;
        CHECK(lvm_adopt(&xen, 9, 1, 2, &domain) == -ENOMEM);
        nothing_is_left();
    }
    CHECK(lvm_adopt(&xen, 9, 1, 2, &domain) == 0);
    CHECK(lvm_console_port(domain) == 1 && lvm_control_port(domain) == 2);
    lvm_release(domain);
    nothing_is_left();
}

static void unpause_is_one_call_and_allocates_nothing(void)
{
    struct lvm_domain domain = {.xen = &xen, .domid = 77};
    CHECK(lvm_unpause(&domain) == 0 && buffers == 0);
    CHECK(hot.cmd == ABI_DOMCTL_UNPAUSEDOMAIN && hot.domain == 77);
    CHECK(hot.interface_version == ABI_DOMCTL_4_19);
    calls_until_failure = 1, failure = EINVAL;
    CHECK(lvm_unpause(&domain) == -EINVAL);
    failure = ENOMEM;
}

static void destroy_goes_on_while_xen_asks_for_it(void)
{
    live_domains = 1;
    destroy_again = 5;
    CHECK(lvm_destroy(&xen, 9) == 0);
    CHECK(live_domains == 0 && destroy_again == 0);
}

static void scheduling_is_told_vcpu_by_vcpu(void)
{
    struct lvm_domain domain = {.xen = &xen, .domid = 9};
    uint8_t bitmaps[] = {1, 0, 6, 0};
    struct lvm_scheduling asked = {
        .bitmaps = bitmaps, .bitmap_bytes = 2, .nr_vcpus = 2, .weight = 512, .cap = LVM_CAP_AS_IS};
    CHECK(lvm_schedule(&domain, &asked) == 0);
    CHECK(n_pinned == 2 && pinned[0] == 1 && pinned[1] == 6);
    CHECK(shared.id == ABI_SCHEDULER_CREDIT2 && shared.weight == 512 && shared.cap == 7);
    struct lvm_scheduling nothing = {.cap = LVM_CAP_AS_IS};
    shared.weight = 0;
    CHECK(lvm_schedule(&domain, &nothing) == 0);
    CHECK(n_pinned == 2 && shared.weight == 0);
    scheduler = 8; /* real-time */
    CHECK(lvm_schedule(&domain, &asked) == -EOPNOTSUPP);
    scheduler = ABI_SCHEDULER_CREDIT;
    for (int n = 1;; n++) {
        calls_until_failure = n;
        int rc = lvm_schedule(&domain, &asked);
        CHECK(buffers == 0);
        if (rc == 0) {
            CHECK(n > 10);
            break;
        }
        CHECK(rc == -ENOMEM && *lvm_failed_step());
    }
    calls_until_failure = -1;
}

static struct lvm_watched watch(uint32_t domid)
{
    struct lvm_watched watched = {.domid = domid};
    watched.uuid[0] = (uint8_t)domid;
    watched.uuid[1] = (uint8_t)(domid >> 8);
    return watched;
}

static void list(uint32_t from, uint32_t to)
{
    n_listed = 0;
    for (uint32_t domid = from; domid < to; domid++) {
        struct abi_getdomaininfo *info = &listed[n_listed++];
        *info = (struct abi_getdomaininfo){.domain = (uint16_t)domid, .tot_pages = 3};
        info->handle[0] = (uint8_t)domid;
        info->handle[1] = (uint8_t)(domid >> 8);
    }
}

static void list_goes_over_several_batches(void)
{
    static struct lvm_domain_info infos[2000];
    list(1, 1301);
    list_calls = 0;
    CHECK(lvm_list(&xen, 1, infos, 2000) == 1300);
    CHECK(infos[1299].domid == 1300 && infos[0].memory_kib == 12 && list_calls == 3);
    CHECK(lvm_list(&xen, 1, infos, 10) == 10);
    CHECK(lvm_list(&xen, 1301, infos, 10) == 0);
}

static void ended_domains_are_found_among_many(void)
{
    static struct lvm_watched watched[1200];
    static struct lvm_domain_info ended[1200];
    list(1, 1301);
    uint32_t n = 0;
    for (uint32_t domid = 1199; domid >= 2; domid--) { /* shells are taken newest first */
        watched[n++] = watch(domid);
    }
    CHECK(lvm_find_changed(&xen, watched, n, ended) == 0);
    listed[2 - 1].flags = ABI_DOMINF_SHUTDOWN | 3u << ABI_DOMINF_SHUTDOWN_SHIFT;
    listed[700 - 1].flags = ABI_DOMINF_DYING;
    listed[701 - 1].handle[3] = 1;  /* somebody else's domain with a domid of ours */
    listed[1199 - 1].domain = 5000; /* gone */
    list_calls = 0;
    CHECK(lvm_find_changed(&xen, watched, n, ended) == 4);
    CHECK(ended[0].domid == 2 && ended[0].shutdown_code == 3
          && ended[0].flags == LVM_DOMAIN_SHUTDOWN);
    CHECK(ended[1].domid == 700 && ended[1].flags == LVM_DOMAIN_DYING);
    CHECK(ended[2].domid == 701 && ended[2].shutdown_code == LVM_CODE_GONE);
    CHECK(ended[3].domid == 1199 && ended[3].shutdown_code == LVM_CODE_GONE);
    CHECK(list_calls <= 4);
}

static void domains_that_somebody_else_pauses_are_found(void)
{
    static struct lvm_watched watched[3];
    static struct lvm_domain_info changed[3];
    list(1, 4);
    for (uint32_t i = 0; i < 3; i++) {
        watched[i] = watch(i + 1);
    }
    listed[1].flags = ABI_DOMINF_PAUSED;
    watched[2].paused = 1;
    CHECK(lvm_find_changed(&xen, watched, 3, changed) == 2);
    CHECK(changed[0].domid == 2 && changed[0].flags == LVM_DOMAIN_PAUSED);
    CHECK(changed[1].domid == 3 && changed[1].flags == 0);
}

static void all_are_gone_where_xen_lists_none(void)
{
    struct lvm_watched watched[2];
    struct lvm_domain_info ended[2];
    watched[0] = watch(3), watched[1] = watch(4);
    n_listed = 0;
    CHECK(lvm_find_changed(&xen, watched, 2, ended) == 2);
}

int main(void)
{
    RUN(prepare_uses_superpages_where_they_fit);
    RUN(populate_falls_back_to_single_pages);
    RUN(populate_starts_with_single_pages_up_to_a_boundary);
    RUN(prepare_that_fails_anywhere_leaves_nothing);
    RUN(prepare_refuses_shapes_out_of_range);
    RUN(adopt_that_fails_leaves_nothing);
    RUN(unpause_is_one_call_and_allocates_nothing);
    RUN(destroy_goes_on_while_xen_asks_for_it);
    RUN(scheduling_is_told_vcpu_by_vcpu);
    RUN(list_goes_over_several_batches);
    RUN(ended_domains_are_found_among_many);
    RUN(domains_that_somebody_else_pauses_are_found);
    RUN(all_are_gone_where_xen_lists_none);
    nothing_is_left();
    return 0;
}
