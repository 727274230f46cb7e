/* Where a domain's vCPUs may run, and how much: Xen's hard affinity, and weight and cap of its schedulers. */
#include "engine.h"

#include <errno.h>
#include <string.h>

static int pin(struct lvm_domain *domain, const struct lvm_scheduling *scheduling)
{
    uint32_t bytes = scheduling->bitmap_bytes;
    uint8_t *bitmap = xencall_alloc_buffer(domain->xen->call, bytes);
    if (!bitmap) {
        return -ENOMEM;
    }
    int rc = 0;
    for (uint32_t vcpu = 0; !rc && vcpu < scheduling->nr_vcpus; vcpu++) {
        struct abi_domctl op = {.cmd = ABI_DOMCTL_SETVCPUAFFINITY,
                                .domain = (uint16_t)domain->domid};
        memcpy(bitmap, scheduling->bitmaps + (size_t)vcpu * bytes, bytes);
        op.u.vcpuaffinity.vcpu = vcpu;
        op.u.vcpuaffinity.flags = ABI_VCPUAFFINITY_HARD;
        op.u.vcpuaffinity.hard.bitmap = (uintptr_t)bitmap;
        op.u.vcpuaffinity.hard.nr_bits = bytes * 8;
        rc = lvm_domctl(domain->xen, &op);
    }
    xencall_free_buffer(domain->xen->call, bitmap);
    return rc;
}

static int share(struct lvm_domain *domain, const struct lvm_scheduling *scheduling)
{
    struct abi_sysctl which = {.cmd = ABI_SYSCTL_SCHED_ID};
    int rc = lvm_sysctl(domain->xen, &which);
    if (rc) {
        return rc;
    }
    uint32_t id = which.u.sched_id;
    if (id != ABI_SCHEDULER_CREDIT && id != ABI_SCHEDULER_CREDIT2) {
        return -EOPNOTSUPP;
    }
    struct abi_domctl op = {.cmd = ABI_DOMCTL_SCHEDULER_OP, .domain = (uint16_t)domain->domid};
    op.u.scheduler_op.id = id;
    op.u.scheduler_op.cmd = ABI_SCHEDOP_GETINFO; /* credit2 has no word for a cap that stays */
    rc = lvm_domctl(domain->xen, &op);
    if (rc) {
        return rc;
    }
    op.u.scheduler_op.cmd = ABI_SCHEDOP_PUTINFO;
    if (scheduling->weight) {
        op.u.scheduler_op.weight = scheduling->weight;
    }
    if (scheduling->cap != LVM_CAP_AS_IS) {
        op.u.scheduler_op.cap = scheduling->cap;
    }
    return lvm_domctl(domain->xen, &op);
}

int lvm_schedule(struct lvm_domain *domain, const struct lvm_scheduling *scheduling)
{
    if (scheduling->nr_vcpus) {
        int rc = pin(domain, scheduling);
        if (rc) {
            return lvm_fail("setvcpuaffinity", rc);
        }
    }
    if (scheduling->weight || scheduling->cap != LVM_CAP_AS_IS) {
        int rc = share(domain, scheduling);
        if (rc) {
            return lvm_fail("scheduler_op", rc);
        }
    }
    return 0;
}
