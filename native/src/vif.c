/*
 * Network devices of a shell. A back-end shakes hands with a front-end through XenStore: ring pages, grants for them, an
 * event channel. All three can be made from outside, so stock netback connects to a guest that does not exist yet.
 */
#include "engine.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include <xen/xen.h>
#include <xen/grant_table.h>
#include <xen/memory.h>

#define RINGS_PER_VIF 2u

/* An empty ring: the next entry of either side is worth an event (io/ring.h, SHARED_RING_INIT). */
static void write_ring(uint8_t *page)
{
    memset(page, 0, LVM_PAGE_SIZE);
    uint32_t *indices = (uint32_t *)page; /* req_prod, req_event, rsp_prod, rsp_event */
    indices[1] = indices[3] = 1;
}

static int write_rings(struct lvm_domain *domain, uint32_t n)
{
    uint8_t *rings = lvm_map(domain->xen, domain->domid, LVM_RING_GFN, n);
    if (!rings) {
        return lvm_fail("map rings", -errno);
    }
    for (uint32_t i = 0; i < n; i++) {
        write_ring(rings + i * LVM_PAGE_SIZE);
    }
    xenforeignmemory_unmap(domain->xen->memory, rings, n);
    return 0;
}

/* Grant dom0 the rings, by writing the shell's own grant table. */
static int grant_rings(struct lvm_domain *domain, uint32_t n)
{
    void *table = NULL;
    xenforeignmemory_resource_handle *mapping =
        xenforeignmemory_map_resource(domain->xen->memory, (domid_t)domain->domid,
                                      XENMEM_resource_grant_table,
                                      XENMEM_resource_grant_table_id_shared, 0, 1, &table,
                                      PROT_READ | PROT_WRITE, 0);
    if (!mapping) {
        return lvm_fail("map grant table", -errno);
    }
    grant_entry_v1_t *entries = table;
    for (uint32_t i = 0; i < n; i++) {
        grant_entry_v1_t *entry = &entries[LVM_FIRST_REF + i];
        entry->domid = 0;
        entry->frame = LVM_RING_GFN + i;
        __atomic_store_n(&entry->flags, GTF_permit_access, __ATOMIC_RELEASE);
    }
    xenforeignmemory_unmap_resource(domain->xen->memory, mapping);
    return 0;
}

int lvm_make_vifs(struct lvm_domain *domain, uint32_t n)
{
    if (n == 0) {
        return 0;
    }
    int rc = write_rings(domain, RINGS_PER_VIF * n);
    if (!rc) {
        rc = grant_rings(domain, RINGS_PER_VIF * n);
    }
    for (uint32_t i = 0; !rc && i < n; i++) {
        rc = lvm_alloc_port(domain->xen, domain->domid, &domain->vif_ports[i]);
    }
    domain->nr_vifs = rc ? 0 : n;
    return rc;
}

uint32_t lvm_vif_port(const struct lvm_domain *domain, uint32_t i)
{
    return i < domain->nr_vifs ? domain->vif_ports[i] : 0;
}
