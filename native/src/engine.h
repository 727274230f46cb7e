/* Inside of the engine: what its .c files share. */
#ifndef LVM_ENGINE_H
#define LVM_ENGINE_H

#include <stdbool.h>
#include <time.h>

#include <xencall.h>
#include <xendevicemodel.h>
#include <xenevtchn.h>
#include <xenforeignmemory.h>

#include "lvm.h"
#include "xen_abi.h"

struct hvm_memmap_table_entry;

struct lvm_xen {
    xencall_handle *call;
    xenforeignmemory_handle *memory;
    xenevtchn_handle *evtchn;
    xendevicemodel_handle *device_model;
    struct lvm_versions versions;
    struct lvm_moments moments;
    struct abi_domctl *hot; /* hypercall buffer of the owner thread: unpause allocates nothing */
    uint8_t context_header
        [64]; /* first record of an HVM context, the same for every domain of a host */
    uint32_t context_header_size;
};

struct lvm_domain {
    struct lvm_xen *xen;
    uint32_t domid;
    uint64_t low_bytes; /* RAM below the hole */
    uint8_t *window;    /* RAM from 0, or NULL */
    uint64_t window_bytes;
    uint8_t *special;                    /* LVM_SPECIAL_PAGES from LVM_SPECIAL_GFN */
    uint32_t console_port, control_port; /* the guest's numbering */
    uint32_t store_port;                 /* 0 where the domain is not in XenStore mode */
    int console_local, control_local;    /* ours, -1 while unbound */
    uint32_t console_consumed;
    uint32_t nr_vifs, nr_vbds;
    uint32_t vif_ports[LVM_VIFS_MAX]; /* the guest's numbering; for the back-ends */
    uint32_t vbd_ports[LVM_VBDS_MAX];
};

static inline int64_t lvm_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Remember where a call failed, and pass the error on. */
int lvm_fail(const char *step, int error);

/* One domctl or sysctl: copies `op` into a hypercall buffer and back. Returns 0 or -errno. */
int lvm_domctl(struct lvm_xen *xen, struct abi_domctl *op);
int lvm_sysctl(struct lvm_xen *xen, struct abi_sysctl *op);
/* A hypercall with a sub-command and one argument structure, copied in and out. Returns >= 0 or -errno. */
long lvm_hypercall(struct lvm_xen *xen, unsigned int number, unsigned long command, void *argument,
                   size_t size);

/* Map `n` consecutive guest pages. NULL with errno set where any of them cannot be mapped. */
void *lvm_map(struct lvm_xen *xen, uint32_t domid, uint64_t gfn, size_t n);

/* The parts of prepare and adopt that they share. */
int lvm_map_special(struct lvm_domain *domain);
int lvm_bind_ports(struct lvm_domain *domain);
int lvm_alloc_port(struct lvm_xen *xen, uint32_t domid, uint32_t *ret_port);
/* The guest's half of the handshake with back-ends: rings, their grants, event channels. */
int lvm_make_devices(struct lvm_domain *domain, uint32_t nr_vifs, uint32_t nr_vbds);
int lvm_populate(struct lvm_xen *xen, uint32_t domid, uint64_t gfn, uint64_t n);
/* Of a domain that is not ours: also that its memory is cached, which firmware would say in MTRRs. */
int lvm_set_first_context(struct lvm_domain *domain, const struct lvm_shape *shape);
/* The guest's memory map; writes up to LVM_MEMMAP_MAX entries and returns how many. */
#define LVM_MEMMAP_MAX 3u
uint32_t lvm_describe_memory(const struct lvm_domain *domain, uint64_t bytes,
                             struct hvm_memmap_table_entry *map);
/* What an unmodified guest looks for: a connection to xenstored, a memory map at Xen, ACPI tables. */
int lvm_make_store(struct lvm_domain *domain);
int lvm_tell_memory(struct lvm_domain *domain, uint64_t bytes);
int lvm_make_acpi(struct lvm_domain *domain, uint32_t vcpus);
/* Map frames of a domain's grant table, version 1. */
xenforeignmemory_resource_handle *lvm_map_grants(struct lvm_domain *domain, void **ret_table);
void lvm_grant(void *table, uint32_t ref, uint64_t gfn);
void lvm_write_boot_page(struct lvm_domain *domain, const struct lvm_shape *shape);
void lvm_write_special_pages(struct lvm_domain *domain, const struct lvm_shape *shape);

static inline void *lvm_special(const struct lvm_domain *domain, uint32_t gfn)
{
    return domain->special + LVM_PAGE_SIZE * (gfn - LVM_SPECIAL_GFN);
}

static inline struct lvm_console_ring *lvm_console(const struct lvm_domain *domain)
{
    return lvm_special(domain, LVM_CONSOLE_GFN);
}

static inline struct lvm_control_page *lvm_control_page(const struct lvm_domain *domain)
{
    return lvm_special(domain, LVM_CONTROL_GFN);
}

static inline struct lvm_device_page *lvm_device_page(const struct lvm_domain *domain)
{
    return lvm_special(domain, LVM_DEVICE_GFN);
}

/* After the console and the control page come the vifs, then the vbds. */
static inline struct lvm_vif_entry *lvm_vif_entry(const struct lvm_domain *domain, uint32_t i)
{
    return (struct lvm_vif_entry *)(lvm_device_page(domain) + 1) + 2 + i;
}

static inline struct lvm_vbd_entry *lvm_vbd_entry(const struct lvm_domain *domain, uint32_t i)
{
    return (struct lvm_vbd_entry *)lvm_vif_entry(domain, domain->nr_vifs) + i;
}

/* From here on ready comes with an event, unless it is there already. */
static inline void lvm_control_unwatch(struct lvm_domain *domain)
{
    __atomic_store_n(&lvm_control_page(domain)->watched, 0, __ATOMIC_RELAXED);
    /* Pairs with the guest's fence between its ready and its look at watched: one of the two sees the other. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static inline bool lvm_said_exiting(const struct lvm_domain *domain)
{
    return __atomic_load_n(&lvm_control_page(domain)->exiting, __ATOMIC_RELAXED) != 0;
}

static inline bool lvm_said_ready(const struct lvm_domain *domain)
{
    return __atomic_load_n(&lvm_control_page(domain)->ready, __ATOMIC_RELAXED) == 1;
}

#endif
