/* From nothing to a shell: everything about a domain that does not depend on its image. */
#include "engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <xen/xen.h>
#include <xen/event_channel.h>
#include <xen/memory.h>
#include <xen/sched.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>

#define SLACK_KIB 256u /* room for shared info, grant frames and rings above the guest's RAM */
#define SUPERPAGE_PAGES 512u
#define BATCH 512u /* extents per populate call: one page of frame numbers */

static int create_domain(struct lvm_xen *xen, const struct lvm_shape *shape, uint32_t *ret_domid)
{
    struct abi_domctl op = {.cmd = ABI_DOMCTL_CREATEDOMAIN};
    if (xen->versions.domctl >= ABI_DOMCTL_4_22) {
        op.domain = ABI_DOMID_ANY;
    }
    /* Both layouts have the same fields with the same meaning; they differ in where the later ones are. */
#define FILL(config)                                                   \
    do {                                                               \
        memcpy((config)->handle, shape->uuid, 16);                     \
        (config)->flags = ABI_CDF_HVM | ABI_CDF_HAP;                   \
        (config)->max_vcpus = shape->vcpus;                            \
        (config)->max_evtchn_port = shape->max_evtchn;                 \
        (config)->max_grant_frames = (int32_t)shape->max_grant_frames; \
        (config)->max_maptrack_frames = shape->xenstore ? 1024 : 0;    \
        (config)->grant_opts = ABI_GRANT_VERSION_1;                    \
        (config)->cpupool_id = shape->cpupool;                         \
        (config)->arch.emulation_flags = ABI_X86_EMU_LAPIC;            \
    } while (0)
    if (xen->versions.domctl >= ABI_DOMCTL_4_19) {
        FILL(&op.u.createdomain_4_19);
    } else {
        FILL(&op.u.createdomain_4_17);
    }
#undef FILL
    int rc = lvm_domctl(xen, &op);
    if (rc) {
        return lvm_fail("createdomain", rc);
    }
    *ret_domid = op.domain;
    return 0;
}

/* Pages beside the guest's RAM. */
static uint64_t extra_pages(const struct lvm_shape *shape)
{
    return LVM_SPECIAL_PAGES + 2 * shape->nr_vifs + shape->nr_vbds + (shape->xenstore ? 2 : 0);
}

static int set_limits(struct lvm_xen *xen, uint32_t domid, const struct lvm_shape *shape)
{
    struct abi_domctl vcpus = {.cmd = ABI_DOMCTL_MAX_VCPUS, .domain = (uint16_t)domid};
    vcpus.u.max_vcpus.max = shape->vcpus;
    int rc = lvm_domctl(xen, &vcpus);
    if (rc) {
        return lvm_fail("max_vcpus", rc);
    }
    struct abi_domctl memory = {.cmd = ABI_DOMCTL_MAX_MEM, .domain = (uint16_t)domid};
    memory.u.max_mem.max_memkb = shape->memory_kib + extra_pages(shape) * 4 + SLACK_KIB;
    rc = lvm_domctl(xen, &memory);
    if (rc) {
        return lvm_fail("max_mem", rc);
    }
    struct abi_domctl pool = {.cmd = ABI_DOMCTL_SET_PAGING_MEMPOOL_SIZE, .domain = (uint16_t)domid};
    pool.u.paging_mempool.size = shape->pool_kib * 1024;
    rc = lvm_domctl(xen, &pool);
    return rc ? lvm_fail("set_paging_mempool_size", rc) : 0;
}

/*
 * Set `pages` aside for a domain, or with 0 give back what of them is not populated. Xen says at once whether it has
 * them, so a domain that is too large costs nothing, and two toolstacks cannot both believe in the same free pages.
 */
static int claim(struct lvm_xen *xen, uint32_t domid, uint64_t pages)
{
    struct xen_memory_reservation reservation = {.nr_extents = pages, .domid = (domid_t)domid};
    long rc = lvm_hypercall(xen, __HYPERVISOR_memory_op, ABI_XENMEM_CLAIM_PAGES, &reservation,
                            sizeof(reservation));
    return rc < 0 ? lvm_fail("claim_pages", (int)rc) : 0;
}

/* Populate up to BATCH extents; returns how many were, or -errno. */
static long populate_batch(struct lvm_xen *xen, uint32_t domid, uint64_t gfn, unsigned int n,
                           unsigned int order)
{
    xen_pfn_t *gfns = xencall_alloc_buffer(xen->call, n * sizeof(*gfns));
    if (!gfns) {
        return -ENOMEM;
    }
    for (unsigned int i = 0; i < n; i++) {
        gfns[i] = gfn + ((uint64_t)i << order);
    }
    struct xen_memory_reservation reservation = {.nr_extents = n,
                                                 .extent_order = order,
                                                 .domid = (domid_t)domid};
    set_xen_guest_handle(reservation.extent_start, gfns);
    long rc = lvm_hypercall(xen, __HYPERVISOR_memory_op, XENMEM_populate_physmap, &reservation,
                            sizeof(reservation));
    xencall_free_buffer(xen->call, gfns);
    return rc;
}

/* Superpages where alignment and Xen's free memory allow, single pages for the rest. */
int lvm_populate(struct lvm_xen *xen, uint32_t domid, uint64_t gfn, uint64_t n)
{
    bool superpages = true;
    while (n) {
        bool whole = superpages && gfn % SUPERPAGE_PAGES == 0 && n >= SUPERPAGE_PAGES;
        uint64_t to_boundary = SUPERPAGE_PAGES - gfn % SUPERPAGE_PAGES;
        uint64_t extents = whole ? n / SUPERPAGE_PAGES : (n < to_boundary ? n : to_boundary);
        if (extents > BATCH) {
            extents = BATCH;
        }
        unsigned int order = whole ? 9 : 0;
        long done = populate_batch(xen, domid, gfn, (unsigned int)extents, order);
        if (done < 0) {
            return lvm_fail("populate_physmap", (int)done);
        }
        if ((uint64_t)done < extents && !whole) {
            return lvm_fail("populate_physmap", -ENOMEM);
        }
        if ((uint64_t)done < extents) {
            superpages = false; /* no 2 MiB block is free: go on with single pages */
        }
        gfn += (uint64_t)done << order;
        n -= (uint64_t)done << order;
    }
    return 0;
}

int lvm_alloc_port(struct lvm_xen *xen, uint32_t domid, uint32_t *ret_port)
{
    struct evtchn_alloc_unbound alloc = {.dom = (domid_t)domid, .remote_dom = DOMID_SELF};
    long rc = lvm_hypercall(xen, __HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, &alloc,
                            sizeof(alloc));
    if (rc < 0) {
        return lvm_fail("evtchn_alloc_unbound", (int)rc);
    }
    *ret_port = alloc.port;
    return 0;
}

/* Let one of Xen's own pages appear in the guest's memory. */
static int place_page(struct lvm_domain *domain, unsigned int space, uint64_t gfn)
{
    struct xen_add_to_physmap place = {.domid = (domid_t)domain->domid,
                                       .space = space,
                                       .gpfn = gfn};
    long rc = lvm_hypercall(domain->xen, __HYPERVISOR_memory_op, XENMEM_add_to_physmap, &place,
                            sizeof(place));
    return rc < 0 ? lvm_fail("add_to_physmap", (int)rc) : 0;
}

static int set_param(struct lvm_xen *xen, uint32_t domid, uint32_t index, uint64_t value)
{
    struct xen_hvm_param param = {.domid = (domid_t)domid, .index = index, .value = value};
    long rc = lvm_hypercall(xen, __HYPERVISOR_hvm_op, HVMOP_set_param, &param, sizeof(param));
    return rc < 0 ? lvm_fail("hvm_set_param", (int)rc) : 0;
}

static int set_params(struct lvm_domain *domain)
{
    struct lvm_xen *xen = domain->xen;
    int rc = set_param(xen, domain->domid, HVM_PARAM_CONSOLE_PFN, LVM_CONSOLE_GFN);
    if (!rc) {
        rc = set_param(xen, domain->domid, HVM_PARAM_CONSOLE_EVTCHN, domain->console_port);
    }
    if (!rc) {
        /* Xen's default would make a triple fault look like a reboot. */
        rc = set_param(xen, domain->domid, HVM_PARAM_TRIPLE_FAULT_REASON, SHUTDOWN_crash);
    }
    if (!rc && domain->store_port) {
        rc = set_param(xen, domain->domid, HVM_PARAM_STORE_PFN, LVM_STORE_GFN);
    }
    if (!rc && domain->store_port) {
        rc = set_param(xen, domain->domid, HVM_PARAM_STORE_EVTCHN, domain->store_port);
    }
    return rc;
}

int lvm_map_special(struct lvm_domain *domain)
{
    domain->special = lvm_map(domain->xen, domain->domid, LVM_SPECIAL_GFN, LVM_SPECIAL_PAGES);
    return domain->special ? 0 : lvm_fail("map special pages", -errno);
}

int lvm_bind_ports(struct lvm_domain *domain)
{
    xenevtchn_handle *evtchn = domain->xen->evtchn;
    domain->console_local = xenevtchn_bind_interdomain(evtchn, domain->domid, domain->console_port);
    if (domain->console_local < 0) {
        return lvm_fail("evtchn_bind_interdomain", -errno);
    }
    domain->control_local = xenevtchn_bind_interdomain(evtchn, domain->domid, domain->control_port);
    return domain->control_local < 0 ? lvm_fail("evtchn_bind_interdomain", -errno) : 0;
}

static int check_shape(const struct lvm_shape *shape)
{
    bool good = shape->memory_kib >= 1024 && shape->memory_kib % 4 == 0
                && shape->memory_kib <= (1ull << 34) /* 16 TiB */
                && shape->window_kib >= 8 && shape->window_kib % 4 == 0
                && shape->window_kib <= shape->memory_kib && shape->pool_kib >= 64
                && shape->pool_kib % 4 == 0 && shape->vcpus >= 1 && shape->vcpus <= 128
                && shape->nr_vifs <= LVM_VIFS_MAX && shape->nr_vbds <= LVM_VBDS_MAX
                && shape->max_evtchn >= 3 + shape->nr_vifs + shape->nr_vbds + shape->xenstore
                && shape->xenstore <= 1 && !(shape->xenstore && shape->nr_vifs + shape->nr_vbds)
                && shape->max_grant_frames >= 1;
    return good ? 0 : lvm_fail("shape", -EINVAL);
}

static int furnish(struct lvm_domain *domain, const struct lvm_shape *shape)
{
    struct lvm_xen *xen = domain->xen;
    uint64_t bytes = shape->memory_kib * 1024;
    domain->low_bytes = bytes < LVM_LOW_RAM_LIMIT ? bytes : LVM_LOW_RAM_LIMIT;

    int rc = set_limits(xen, domain->domid, shape);
    if (!rc) {
        rc = claim(xen, domain->domid, bytes / LVM_PAGE_SIZE + extra_pages(shape));
    }
    if (!rc) {
        rc = lvm_populate(xen, domain->domid, 0, domain->low_bytes / LVM_PAGE_SIZE);
    }
    if (!rc && bytes > domain->low_bytes) {
        rc = lvm_populate(xen, domain->domid, LVM_HIGH_RAM_BASE / LVM_PAGE_SIZE,
                          (bytes - domain->low_bytes) / LVM_PAGE_SIZE);
    }
    if (!rc) {
        rc = lvm_populate(xen, domain->domid, LVM_SPECIAL_GFN, LVM_SPECIAL_PAGES);
    }
    if (!rc) {
        rc = lvm_alloc_port(xen, domain->domid, &domain->console_port);
    }
    if (!rc) {
        rc = lvm_alloc_port(xen, domain->domid, &domain->control_port);
    }
    if (!rc) {
        rc = place_page(domain, XENMAPSPACE_shared_info, LVM_SHARED_INFO_GFN);
    }
    if (!rc) {
        rc = place_page(domain, XENMAPSPACE_grant_table, LVM_GRANT_TABLE_GFN);
    }
    if (!rc) {
        rc = lvm_make_devices(domain, shape->nr_vifs, shape->nr_vbds);
    }
    if (!rc && shape->xenstore) {
        rc = lvm_make_store(domain);
    }
    if (!rc && shape->xenstore) {
        rc = lvm_tell_memory(domain, bytes);
    }
    if (!rc && shape->xenstore) {
        rc = lvm_make_acpi(domain, shape->vcpus);
    }
    if (!rc) {
        rc = claim(xen, domain->domid, 0); /* everything is populated */
    }
    if (!rc) {
        rc = set_params(domain);
    }
    if (!rc) {
        rc = lvm_map_special(domain);
    }
    if (!rc) {
        rc = lvm_bind_ports(domain);
    }
    if (rc) {
        return rc;
    }
    domain->window_bytes = shape->window_kib * 1024;
    domain->window = lvm_map(xen, domain->domid, 0, domain->window_bytes / LVM_PAGE_SIZE);
    if (!domain->window) {
        return lvm_fail("map window", -errno);
    }
    lvm_write_boot_page(domain, shape);
    lvm_write_special_pages(domain, shape);
    if (xendevicemodel_set_mem_type(xen->device_model, (domid_t)domain->domid, HVMMEM_ram_ro,
                                    LVM_DEVICE_GFN, 2)
        < 0) {
        return lvm_fail("set_mem_type", -errno);
    }
    return lvm_set_first_context(domain, shape);
}

int lvm_prepare(struct lvm_xen *xen, const struct lvm_shape *shape, struct lvm_domain **ret_domain)
{
    int rc = check_shape(shape);
    if (rc) {
        return rc;
    }
    struct lvm_domain *domain = calloc(1, sizeof(*domain));
    if (!domain) {
        return lvm_fail("prepare", -ENOMEM);
    }
    domain->xen = xen;
    domain->console_local = domain->control_local = -1;
    rc = create_domain(xen, shape, &domain->domid);
    if (rc) {
        free(domain);
        return rc;
    }
    rc = furnish(domain, shape);
    if (rc) {
        const char *step = lvm_failed_step();
        uint32_t domid = domain->domid;
        lvm_release(domain);
        lvm_destroy(xen, domid);
        return lvm_fail(step, rc);
    }
    *ret_domain = domain;
    return 0;
}
