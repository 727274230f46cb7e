/*
 * What toolstack and guest agree on: the memory map of a domain, the boot page, the device page and the control page.
 * docs/device-page.md explains it; native/guest/include/lightvm.h is the guest's own copy, compared by a test.
 * All fields are little-endian and of fixed width.
 */
#ifndef LVM_LAYOUT_H
#define LVM_LAYOUT_H

#include <stdint.h>

#define LVM_PAGE_SIZE 4096u

/* RAM is [0, low end) and, where it does not fit, from 4 GiB on. */
#define LVM_LOW_RAM_LIMIT 0xe0000000ull
#define LVM_HIGH_RAM_BASE 0x100000000ull

/* Special pages below 4 GiB, in this order. */
#define LVM_SPECIAL_GFN 0xff000u
#define LVM_CONSOLE_GFN (LVM_SPECIAL_GFN + 0u)
#define LVM_CONTROL_GFN (LVM_SPECIAL_GFN + 1u)
#define LVM_DEVICE_GFN (LVM_SPECIAL_GFN + 2u)   /* read-only to the guest */
#define LVM_METADATA_GFN (LVM_SPECIAL_GFN + 3u) /* read-only to the guest */
#define LVM_SPECIAL_PAGES 4u
/* Xen's own pages, in place before the guest runs: so it needs no hypercall, and no large page of RAM is broken up. */
#define LVM_SHARED_INFO_GFN (LVM_SPECIAL_GFN + 4u)
#define LVM_GRANT_TABLE_GFN (LVM_SPECIAL_GFN + 5u) /* its first frame */
#define LVM_RING_GFN (LVM_SPECIAL_GFN + 16u)
#define LVM_SPECIAL_RESERVED 256u /* with the rings; reserved in the guest's memory map */

/* Rings of devices, a page each: of vifs transmit, then receive, one vif after the other; then one of each vbd. */
#define LVM_VIFS_MAX 8u
#define LVM_VBDS_MAX 8u
#define LVM_RINGS_MAX (2u * LVM_VIFS_MAX + LVM_VBDS_MAX)
#define LVM_VIF_TX_RING(i) (2u * (i))
#define LVM_VIF_RX_RING(i) (2u * (i) + 1u)
#define LVM_VBD_RING(i) (2u * LVM_VIFS_MAX + (i))

/* Of a domain in XenStore mode instead of rings: its connection to xenstored, and ACPI tables. */
#define LVM_STORE_GFN (LVM_RING_GFN + LVM_RINGS_MAX)
#define LVM_ACPI_GFN (LVM_STORE_GFN + 1u)

/* Grant references of rings; the first eight are reserved by custom (grant_table.h). */
#define LVM_FIRST_REF 8u
#define LVM_FIRST_FREE_REF (LVM_FIRST_REF + LVM_RINGS_MAX)

/* The boot page is RAM: its guest may take it back once it has read it. */
#define LVM_BOOT_GFN 1u
#define LVM_BOOT_START_INFO 0x000u
#define LVM_BOOT_TRAMPOLINE 0x040u
#define LVM_BOOT_ENTRY 0x050u
#define LVM_BOOT_MEMMAP 0x080u
#define LVM_BOOT_MEMMAP_MAX 8u
#define LVM_BOOT_MODULES 0x200u
#define LVM_BOOT_MODULES_MAX 16u
#define LVM_BOOT_CMDLINE 0x400u
#define LVM_CMDLINE_SIZE 0xc00u /* with the NUL */

/* Device page: read-only to the guest. */
#define LVM_DEVICE_MAGIC 0x444d564cu /* "LVMD" */
#define LVM_DEVICE_VERSION 1u
#define LVM_NAME_SIZE 64u /* with the NUL */

/* By which instruction a guest calls Xen; 0: by the page that Xen fills. */
#define LVM_HYPERCALL_VMCALL 1u
#define LVM_HYPERCALL_VMMCALL 2u

struct lvm_device_page {
    uint32_t magic;
    uint16_t version;     /* a guest refuses a page with a version it does not know */
    uint16_t header_size; /* entries start here */
    uint32_t nr_entries;
    uint32_t entry_size; /* step from one entry to the next; grows with the version */
    uint8_t uuid[16];
    uint64_t memory_kib;
    uint32_t vcpus;
    uint32_t metadata_gfn;       /* bytes for the guest's program, as the creator gave them */
    uint32_t metadata_size;      /* how many of them; 0: none */
    uint32_t first_free_ref;     /* the guest's own grants start here */
    uint32_t shared_info_gfn;    /* Xen's shared info page */
    uint32_t grant_table_gfn;    /* first frame of the grant table, version 1 */
    uint8_t name[LVM_NAME_SIZE]; /* text, ending in NUL */
    uint32_t hypercall;          /* LVM_HYPERCALL_ */
    uint32_t reserved2[31];      /* zero */
};

#define LVM_ENTRY_NONE 0u
#define LVM_ENTRY_CONSOLE 1u
#define LVM_ENTRY_CONTROL 2u
#define LVM_ENTRY_VIF 3u
#define LVM_ENTRY_VBD 4u

struct lvm_device_entry {
    uint32_t type;
    uint32_t index;        /* 0 for the first of its type */
    uint32_t evtchn;       /* the guest's port */
    uint32_t gfn;          /* of the ring or page */
    uint32_t reserved[28]; /* zero */
};

/* What of a vif is known when the shell is taken. All zero: the guest may find out by itself. */
struct lvm_vif_config {
    uint8_t mac[6];
    uint16_t mtu;
    uint8_t ipv4[4]; /* addresses in network order */
    uint8_t ipv4_gateway[4];
    uint8_t ipv4_dns[2][4];
    uint8_t ipv4_prefix;
    uint8_t ipv6_prefix;
    uint8_t reserved[6]; /* zero */
    uint8_t ipv6[16];
    uint8_t ipv6_gateway[16];
};

/* An entry of type LVM_ENTRY_VIF; the back-end is connected to its rings already. */
struct lvm_vif_entry {
    uint32_t type;
    uint32_t index;
    uint32_t evtchn; /* of both rings */
    uint32_t tx_gfn;
    uint32_t rx_gfn;
    uint32_t tx_ref; /* grant references that the back-end holds: not to be used again */
    uint32_t rx_ref;
    uint32_t reserved1; /* zero */
    struct lvm_vif_config config;
    uint32_t reserved2[8]; /* zero */
};

/* What of a vbd is known when the shell is taken. */
struct lvm_vbd_config {
    uint64_t sectors; /* of 512 bytes, whatever sector_size says */
    uint32_t sector_size;
    uint32_t flags; /* LVM_VBD_* */
};
#define LVM_VBD_READ_ONLY 1u
#define LVM_VBD_FLUSH 2u   /* BLKIF_OP_FLUSH_DISKCACHE makes what was written before it durable */
#define LVM_VBD_DISCARD 4u /* BLKIF_OP_DISCARD may be tried */

/* An entry of type LVM_ENTRY_VBD; the back-end is connected to its ring already. */
struct lvm_vbd_entry {
    uint32_t type;
    uint32_t index;
    uint32_t evtchn;
    uint32_t gfn; /* of the ring */
    uint32_t ref; /* that the back-end holds: not to be used again */
    uint32_t reserved1;
    struct lvm_vbd_config config;
    uint32_t reserved2[22]; /* zero */
};

/* Control page: the guest writes it; dom0 reads each word once and trusts none. */
#define LVM_CONTROL_MAGIC 0x434d564cu /* "LVMC" */
#define LVM_CONTROL_VERSION 1u

#define LVM_REQUEST_POWEROFF 1u
#define LVM_REQUEST_REBOOT 2u
#define LVM_REQUEST_SUSPEND 3u
#define LVM_REQUEST_MASK 0xffu

struct lvm_control_page {
    uint32_t magic;
    uint32_t version;
    uint32_t ready;        /* guest: 1 once it is ready for use */
    uint32_t exiting;      /* guest: 1 once reason and status below are its last word */
    uint32_t exit_reason;  /* guest: a SHUTDOWN_* code of Xen's sched.h */
    uint32_t exit_status;  /* guest: its program's own number, two's complement */
    uint32_t heartbeat;    /* guest: any change is a beat */
    uint32_t request;      /* dom0: LVM_REQUEST_*, with higher bits that differ each time */
    uint32_t acknowledged; /* guest: the last request that it has heard */
    uint32_t watched; /* dom0: 1 while it looks at `ready` by itself and wants no event for it */
    uint32_t reserved[54];
};

/* The PV console ring of Xen's io/console.h. */
#define LVM_CONSOLE_IN_SIZE 1024u
#define LVM_CONSOLE_OUT_SIZE 2048u

struct lvm_console_ring {
    uint8_t in[LVM_CONSOLE_IN_SIZE];
    uint8_t out[LVM_CONSOLE_OUT_SIZE];
    uint32_t in_cons, in_prod;
    uint32_t out_cons, out_prod;
};

/* ELF note that says "I read the device page": name "LightVM", this type, a 32-bit version. */
#define LVM_ELF_NOTE_DEVICE_PAGE 1u

_Static_assert(sizeof(struct lvm_device_page) == 256, "layout");
_Static_assert(sizeof(struct lvm_device_entry) == 128, "layout");
_Static_assert(sizeof(struct lvm_vif_config) == 64, "layout");
_Static_assert(sizeof(struct lvm_vif_entry) == 128, "layout");
_Static_assert(sizeof(struct lvm_vbd_config) == 16, "layout");
_Static_assert(sizeof(struct lvm_vbd_entry) == 128, "layout");
_Static_assert(sizeof(struct lvm_control_page) == 256, "layout");
_Static_assert(sizeof(struct lvm_console_ring) == 3088, "layout");

#endif
