/* What prepare writes into a shell's pages, and what load adds when the image is known. */
#include "engine.h"

#include <cpuid.h>
#include <errno.h>
#include <string.h>

#include <xen/xen.h>
#include <xen/hvm/e820.h>
#include <xen/arch-x86/hvm/start_info.h>

#define BOOT_PADDR (LVM_BOOT_GFN * LVM_PAGE_SIZE)
#define MAP_CHUNK_PAGES 1024u

static uint8_t *boot_page(struct lvm_domain *domain) { return domain->window + BOOT_PADDR; }

uint32_t lvm_describe_memory(const struct lvm_domain *domain, uint64_t bytes,
                             struct hvm_memmap_table_entry *map)
{
    uint32_t n = 0;
    map[n++] = (struct hvm_memmap_table_entry){.addr = 0,
                                               .size = domain->low_bytes,
                                               .type = XEN_HVM_MEMMAP_TYPE_RAM};
    map[n++] =
        (struct hvm_memmap_table_entry){.addr = (uint64_t)LVM_SPECIAL_GFN * LVM_PAGE_SIZE,
                                        .size = (uint64_t)LVM_SPECIAL_RESERVED * LVM_PAGE_SIZE,
                                        .type = XEN_HVM_MEMMAP_TYPE_RESERVED};
    if (bytes > domain->low_bytes) {
        map[n++] = (struct hvm_memmap_table_entry){.addr = LVM_HIGH_RAM_BASE,
                                                   .size = bytes - domain->low_bytes,
                                                   .type = XEN_HVM_MEMMAP_TYPE_RAM};
    }
    return n;
}

void lvm_write_boot_page(struct lvm_domain *domain, const struct lvm_shape *shape)
{
    uint8_t *page = boot_page(domain);
    memset(page, 0, LVM_PAGE_SIZE);
    struct hvm_start_info *info = (void *)(page + LVM_BOOT_START_INFO);
    info->magic = XEN_HVM_START_MAGIC_VALUE;
    info->version = 1;
    info->modlist_paddr = BOOT_PADDR + LVM_BOOT_MODULES;
    info->cmdline_paddr = BOOT_PADDR + LVM_BOOT_CMDLINE;
    info->memmap_paddr = BOOT_PADDR + LVM_BOOT_MEMMAP;
    info->memmap_entries =
        lvm_describe_memory(domain, shape->memory_kib * 1024, (void *)(page + LVM_BOOT_MEMMAP));
    info->rsdp_paddr = shape->xenstore ? (uint64_t)LVM_ACPI_GFN * LVM_PAGE_SIZE : 0;

    /* jmp *[entry slot], in 32-bit code: the entry point is the one word that finish must patch. */
    uint32_t slot = BOOT_PADDR + LVM_BOOT_ENTRY;
    uint8_t *code = page + LVM_BOOT_TRAMPOLINE;
    code[0] = 0xff;
    code[1] = 0x25;
    memcpy(code + 2, &slot, sizeof(slot));
}

/* What Xen writes into a guest's hypercall page depends on the processor's extension: VMX, or SVM. */
static uint32_t hypercall_of(const char *vendor)
{
    static const struct {
        char vendor[13];
        uint32_t hypercall;
    } known[] = {{"AuthenticAMD", LVM_HYPERCALL_VMMCALL},
                 {"HygonGenuine", LVM_HYPERCALL_VMMCALL},
                 {"GenuineIntel", LVM_HYPERCALL_VMCALL}};
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (strcmp(vendor, known[i].vendor) == 0) {
            return known[i].hypercall;
        }
    }
    return 0;
}

static uint32_t hypercall_here(void)
{
    char vendor[13] = "";
    uint32_t highest, words[3];
    __cpuid(0, highest, words[0], words[2], words[1]);
    memcpy(vendor, words, sizeof(words));
    return hypercall_of(vendor);
}

void lvm_write_special_pages(struct lvm_domain *domain, const struct lvm_shape *shape)
{
    memset(domain->special, 0, LVM_SPECIAL_PAGES * LVM_PAGE_SIZE);
    struct lvm_device_page *device = lvm_device_page(domain);
    device->magic = LVM_DEVICE_MAGIC;
    device->version = LVM_DEVICE_VERSION;
    device->header_size = sizeof(*device);
    device->nr_entries = 2 + domain->nr_vifs + domain->nr_vbds;
    device->entry_size = sizeof(struct lvm_device_entry);
    memcpy(device->uuid, shape->uuid, sizeof(device->uuid));
    device->memory_kib = shape->memory_kib;
    device->vcpus = shape->vcpus;
    device->metadata_gfn = LVM_METADATA_GFN;
    device->shared_info_gfn = LVM_SHARED_INFO_GFN;
    device->grant_table_gfn = LVM_GRANT_TABLE_GFN;
    device->first_free_ref = LVM_FIRST_FREE_REF;
    device->hypercall = hypercall_here();
    struct lvm_device_entry *entries = (void *)(device + 1);
    entries[0] = (struct lvm_device_entry){.type = LVM_ENTRY_CONSOLE,
                                           .evtchn = domain->console_port,
                                           .gfn = LVM_CONSOLE_GFN};
    entries[1] = (struct lvm_device_entry){.type = LVM_ENTRY_CONTROL,
                                           .evtchn = domain->control_port,
                                           .gfn = LVM_CONTROL_GFN};
    for (uint32_t i = 0; i < domain->nr_vifs; i++) {
        *lvm_vif_entry(domain, i) =
            (struct lvm_vif_entry){.type = LVM_ENTRY_VIF,
                                   .index = i,
                                   .evtchn = domain->vif_ports[i],
                                   .tx_gfn = LVM_RING_GFN + LVM_VIF_TX_RING(i),
                                   .rx_gfn = LVM_RING_GFN + LVM_VIF_RX_RING(i),
                                   .tx_ref = LVM_FIRST_REF + LVM_VIF_TX_RING(i),
                                   .rx_ref = LVM_FIRST_REF + LVM_VIF_RX_RING(i)};
    }
    for (uint32_t i = 0; i < domain->nr_vbds; i++) {
        *lvm_vbd_entry(domain, i) = (struct lvm_vbd_entry){.type = LVM_ENTRY_VBD,
                                                           .index = i,
                                                           .evtchn = domain->vbd_ports[i],
                                                           .gfn = LVM_RING_GFN + LVM_VBD_RING(i),
                                                           .ref = LVM_FIRST_REF + LVM_VBD_RING(i)};
    }

    struct lvm_control_page *control = lvm_control_page(domain);
    control->magic = LVM_CONTROL_MAGIC;
    control->version = LVM_CONTROL_VERSION;
}

/* Outside the window: map a chunk, fill it, unmap it. */
static int place_by_mapping(struct lvm_domain *domain, const struct lvm_segment *segment)
{
    uint64_t done = 0;
    while (done < segment->memsz) {
        uint64_t paddr = segment->paddr + done;
        uint64_t offset = paddr % LVM_PAGE_SIZE;
        uint64_t left = segment->memsz - done;
        uint64_t pages = (offset + left + LVM_PAGE_SIZE - 1) / LVM_PAGE_SIZE;
        if (pages > MAP_CHUNK_PAGES) {
            pages = MAP_CHUNK_PAGES;
        }
        uint64_t chunk = pages * LVM_PAGE_SIZE - offset;
        if (chunk > left) {
            chunk = left;
        }
        uint8_t *mapped = lvm_map(domain->xen, domain->domid, paddr / LVM_PAGE_SIZE, pages);
        if (!mapped) {
            return lvm_fail("map segment", -errno);
        }
        uint64_t copied = 0;
        if (done < segment->filesz) {
            copied = segment->filesz - done < chunk ? segment->filesz - done : chunk;
            memcpy(mapped + offset, segment->data + done, copied);
        }
        memset(mapped + offset + copied, 0, chunk - copied);
        xenforeignmemory_unmap(domain->xen->memory, mapped, pages);
        done += chunk;
    }
    return 0;
}

static int place(struct lvm_domain *domain, const struct lvm_segment *segment)
{
    uint64_t end = segment->paddr + segment->memsz;
    bool on_boot_page = segment->paddr < BOOT_PADDR + LVM_PAGE_SIZE && end > BOOT_PADDR;
    if (end < segment->paddr || end > domain->low_bytes || segment->filesz > segment->memsz
        || on_boot_page) {
        return lvm_fail("place segment", -ERANGE);
    }
    if (end > domain->window_bytes) {
        return place_by_mapping(domain, segment);
    }
    memcpy(domain->window + segment->paddr, segment->data, segment->filesz);
    memset(domain->window + segment->paddr + segment->filesz, 0, segment->memsz - segment->filesz);
    return 0;
}

static void write_modules(struct lvm_domain *domain, const struct lvm_boot *boot)
{
    struct hvm_start_info *info = (void *)(boot_page(domain) + LVM_BOOT_START_INFO);
    struct hvm_modlist_entry *list = (void *)(boot_page(domain) + LVM_BOOT_MODULES);
    uint32_t n = 0;
    if (boot->announce_device_page) {
        list[n++] = (struct hvm_modlist_entry){.paddr = (uint64_t)LVM_DEVICE_GFN * LVM_PAGE_SIZE,
                                               .size = LVM_PAGE_SIZE};
    }
    for (uint32_t i = boot->nr_segments - boot->nr_modules; i < boot->nr_segments; i++) {
        list[n++] = (struct hvm_modlist_entry){.paddr = boot->segments[i].paddr,
                                               .size = boot->segments[i].filesz};
    }
    info->nr_modules = n;
}

static void copy(void *to, const void *from, uint64_t n)
{
    if (n) { /* memcpy wants pointers even for nothing */
        memcpy(to, from, n);
    }
}

/* What of the special pages is known only now. */
static void write_late_bound(struct lvm_domain *domain, const struct lvm_boot *boot)
{
    struct lvm_device_page *device = lvm_device_page(domain);
    copy(device->name, boot->name, boot->name_len);
    copy(lvm_special(domain, LVM_METADATA_GFN), boot->metadata, boot->metadata_len);
    device->metadata_size = (uint32_t)boot->metadata_len;
    for (uint32_t i = 0; i < boot->nr_vifs; i++) {
        lvm_vif_entry(domain, i)->config = boot->vifs[i];
    }
    for (uint32_t i = 0; i < boot->nr_vbds; i++) {
        lvm_vbd_entry(domain, i)->config = boot->vbds[i];
    }
    lvm_control_page(domain)->watched = boot->watched;
}

int lvm_load(struct lvm_domain *domain, const struct lvm_boot *boot)
{
    if (!domain->window) {
        return lvm_fail("load", -EINVAL);
    }
    if (boot->cmdline_len >= LVM_CMDLINE_SIZE) {
        return lvm_fail("command line", -E2BIG);
    }
    if (boot->nr_modules > boot->nr_segments || boot->nr_modules >= LVM_BOOT_MODULES_MAX) {
        return lvm_fail("modules", -E2BIG);
    }
    if (boot->name_len >= LVM_NAME_SIZE || boot->metadata_len > LVM_PAGE_SIZE) {
        return lvm_fail("name or metadata", -E2BIG);
    }
    if (boot->nr_vifs > domain->nr_vifs || boot->nr_vbds > domain->nr_vbds) {
        return lvm_fail("devices", -ENODEV);
    }
    if (boot->entry >= domain->low_bytes) {
        return lvm_fail("entry point", -ERANGE);
    }
    for (uint32_t i = 0; i < boot->nr_segments; i++) {
        int rc = place(domain, &boot->segments[i]);
        if (rc) {
            return rc;
        }
    }
    uint8_t *page = boot_page(domain);
    memcpy(page + LVM_BOOT_CMDLINE, boot->cmdline, boot->cmdline_len);
    page[LVM_BOOT_CMDLINE + boot->cmdline_len] = '\0';
    write_modules(domain, boot);
    uint32_t entry = (uint32_t)boot->entry;
    memcpy(page + LVM_BOOT_ENTRY, &entry, sizeof(entry));
    write_late_bound(domain, boot);
    domain->xen->moments.loaded = lvm_now();
    return 0;
}
