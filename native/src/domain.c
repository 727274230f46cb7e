/* A domain after prepare: run, pause, let go, destroy, list. */
#include "engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <xen/xen.h>

#define LIST_BATCH 512u
#define DESTROY_ATTEMPTS 100000u /* Xen gives memory back in slices, one per attempt */

int lvm_adopt(struct lvm_xen *xen, uint32_t domid, uint32_t console_port, uint32_t control_port,
              struct lvm_domain **ret_domain)
{
    struct lvm_domain *domain = calloc(1, sizeof(*domain));
    if (!domain) {
        return lvm_fail("adopt", -ENOMEM);
    }
    *domain = (struct lvm_domain){.xen = xen,
                                  .domid = domid,
                                  .console_port = console_port,
                                  .control_port = control_port,
                                  .console_local = -1,
                                  .control_local = -1};
    int rc = lvm_map_special(domain);
    if (!rc) {
        rc = lvm_bind_ports(domain);
    }
    if (rc) {
        lvm_release(domain);
        return rc;
    }
    lvm_control_unwatch(domain); /* whoever watched it is gone */
    domain->console_consumed = __atomic_load_n(&lvm_console(domain)->out_cons, __ATOMIC_RELAXED);
    *ret_domain = domain;
    return 0;
}

/* The one hypercall of the hot path: nothing is allocated or copied but 16 bytes. */
static int hot_domctl(struct lvm_domain *domain, uint32_t command)
{
    struct lvm_xen *xen = domain->xen;
    xen->hot->cmd = command;
    xen->hot->interface_version = xen->versions.domctl;
    xen->hot->domain = (uint16_t)domain->domid;
    return xencall1(xen->call, __HYPERVISOR_domctl, (uintptr_t)xen->hot) < 0 ? -errno : 0;
}

int lvm_unpause(struct lvm_domain *domain)
{
    domain->xen->moments.asked = lvm_now();
    int rc = hot_domctl(domain, ABI_DOMCTL_UNPAUSEDOMAIN);
    domain->xen->moments.running = lvm_now();
    return rc ? lvm_fail("unpausedomain", rc) : 0;
}

int lvm_pause(struct lvm_domain *domain)
{
    int rc = hot_domctl(domain, ABI_DOMCTL_PAUSEDOMAIN);
    return rc ? lvm_fail("pausedomain", rc) : 0;
}

void lvm_close_window(struct lvm_domain *domain)
{
    if (domain->window) {
        xenforeignmemory_unmap(domain->xen->memory, domain->window,
                               domain->window_bytes / LVM_PAGE_SIZE);
        domain->window = NULL;
        domain->window_bytes = 0;
    }
}

void lvm_release(struct lvm_domain *domain)
{
    lvm_close_window(domain);
    if (domain->special) {
        xenforeignmemory_unmap(domain->xen->memory, domain->special, LVM_SPECIAL_PAGES);
    }
    if (domain->console_local >= 0) {
        xenevtchn_unbind(domain->xen->evtchn, (evtchn_port_t)domain->console_local);
    }
    if (domain->control_local >= 0) {
        xenevtchn_unbind(domain->xen->evtchn, (evtchn_port_t)domain->control_local);
    }
    free(domain);
}

int lvm_destroy(struct lvm_xen *xen, uint32_t domid)
{
    int rc = -EAGAIN;
    for (unsigned int i = 0; i < DESTROY_ATTEMPTS && (rc == -EAGAIN || rc == -EINTR); i++) {
        struct abi_domctl op = {.cmd = ABI_DOMCTL_DESTROYDOMAIN, .domain = (uint16_t)domid};
        rc = lvm_domctl(xen, &op);
    }
    return rc ? lvm_fail("destroydomain", rc) : 0;
}

uint32_t lvm_domid(const struct lvm_domain *domain) { return domain->domid; }

uint32_t lvm_console_port(const struct lvm_domain *domain) { return domain->console_port; }

uint32_t lvm_control_port(const struct lvm_domain *domain) { return domain->control_port; }

uint32_t lvm_console_local(const struct lvm_domain *domain)
{
    return (uint32_t)domain->console_local;
}

uint32_t lvm_control_local(const struct lvm_domain *domain)
{
    return (uint32_t)domain->control_local;
}

static void describe(const struct abi_getdomaininfo *info, struct lvm_domain_info *ret_info)
{
    uint32_t flags = 0;
    flags |= info->flags & ABI_DOMINF_DYING ? LVM_DOMAIN_DYING : 0;
    flags |= info->flags & ABI_DOMINF_HVM ? LVM_DOMAIN_HVM : 0;
    flags |= info->flags & ABI_DOMINF_SHUTDOWN ? LVM_DOMAIN_SHUTDOWN : 0;
    flags |= info->flags & ABI_DOMINF_PAUSED ? LVM_DOMAIN_PAUSED : 0;
    *ret_info = (struct lvm_domain_info){
        .domid = info->domain,
        .flags = flags,
        .shutdown_code = (info->flags >> ABI_DOMINF_SHUTDOWN_SHIFT) & 0xff,
        .vcpus = info->nr_online_vcpus,
        .memory_kib = info->tot_pages * 4,
        .cpu_ns = info->cpu_time,
    };
    memcpy(ret_info->uuid, info->handle, sizeof(ret_info->uuid));
}

/* Up to LIST_BATCH domains from `first` on, in a hypercall buffer of the caller. Returns how many. */
static int list_batch(struct lvm_xen *xen, uint32_t first, uint32_t max,
                      struct abi_getdomaininfo *buffer)
{
    struct abi_sysctl op = {.cmd = ABI_SYSCTL_GETDOMAININFOLIST};
    op.u.getdomaininfolist.first_domain = (uint16_t)first;
    op.u.getdomaininfolist.max_domains = max;
    op.u.getdomaininfolist.buffer = (uintptr_t)buffer;
    int rc = lvm_sysctl(xen, &op);
    return rc ? lvm_fail("getdomaininfolist", rc) : (int)op.u.getdomaininfolist.num_domains;
}

int lvm_list(struct lvm_xen *xen, uint32_t first, struct lvm_domain_info *ret_infos, uint32_t max)
{
    struct abi_getdomaininfo *buffer =
        xencall_alloc_buffer(xen->call, LIST_BATCH * sizeof(*buffer));
    if (!buffer) {
        return lvm_fail("getdomaininfolist", -ENOMEM);
    }
    uint32_t n = 0;
    int got = 0;
    while (n < max && first < DOMID_FIRST_RESERVED) {
        uint32_t want = max - n < LIST_BATCH ? max - n : LIST_BATCH;
        got = list_batch(xen, first, want, buffer);
        for (int i = 0; i < got; i++) {
            describe(&buffer[i], &ret_infos[n++]);
        }
        if (got < (int)want) {
            break;
        }
        first = buffer[got - 1].domain + 1u;
    }
    xencall_free_buffer(xen->call, buffer);
    return got < 0 ? got : (int)n;
}

static int by_domid(const void *one, const void *other)
{
    uint32_t a = ((const struct lvm_watched *)one)->domid;
    uint32_t b = ((const struct lvm_watched *)other)->domid;
    return (a > b) - (a < b);
}

int lvm_find_changed(struct lvm_xen *xen, struct lvm_watched *watched, uint32_t n,
                     struct lvm_domain_info *ret_changed)
{
    qsort(watched, n, sizeof(*watched), by_domid);
    struct abi_getdomaininfo *buffer =
        xencall_alloc_buffer(xen->call, LIST_BATCH * sizeof(*buffer));
    if (!buffer) {
        return lvm_fail("getdomaininfolist", -ENOMEM);
    }
    uint32_t changed = 0;
    int got = 0, next = 0;
    bool more = true; /* Xen may have domains beyond what is in the buffer */
    for (uint32_t i = 0; i < n; i++) {
        /* Both lists are in order of domid: walk them side by side. */
        while (next < got && buffer[next].domain < watched[i].domid) {
            next++;
        }
        if (next == got && more) {
            got = list_batch(xen, watched[i].domid, LIST_BATCH, buffer);
            if (got < 0) {
                break;
            }
            more = got == (int)LIST_BATCH;
            next = 0;
        }
        struct lvm_domain_info now = {.domid = watched[i].domid,
                                      .flags = LVM_DOMAIN_DYING,
                                      .shutdown_code = LVM_CODE_GONE};
        memcpy(now.uuid, watched[i].uuid, sizeof(now.uuid));
        if (next < got && buffer[next].domain == watched[i].domid
            && memcmp(buffer[next].handle, watched[i].uuid, sizeof(now.uuid)) == 0) {
            describe(&buffer[next], &now);
        }
        if (now.flags & (LVM_DOMAIN_DYING | LVM_DOMAIN_SHUTDOWN)
            || !(now.flags & LVM_DOMAIN_PAUSED) != !watched[i].paused) {
            ret_changed[changed++] = now;
        }
    }
    xencall_free_buffer(xen->call, buffer);
    return got < 0 ? got : (int)changed;
}
