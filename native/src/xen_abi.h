/*
 * Xen's control interfaces (domctl, sysctl), declared by us because their layout changes between versions and the
 * layout must be chosen when the program runs. Sources: xen/include/public/domctl.h and sysctl.h of Xen 4.17 to 4.22;
 * native/abi/check.c compares sizes and offsets with the real headers.
 */
#ifndef LVM_XEN_ABI_H
#define LVM_XEN_ABI_H

#include <stdint.h>

#define ABI_DOMCTL_4_17 0x15u
#define ABI_DOMCTL_4_18 0x16u
#define ABI_DOMCTL_4_19 0x17u /* also 4.20 and 4.21 */
#define ABI_DOMCTL_4_22 0x18u
#define ABI_SYSCTL_4_17 0x15u /* up to 4.20 */
#define ABI_SYSCTL_4_21 0x16u /* also 4.22 */

/* From 4.22 on createdomain takes 0 literally; before, 0 meant "any". */
#define ABI_DOMID_ANY 0x7ff5u

#define ABI_DOMCTL_CREATEDOMAIN 1u
#define ABI_DOMCTL_DESTROYDOMAIN 2u
#define ABI_DOMCTL_PAUSEDOMAIN 3u
#define ABI_DOMCTL_UNPAUSEDOMAIN 4u
#define ABI_DOMCTL_GETDOMAININFO 5u
#define ABI_DOMCTL_SETVCPUAFFINITY 9u
#define ABI_DOMCTL_MAX_MEM 11u
#define ABI_DOMCTL_MAX_VCPUS 15u
#define ABI_DOMCTL_SCHEDULER_OP 16u
#define ABI_DOMCTL_GETHVMCONTEXT 33u
#define ABI_DOMCTL_SETHVMCONTEXT 34u
#define ABI_DOMCTL_SET_PAGING_MEMPOOL_SIZE 86u

#define ABI_CDF_HVM (1u << 0)
#define ABI_CDF_HAP (1u << 1)
#define ABI_GRANT_VERSION_1 1u
#define ABI_X86_EMU_LAPIC (1u << 0)

#define ABI_DOMINF_DYING (1u << 0)
#define ABI_DOMINF_HVM (1u << 1)
#define ABI_DOMINF_SHUTDOWN (1u << 2)
#define ABI_DOMINF_PAUSED (1u << 3)
#define ABI_DOMINF_SHUTDOWN_SHIFT 16

struct abi_arch_domainconfig {
    uint32_t emulation_flags;
    uint32_t misc_flags;
};

/* 4.17 and 4.18 */
struct abi_createdomain_4_17 {
    uint32_t ssidref;
    uint8_t handle[16];
    uint32_t flags;
    uint32_t iommu_opts;
    uint32_t max_vcpus;
    uint32_t max_evtchn_port;
    int32_t max_grant_frames;
    int32_t max_maptrack_frames;
    uint32_t grant_opts;
    uint32_t vmtrace_size;
    uint32_t cpupool_id;
    struct abi_arch_domainconfig arch;
};

/* 4.19 to 4.22: altp2m options came in before vmtrace_size */
struct abi_createdomain_4_19 {
    uint32_t ssidref;
    uint8_t handle[16];
    uint32_t flags;
    uint32_t iommu_opts;
    uint32_t max_vcpus;
    uint32_t max_evtchn_port;
    int32_t max_grant_frames;
    int32_t max_maptrack_frames;
    uint32_t grant_opts;
    uint32_t altp2m_opts;
    uint32_t vmtrace_size;
    uint32_t cpupool_id;
    struct abi_arch_domainconfig arch;
};

struct abi_getdomaininfo {
    uint16_t domain;
    uint16_t pad1;
    uint32_t flags;
    uint64_t tot_pages;
    uint64_t max_pages;
    uint64_t outstanding_pages;
    uint64_t shr_pages;
    uint64_t paged_pages;
    uint64_t shared_info_frame;
    uint64_t cpu_time;
    uint32_t nr_online_vcpus;
    uint32_t max_vcpu_id;
    uint32_t ssidref;
    uint8_t handle[16];
    uint32_t cpupool;
    uint8_t gpaddr_bits;
    uint8_t pad2[7];
    struct abi_arch_domainconfig arch_config;
};

struct abi_bitmap {
    uint64_t bitmap;
    uint32_t nr_bits;
    uint32_t pad;
};

#define ABI_VCPUAFFINITY_HARD (1u << 0)

struct abi_vcpuaffinity {
    uint32_t vcpu;
    uint32_t flags;
    struct abi_bitmap hard;
    struct abi_bitmap soft;
};

#define ABI_SCHEDULER_CREDIT 5u
#define ABI_SCHEDULER_CREDIT2 6u
#define ABI_SCHEDOP_PUTINFO 0u
#define ABI_SCHEDOP_GETINFO 1u

/* The same for both schedulers. */
struct abi_scheduler_op {
    uint32_t id;
    uint32_t cmd;
    uint16_t weight;
    uint16_t cap;
    uint32_t pad[3];
};

struct abi_hvmcontext {
    uint32_t size;
    uint32_t pad;
    uint64_t buffer;
};

struct abi_domctl {
    uint32_t cmd;
    uint32_t interface_version;
    uint16_t domain;
    uint16_t pad[3];
    union {
        struct abi_createdomain_4_17 createdomain_4_17;
        struct abi_createdomain_4_19 createdomain_4_19;
        struct abi_getdomaininfo getdomaininfo;
        struct {
            uint32_t max;
        } max_vcpus;
        struct {
            uint64_t max_memkb;
        } max_mem;
        struct {
            uint64_t size;
        } paging_mempool; /* bytes */
        struct abi_vcpuaffinity vcpuaffinity;
        struct abi_scheduler_op scheduler_op;
        struct abi_hvmcontext hvmcontext;
        uint8_t pad[128];
    } u;
};

/* An entry of a memory map as the BIOS has it, and so Xen; the types are those of a PVH guest's start info. */
struct abi_e820 {
    uint64_t addr;
    uint64_t size;
    uint32_t type;
} __attribute__((packed));

/* memory_op, for toolstacks only: set memory aside before it is populated. */
#define ABI_XENMEM_CLAIM_PAGES 24u

#define ABI_SYSCTL_PHYSINFO 3u
#define ABI_SYSCTL_SCHED_ID 4u
#define ABI_SYSCTL_GETDOMAININFOLIST 6u
#define ABI_PHYSCAP_HAP (1u << 3)

struct abi_physinfo {
    uint32_t threads_per_core;
    uint32_t cores_per_socket;
    uint32_t nr_cpus;
    uint32_t max_cpu_id;
    uint32_t nr_nodes;
    uint32_t max_node_id;
    uint32_t cpu_khz;
    uint32_t capabilities;
    uint32_t arch_capabilities;
    uint32_t pad;
    uint64_t total_pages;
    uint64_t free_pages;
    uint64_t scrub_pages;
    uint64_t outstanding_pages;
    uint64_t max_mfn;
    uint32_t hw_cap[8];
};

struct abi_getdomaininfolist {
    uint16_t first_domain;
    uint16_t pad1;
    uint32_t max_domains;
    uint64_t buffer;
    uint32_t num_domains;
    uint32_t pad2;
};

struct abi_sysctl {
    uint32_t cmd;
    uint32_t interface_version;
    union {
        struct abi_physinfo physinfo;
        struct abi_getdomaininfolist getdomaininfolist;
        uint32_t sched_id;
        uint8_t pad[128];
    } u;
};

#endif
