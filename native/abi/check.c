/*
 * Compiled against the public headers of one Xen version: compares our own declarations with them. Compiling is the
 * whole check; every difference is an error that names the field.
 */
#include <stddef.h>
#include <stdint.h>

#define __XEN_TOOLS__ 1
#include <xen/xen.h>
#include <xen/domctl.h>
#include <xen/hvm/save.h>
#include <xen/io/console.h>
#include <xen/memory.h>
#include <xen/sysctl.h>
#include <xen/arch-x86/hvm/start_info.h>

#include "../src/lvm_layout.h"
#include "../src/xen_abi.h"

#define SAME_SIZE(ours, theirs) _Static_assert(sizeof(ours) == sizeof(theirs), "size of " #theirs)
#define SAME_PLACE(ours, theirs, our_field, their_field)                                        \
    _Static_assert(offsetof(ours, our_field) == offsetof(theirs, their_field)                   \
                       && sizeof(((ours *)0)->our_field) == sizeof(((theirs *)0)->their_field), \
                   #theirs "." #their_field)
#define SAME(ours, theirs, field) SAME_PLACE(ours, theirs, field, field)
#define EQUAL(ours, theirs) _Static_assert((ours) == (theirs), #theirs)

/* The interface versions that choose a layout. */
#if XEN_DOMCTL_INTERFACE_VERSION == 0x15
typedef struct abi_createdomain_4_17 create;
EQUAL(ABI_DOMCTL_4_17, XEN_DOMCTL_INTERFACE_VERSION);
#elif XEN_DOMCTL_INTERFACE_VERSION == 0x16
typedef struct abi_createdomain_4_17 create;
EQUAL(ABI_DOMCTL_4_18, XEN_DOMCTL_INTERFACE_VERSION);
#elif XEN_DOMCTL_INTERFACE_VERSION == 0x17
typedef struct abi_createdomain_4_19 create;
EQUAL(ABI_DOMCTL_4_19, XEN_DOMCTL_INTERFACE_VERSION);
#elif XEN_DOMCTL_INTERFACE_VERSION == 0x18
typedef struct abi_createdomain_4_19 create;
EQUAL(ABI_DOMCTL_4_22, XEN_DOMCTL_INTERFACE_VERSION);
EQUAL(ABI_DOMID_ANY, DOMID_ANY);
#else
#error "a domctl interface version that the engine does not know"
#endif
#if XEN_SYSCTL_INTERFACE_VERSION == 0x15
EQUAL(ABI_SYSCTL_4_17, XEN_SYSCTL_INTERFACE_VERSION);
#elif XEN_SYSCTL_INTERFACE_VERSION == 0x16
EQUAL(ABI_SYSCTL_4_21, XEN_SYSCTL_INTERFACE_VERSION);
#else
#error "a sysctl interface version that the engine does not know"
#endif

/* domctl */
SAME_SIZE(struct abi_domctl, struct xen_domctl);
SAME(struct abi_domctl, struct xen_domctl, cmd);
SAME(struct abi_domctl, struct xen_domctl, interface_version);
SAME(struct abi_domctl, struct xen_domctl, domain);
_Static_assert(offsetof(struct abi_domctl, u) == offsetof(struct xen_domctl, u), "xen_domctl.u");
EQUAL(ABI_DOMCTL_CREATEDOMAIN, XEN_DOMCTL_createdomain);
EQUAL(ABI_DOMCTL_DESTROYDOMAIN, XEN_DOMCTL_destroydomain);
EQUAL(ABI_DOMCTL_PAUSEDOMAIN, XEN_DOMCTL_pausedomain);
EQUAL(ABI_DOMCTL_UNPAUSEDOMAIN, XEN_DOMCTL_unpausedomain);
EQUAL(ABI_DOMCTL_GETDOMAININFO, XEN_DOMCTL_getdomaininfo);
EQUAL(ABI_DOMCTL_SETVCPUAFFINITY, XEN_DOMCTL_setvcpuaffinity);
EQUAL(ABI_DOMCTL_SCHEDULER_OP, XEN_DOMCTL_scheduler_op);
EQUAL(ABI_DOMCTL_MAX_MEM, XEN_DOMCTL_max_mem);
EQUAL(ABI_DOMCTL_MAX_VCPUS, XEN_DOMCTL_max_vcpus);
EQUAL(ABI_DOMCTL_GETHVMCONTEXT, XEN_DOMCTL_gethvmcontext);
EQUAL(ABI_DOMCTL_SETHVMCONTEXT, XEN_DOMCTL_sethvmcontext);
EQUAL(ABI_DOMCTL_SET_PAGING_MEMPOOL_SIZE, XEN_DOMCTL_set_paging_mempool_size);

#define THEIRS struct xen_domctl_createdomain
SAME_SIZE(create, THEIRS);
SAME(create, THEIRS, ssidref);
SAME(create, THEIRS, handle);
SAME(create, THEIRS, flags);
SAME(create, THEIRS, iommu_opts);
SAME(create, THEIRS, max_vcpus);
SAME(create, THEIRS, max_evtchn_port);
SAME(create, THEIRS, max_grant_frames);
SAME(create, THEIRS, max_maptrack_frames);
SAME(create, THEIRS, grant_opts);
SAME(create, THEIRS, vmtrace_size);
SAME(create, THEIRS, cpupool_id);
SAME(create, THEIRS, arch);
SAME(struct abi_arch_domainconfig, struct xen_arch_domainconfig, emulation_flags);
SAME(struct abi_arch_domainconfig, struct xen_arch_domainconfig, misc_flags);
EQUAL(ABI_CDF_HVM, XEN_DOMCTL_CDF_hvm);
EQUAL(ABI_CDF_HAP, XEN_DOMCTL_CDF_hap);
EQUAL(ABI_GRANT_VERSION_1, XEN_DOMCTL_GRANT_version(1));
EQUAL(ABI_X86_EMU_LAPIC, XEN_X86_EMU_LAPIC);
#undef THEIRS

#define OURS struct abi_getdomaininfo
#define THEIRS struct xen_domctl_getdomaininfo
SAME_SIZE(OURS, THEIRS);
SAME(OURS, THEIRS, domain);
SAME(OURS, THEIRS, flags);
SAME(OURS, THEIRS, tot_pages);
SAME(OURS, THEIRS, cpu_time);
SAME(OURS, THEIRS, nr_online_vcpus);
SAME(OURS, THEIRS, handle);
EQUAL(ABI_DOMINF_DYING, XEN_DOMINF_dying);
EQUAL(ABI_DOMINF_HVM, XEN_DOMINF_hvm_guest);
EQUAL(ABI_DOMINF_SHUTDOWN, XEN_DOMINF_shutdown);
EQUAL(ABI_DOMINF_PAUSED, XEN_DOMINF_paused);
EQUAL(ABI_DOMINF_SHUTDOWN_SHIFT, XEN_DOMINF_shutdownshift);
#undef OURS
#undef THEIRS

SAME_SIZE(struct abi_bitmap, struct xenctl_bitmap);
SAME(struct abi_bitmap, struct xenctl_bitmap, bitmap);
SAME(struct abi_bitmap, struct xenctl_bitmap, nr_bits);
#define OURS struct abi_vcpuaffinity
#define THEIRS struct xen_domctl_vcpuaffinity
SAME_SIZE(OURS, THEIRS);
SAME(OURS, THEIRS, vcpu);
SAME(OURS, THEIRS, flags);
SAME_PLACE(OURS, THEIRS, hard, cpumap_hard);
SAME_PLACE(OURS, THEIRS, soft, cpumap_soft);
EQUAL(ABI_VCPUAFFINITY_HARD, XEN_VCPUAFFINITY_HARD);
#undef OURS
#undef THEIRS
#define OURS struct abi_scheduler_op
#define THEIRS struct xen_domctl_scheduler_op
SAME_SIZE(OURS, THEIRS);
SAME_PLACE(OURS, THEIRS, id, sched_id);
SAME(OURS, THEIRS, cmd);
SAME_PLACE(OURS, THEIRS, weight, u.credit.weight);
SAME_PLACE(OURS, THEIRS, cap, u.credit.cap);
SAME_PLACE(OURS, THEIRS, weight, u.credit2.weight);
SAME_PLACE(OURS, THEIRS, cap, u.credit2.cap);
EQUAL(ABI_SCHEDULER_CREDIT, XEN_SCHEDULER_CREDIT);
EQUAL(ABI_SCHEDULER_CREDIT2, XEN_SCHEDULER_CREDIT2);
EQUAL(ABI_SCHEDOP_PUTINFO, XEN_DOMCTL_SCHEDOP_putinfo);
EQUAL(ABI_SCHEDOP_GETINFO, XEN_DOMCTL_SCHEDOP_getinfo);
#undef OURS
#undef THEIRS

SAME_SIZE(struct abi_hvmcontext, struct xen_domctl_hvmcontext);
SAME(struct abi_hvmcontext, struct xen_domctl_hvmcontext, size);
SAME(struct abi_hvmcontext, struct xen_domctl_hvmcontext, buffer);
SAME_SIZE(((struct abi_domctl *)0)->u.max_vcpus, struct xen_domctl_max_vcpus);
SAME_SIZE(((struct abi_domctl *)0)->u.max_mem, struct xen_domctl_max_mem);
SAME_SIZE(((struct abi_domctl *)0)->u.paging_mempool, struct xen_domctl_paging_mempool);

EQUAL(ABI_XENMEM_CLAIM_PAGES, XENMEM_claim_pages);

/* sysctl */
SAME_SIZE(struct abi_sysctl, struct xen_sysctl);
_Static_assert(offsetof(struct abi_sysctl, u) == offsetof(struct xen_sysctl, u), "xen_sysctl.u");
EQUAL(ABI_SYSCTL_PHYSINFO, XEN_SYSCTL_physinfo);
EQUAL(ABI_SYSCTL_SCHED_ID, XEN_SYSCTL_sched_id);
SAME_SIZE(((struct abi_sysctl *)0)->u.sched_id, struct xen_sysctl_sched_id);
EQUAL(ABI_SYSCTL_GETDOMAININFOLIST, XEN_SYSCTL_getdomaininfolist);
EQUAL(ABI_PHYSCAP_HAP, XEN_SYSCTL_PHYSCAP_hap);
SAME_SIZE(struct abi_physinfo, struct xen_sysctl_physinfo);
SAME(struct abi_physinfo, struct xen_sysctl_physinfo, nr_cpus);
SAME(struct abi_physinfo, struct xen_sysctl_physinfo, capabilities);
SAME(struct abi_physinfo, struct xen_sysctl_physinfo, total_pages);
SAME(struct abi_physinfo, struct xen_sysctl_physinfo, free_pages);
SAME(struct abi_physinfo, struct xen_sysctl_physinfo, scrub_pages);
SAME_SIZE(struct abi_getdomaininfolist, struct xen_sysctl_getdomaininfolist);
SAME(struct abi_getdomaininfolist, struct xen_sysctl_getdomaininfolist, first_domain);
SAME(struct abi_getdomaininfolist, struct xen_sysctl_getdomaininfolist, max_domains);
SAME(struct abi_getdomaininfolist, struct xen_sysctl_getdomaininfolist, buffer);
SAME(struct abi_getdomaininfolist, struct xen_sysctl_getdomaininfolist, num_domains);

/* What the engine takes from the stable headers, where an older build must still fit a newer Xen. */
_Static_assert(HVM_SAVE_LENGTH(CPU) == 1032, "HVM context of a vCPU");
_Static_assert(HVM_SAVE_LENGTH(HEADER) == 24, "HVM context header");
_Static_assert(sizeof(struct hvm_start_info) == 56, "hvm_start_info");
_Static_assert(sizeof(struct hvm_modlist_entry) == 32, "hvm_modlist_entry");
SAME(struct lvm_console_ring, struct xencons_interface, in);
SAME(struct lvm_console_ring, struct xencons_interface, out);
SAME(struct lvm_console_ring, struct xencons_interface, in_cons);
SAME(struct lvm_console_ring, struct xencons_interface, out_cons);
SAME(struct lvm_console_ring, struct xencons_interface, out_prod);

/* The boot page has room for what is put there. */
_Static_assert(sizeof(struct hvm_start_info) <= LVM_BOOT_TRAMPOLINE, "start info");
_Static_assert(LVM_BOOT_MEMMAP + LVM_BOOT_MEMMAP_MAX * sizeof(struct hvm_memmap_table_entry)
                   <= LVM_BOOT_MODULES,
               "memory map");
_Static_assert(LVM_BOOT_MODULES + LVM_BOOT_MODULES_MAX * sizeof(struct hvm_modlist_entry)
                   <= LVM_BOOT_CMDLINE,
               "module list");
_Static_assert(LVM_BOOT_CMDLINE + LVM_CMDLINE_SIZE <= LVM_PAGE_SIZE, "command line");

int lvm_abi_checked = XEN_DOMCTL_INTERFACE_VERSION;
