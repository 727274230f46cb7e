/*
 * Devices of a shell. A back-end shakes hands with a front-end through XenStore: ring pages, grants for them, an event
 * channel. All three can be made from outside, so stock netback and blkback connect to a guest that does not exist yet.
 */
#include "engine.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include <xen/xen.h>
#include <xen/grant_table.h>
#include <xen/memory.h>

/* An empty ring: the next entry of either side is worth an event (io/ring.h, SHARED_RING_INIT). */
static void write_ring(uint8_t *page)
{
    memset(page, 0, LVM_PAGE_SIZE);
    uint32_t *indices = (uint32_t *)page; /* req_prod, req_event, rsp_prod, rsp_event */
    indices[1] = indices[3] = 1;
}

/* Make `n` ring pages, beginning with ring `first`. */
static int make_rings(struct lvm_domain *domain, uint32_t first, uint32_t n)
{
    uint64_t gfn = LVM_RING_GFN + first;
    int rc = lvm_populate(domain->xen, domain->domid, gfn, n);
    if (rc) {
        return rc;
    }
    uint8_t *rings = lvm_map(domain->xen, domain->domid, gfn, n);
    if (!rings) {
        return lvm_fail("map rings", -errno);
    }
    for (uint32_t i = 0; i < n; i++) {
        write_ring(rings + i * LVM_PAGE_SIZE);
    }
    xenforeignmemory_unmap(domain->xen->memory, rings, n);
    return 0;
}

xenforeignmemory_resource_handle *lvm_map_grants(struct lvm_domain *domain, void **ret_table)
{
    *ret_table = NULL;
    return xenforeignmemory_map_resource(domain->xen->memory, (domid_t)domain->domid,
                                         XENMEM_resource_grant_table,
                                         XENMEM_resource_grant_table_id_shared, 0, 1, ret_table,
                                         PROT_READ | PROT_WRITE, 0);
}

/* Let dom0 map a page of a domain, in the name of that domain. */
void lvm_grant(void *table, uint32_t ref, uint64_t gfn)
{
    grant_entry_v1_t *entry = (grant_entry_v1_t *)table + ref;
    entry->domid = 0;
    entry->frame = (uint32_t)gfn;
    __atomic_store_n(&entry->flags, GTF_permit_access, __ATOMIC_RELEASE);
}

static void grant_rings(void *table, uint32_t first, uint32_t n)
{
    for (uint32_t ring = first; ring < first + n; ring++) {
        lvm_grant(table, LVM_FIRST_REF + ring, LVM_RING_GFN + ring);
    }
}

/* Grant dom0 the rings, by writing the shell's own grant table. */
static int grant_all_rings(struct lvm_domain *domain, uint32_t nr_vifs, uint32_t nr_vbds)
{
    void *table;
    xenforeignmemory_resource_handle *mapping = lvm_map_grants(domain, &table);
    if (!mapping) {
        return lvm_fail("map grant table", -errno);
    }
    grant_rings(table, LVM_VIF_TX_RING(0), 2 * nr_vifs);
    grant_rings(table, LVM_VBD_RING(0), nr_vbds);
    xenforeignmemory_unmap_resource(domain->xen->memory, mapping);
    return 0;
}

static int alloc_ports(struct lvm_domain *domain, uint32_t *ports, uint32_t n)
{
    int rc = 0;
    for (uint32_t i = 0; !rc && i < n; i++) {
        rc = lvm_alloc_port(domain->xen, domain->domid, &ports[i]);
    }
    return rc;
}

int lvm_make_devices(struct lvm_domain *domain, uint32_t nr_vifs, uint32_t nr_vbds)
{
    int rc = 0;
    if (nr_vifs) {
        rc = make_rings(domain, LVM_VIF_TX_RING(0), 2 * nr_vifs);
    }
    if (!rc && nr_vbds) {
        rc = make_rings(domain, LVM_VBD_RING(0), nr_vbds);
    }
    if (!rc && nr_vifs + nr_vbds) {
        rc = grant_all_rings(domain, nr_vifs, nr_vbds);
    }
    if (!rc) {
        rc = alloc_ports(domain, domain->vif_ports, nr_vifs);
    }
    if (!rc) {
        rc = alloc_ports(domain, domain->vbd_ports, nr_vbds);
    }
    if (rc) {
        return rc;
    }
    domain->nr_vifs = nr_vifs;
    domain->nr_vbds = nr_vbds;
    return 0;
}

uint32_t lvm_vif_port(const struct lvm_domain *domain, uint32_t i)
{
    return i < domain->nr_vifs ? domain->vif_ports[i] : 0;
}

uint32_t lvm_vbd_port(const struct lvm_domain *domain, uint32_t i)
{
    return i < domain->nr_vbds ? domain->vbd_ports[i] : 0;
}
