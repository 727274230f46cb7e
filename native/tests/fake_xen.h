/* A little Xen for host tests: hypercalls by number, counted, each of which can be made to fail. */
#ifndef FAKE_XEN_H
#define FAKE_XEN_H

#include <errno.h>
#include <string.h>

#include "../src/engine.h"

#include <xen/xen.h>
#include <xen/event_channel.h>
#include <xen/grant_table.h>

static int calls_until_failure = -1; /* the n-th call from now fails; -1: none */
static int failure = ENOMEM;
static int live_domains, mapped, bound, buffers;
static uint64_t single_pages, superpages;
static int superpages_left = 1000000;
static struct abi_getdomaininfo listed[2000];
static uint32_t n_listed;
static int list_calls, destroy_again;
static uint8_t pinned[8]; /* the first byte of each vCPU's affinity */
static uint32_t n_pinned, scheduler = ABI_SCHEDULER_CREDIT2;
static struct abi_scheduler_op shared;
static uint32_t ports; /* allocated so far */
static grant_entry_v1_t granted[LVM_PAGE_SIZE / sizeof(grant_entry_v1_t)];

static int fails(void)
{
    if (calls_until_failure > 0 && --calls_until_failure == 0) {
        calls_until_failure = -1;
        errno = failure;
        return 1;
    }
    return 0;
}

void *xencall_alloc_buffer(xencall_handle *call, size_t size)
{
    (void)call;
    if (fails()) {
        return NULL;
    }
    buffers++;
    return calloc(1, size);
}
void xencall_free_buffer(xencall_handle *call, void *buffer)
{
    (void)call;
    buffers--;
    free(buffer);
}

static int fake_domctl(struct abi_domctl *op)
{
    switch (op->cmd) {
    case ABI_DOMCTL_CREATEDOMAIN:
        live_domains++;
        op->domain = 9;
        return 0;
    case ABI_DOMCTL_DESTROYDOMAIN:
        if (destroy_again) {
            destroy_again--;
            errno = EAGAIN;
            return -1;
        }
        live_domains--;
        return 0;
    case ABI_DOMCTL_SETVCPUAFFINITY:
        pinned[op->u.vcpuaffinity.vcpu] = *(uint8_t *)(uintptr_t)op->u.vcpuaffinity.hard.bitmap;
        n_pinned++;
        return 0;
    case ABI_DOMCTL_SCHEDULER_OP:
        if (op->u.scheduler_op.cmd == ABI_SCHEDOP_GETINFO) {
            op->u.scheduler_op.weight = 256, op->u.scheduler_op.cap = 7;
        } else {
            shared = op->u.scheduler_op;
        }
        return 0;
    case ABI_DOMCTL_GETHVMCONTEXT:
        op->u.hvmcontext.size = 4096;
        return 0;
    default:
        return 0;
    }
}

static int fake_sysctl(struct abi_sysctl *op)
{
    if (op->cmd == ABI_SYSCTL_SCHED_ID) {
        op->u.sched_id = scheduler;
    }
    if (op->cmd == ABI_SYSCTL_GETDOMAININFOLIST) {
        struct abi_getdomaininfolist *list = &op->u.getdomaininfolist;
        struct abi_getdomaininfo *out = (void *)(uintptr_t)list->buffer;
        list_calls++;
        list->num_domains = 0;
        for (uint32_t i = 0; i < n_listed && list->num_domains < list->max_domains; i++) {
            if (listed[i].domain >= list->first_domain) {
                out[list->num_domains++] = listed[i];
            }
        }
    }
    return 0;
}

int xencall1(xencall_handle *call, unsigned int op, uint64_t argument)
{
    (void)call;
    if (fails()) {
        return -1;
    }
    void *buffer = (void *)(uintptr_t)argument;
    return op == 36 /* domctl */ ? fake_domctl(buffer) : fake_sysctl(buffer);
}

struct fake_reservation { /* the parts of xen_memory_reservation that count here */
    uint64_t *extents;
    uint64_t nr_extents;
    uint32_t order;
};

int xencall2(xencall_handle *call, unsigned int op, uint64_t command, uint64_t argument)
{
    (void)call;
    if (fails()) {
        return -1;
    }
    if (op == 12 /* memory_op */ && command == 6 /* populate_physmap */) {
        struct fake_reservation *reservation = (void *)(uintptr_t)argument;
        uint64_t n = reservation->nr_extents;
        if (reservation->order == 0) {
            single_pages += n;
            return (int)n;
        }
        if (n > (uint64_t)superpages_left) {
            n = (uint64_t)superpages_left;
        }
        superpages_left -= (int)n;
        superpages += n;
        return (int)n;
    }
    if (op == __HYPERVISOR_event_channel_op && command == EVTCHNOP_alloc_unbound) {
        ((struct evtchn_alloc_unbound *)(uintptr_t)argument)->port = ++ports;
    }
    return 0;
}

void *xenforeignmemory_map(xenforeignmemory_handle *memory, uint32_t domid, int prot, size_t n,
                           const xen_pfn_t gfns[], int errors[])
{
    (void)memory, (void)domid, (void)prot, (void)gfns, (void)errors;
    if (fails()) {
        return NULL;
    }
    mapped++;
    return calloc(n, LVM_PAGE_SIZE);
}
int xenforeignmemory_unmap(xenforeignmemory_handle *memory, void *address, size_t n)
{
    (void)memory, (void)n;
    mapped--;
    free(address);
    return 0;
}
xenforeignmemory_resource_handle *
xenforeignmemory_map_resource(xenforeignmemory_handle *memory, domid_t domid, unsigned int type,
                              unsigned int id, unsigned long frame, unsigned long n, void **address,
                              int prot, int flags)
{
    (void)memory, (void)domid, (void)type, (void)id, (void)frame, (void)n, (void)prot, (void)flags;
    if (fails()) {
        return NULL;
    }
    mapped++;
    memset(granted, 0, sizeof(granted));
    *address = granted;
    return (void *)granted;
}
int xenforeignmemory_unmap_resource(xenforeignmemory_handle *memory,
                                    xenforeignmemory_resource_handle *mapping)
{
    (void)memory, (void)mapping;
    mapped--;
    return 0;
}
xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle *evtchn, uint32_t domid,
                                                     evtchn_port_t port)
{
    (void)evtchn, (void)domid;
    if (fails()) {
        return -1;
    }
    bound++;
    return (xenevtchn_port_or_error_t)port + 100;
}
int xenevtchn_unbind(xenevtchn_handle *evtchn, evtchn_port_t port)
{
    (void)evtchn, (void)port;
    bound--;
    return 0;
}
int xendevicemodel_set_mem_type(xendevicemodel_handle *model, domid_t domid, hvmmem_type_t type,
                                uint64_t first, uint32_t n)
{
    (void)model, (void)domid, (void)type, (void)first, (void)n;
    return fails() ? -1 : 0;
}

/* engine.c is included for its hypercalls; opening real handles is not part of these tests. */
xencall_handle *xencall_open(struct xentoollog_logger *logger, unsigned flags)
{
    (void)logger, (void)flags;
    return NULL;
}
int xencall_close(xencall_handle *call)
{
    (void)call;
    return 0;
}
xenforeignmemory_handle *xenforeignmemory_open(struct xentoollog_logger *logger, unsigned flags)
{
    (void)logger, (void)flags;
    return NULL;
}
int xenforeignmemory_close(xenforeignmemory_handle *memory)
{
    (void)memory;
    return 0;
}
xenevtchn_handle *xenevtchn_open(struct xentoollog_logger *logger, unsigned flags)
{
    (void)logger, (void)flags;
    return NULL;
}
int xenevtchn_close(xenevtchn_handle *evtchn)
{
    (void)evtchn;
    return 0;
}
int xenevtchn_fd(xenevtchn_handle *evtchn)
{
    (void)evtchn;
    return -1;
}
xendevicemodel_handle *xendevicemodel_open(struct xentoollog_logger *logger, unsigned flags)
{
    (void)logger, (void)flags;
    return NULL;
}
int xendevicemodel_close(xendevicemodel_handle *model)
{
    (void)model;
    return 0;
}

#endif
