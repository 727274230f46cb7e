/*
 * What a guest that is not ours looks for beside its devices: its connection to xenstored, and ACPI tables, by which it
 * counts its processors. Sources: xen/include/public/hvm/params.h and grant_table.h; ACPI 5.0, chapter 5.2.
 */
#include "engine.h"

#include <errno.h>
#include <string.h>

#include <xen/xen.h>
#include <xen/grant_table.h>
#include <xen/memory.h>
#include <xen/arch-x86/hvm/start_info.h>

#define ACPI_HEADER_BYTES 36u
#define RSDP_BYTES 36u
#define RSDP_BYTES_1 20u /* of version 1, with a checksum of its own */
#define XSDT_BYTES (ACPI_HEADER_BYTES + 2u * 8u)
#define FADT_BYTES 268u
#define MADT_BYTES(vcpus) (ACPI_HEADER_BYTES + 8u + (vcpus) * 8u)

#define FADT_DSDT 40u
#define FADT_BOOT_ARCH 109u
#define FADT_FLAGS 112u
#define FADT_X_DSDT 140u
#define BOOT_NO_VGA (1u << 2)
#define BOOT_NO_RTC (1u << 5)
#define FLAG_WBINVD (1u << 0)
#define FLAG_C1 (1u << 2)
#define FLAG_NO_POWER_BUTTON (1u << 4)
#define FLAG_NO_SLEEP_BUTTON (1u << 5)
#define FLAG_HW_REDUCED (1u << 20) /* none of the registers of fixed ACPI hardware are there */

#define LAPIC_BASE 0xfee00000u
#define LAPIC_ENABLED 1u

/* Xen lets the connection be mapped by grant, so that xenstored needs no other right to the domain. */
static int grant_pages(struct lvm_domain *domain)
{
    void *table;
    xenforeignmemory_resource_handle *mapping = lvm_map_grants(domain, &table);
    if (!mapping) {
        return lvm_fail("map grant table", -errno);
    }
    lvm_grant(table, GNTTAB_RESERVED_CONSOLE, LVM_CONSOLE_GFN);
    lvm_grant(table, GNTTAB_RESERVED_XENSTORE, LVM_STORE_GFN);
    xenforeignmemory_unmap_resource(domain->xen->memory, mapping);
    return 0;
}

/* Make a page and fill it with what `page` has, or with zeros. */
static int make_page(struct lvm_domain *domain, uint64_t gfn, const uint8_t *page)
{
    int rc = lvm_populate(domain->xen, domain->domid, gfn, 1);
    if (rc) {
        return rc;
    }
    uint8_t *mapped = lvm_map(domain->xen, domain->domid, gfn, 1);
    if (!mapped) {
        return lvm_fail("map page", -errno);
    }
    if (page) {
        memcpy(mapped, page, LVM_PAGE_SIZE);
    } else {
        memset(mapped, 0, LVM_PAGE_SIZE);
    }
    xenforeignmemory_unmap(domain->xen->memory, mapped, 1);
    return 0;
}

int lvm_make_store(struct lvm_domain *domain)
{
    int rc = make_page(domain, LVM_STORE_GFN, NULL);
    if (!rc) {
        rc = grant_pages(domain);
    }
    return rc ? rc : lvm_alloc_port(domain->xen, domain->domid, &domain->store_port);
}

uint32_t lvm_store_port(const struct lvm_domain *domain) { return domain->store_port; }

/*
 * A boot loader asks Xen for the memory map, and keeps what it has taken for itself there for the kernel.
 * GRUB does (grub-core/kern/i386/xen/pvh.c).
 */
int lvm_tell_memory(struct lvm_domain *domain, uint64_t bytes)
{
    struct hvm_memmap_table_entry map[LVM_MEMMAP_MAX];
    uint32_t n = lvm_describe_memory(domain, bytes, map);
    struct abi_e820 *entries = xencall_alloc_buffer(domain->xen->call, sizeof(*entries) * n);
    if (!entries) {
        return lvm_fail("set_memory_map", -ENOMEM);
    }
    for (uint32_t i = 0; i < n; i++) {
        entries[i] =
            (struct abi_e820){.addr = map[i].addr, .size = map[i].size, .type = map[i].type};
    }
    struct xen_foreign_memory_map told = {.domid = (domid_t)domain->domid, .map.nr_entries = n};
    set_xen_guest_handle(told.map.buffer, entries);
    long rc = lvm_hypercall(domain->xen, __HYPERVISOR_memory_op, XENMEM_set_memory_map, &told,
                            sizeof(told));
    xencall_free_buffer(domain->xen->call, entries);
    return rc < 0 ? lvm_fail("set_memory_map", (int)rc) : 0;
}

static void put32(uint8_t *at, uint32_t value) { memcpy(at, &value, sizeof(value)); }

static void put64(uint8_t *at, uint64_t value) { memcpy(at, &value, sizeof(value)); }

static uint8_t checksum(const uint8_t *bytes, uint32_t n)
{
    uint8_t sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum = (uint8_t)(sum + bytes[i]);
    }
    return (uint8_t)-sum;
}

/* Write the header that all tables but the first have, once the rest is there. */
static void seal(uint8_t *table, const char *signature, uint8_t revision, uint32_t bytes)
{
    memcpy(table, signature, 4);
    put32(table + 4, bytes);
    table[8] = revision;
    memcpy(table + 10, "LVMXEN", 6);
    memcpy(table + 16, "LIGHTVM ", 8);
    put32(table + 24, 1);
    memcpy(table + 28, "LVM ", 4);
    put32(table + 32, 1);
    table[9] = 0;
    table[9] = checksum(table, bytes);
}

static void write_rsdp(uint8_t *rsdp, uint64_t xsdt)
{
    memcpy(rsdp, "RSD PTR ", 8);
    memcpy(rsdp + 9, "LVMXEN", 6);
    rsdp[15] = 2; /* revision */
    put32(rsdp + 20, RSDP_BYTES);
    put64(rsdp + 24, xsdt);
    rsdp[8] = checksum(rsdp, RSDP_BYTES_1);
    rsdp[32] = checksum(rsdp, RSDP_BYTES);
}

static void write_fadt(uint8_t *fadt, uint64_t dsdt)
{
    put32(fadt + FADT_DSDT, (uint32_t)dsdt);
    put64(fadt + FADT_X_DSDT, dsdt);
    fadt[FADT_BOOT_ARCH] = BOOT_NO_VGA | BOOT_NO_RTC;
    put32(fadt + FADT_FLAGS,
          FLAG_WBINVD | FLAG_C1 | FLAG_NO_POWER_BUTTON | FLAG_NO_SLEEP_BUTTON | FLAG_HW_REDUCED);
    seal(fadt, "FACP", 5, FADT_BYTES);
}

static void write_madt(uint8_t *madt, uint32_t vcpus)
{
    put32(madt + ACPI_HEADER_BYTES, LAPIC_BASE);
    for (uint32_t i = 0; i < vcpus; i++) {
        uint8_t *lapic = madt + MADT_BYTES(i);
        lapic[0] = 0; /* a processor's local APIC */
        lapic[1] = 8; /* bytes of this entry */
        lapic[2] = (uint8_t)i;
        lapic[3] = (uint8_t)(2 * i); /* as Xen numbers them */
        put32(lapic + 4, LAPIC_ENABLED);
    }
    seal(madt, "APIC", 4, MADT_BYTES(vcpus));
}

int lvm_make_acpi(struct lvm_domain *domain, uint32_t vcpus)
{
    uint8_t page[LVM_PAGE_SIZE] = {0};
    uint64_t base = (uint64_t)LVM_ACPI_GFN * LVM_PAGE_SIZE;
    /* Each at a multiple of 16; with 128 processors they end at 1,488. */
    const uint32_t xsdt = 48, dsdt = 112, fadt = 160, madt = 432;
    write_rsdp(page, base + xsdt);
    put64(page + xsdt + ACPI_HEADER_BYTES, base + fadt);
    put64(page + xsdt + ACPI_HEADER_BYTES + 8, base + madt);
    seal(page + xsdt, "XSDT", 1, XSDT_BYTES);
    seal(page + dsdt, "DSDT", 2, ACPI_HEADER_BYTES); /* no device has anything to say */
    write_fadt(page + fadt, base + dsdt);
    write_madt(page + madt, vcpus);
    return make_page(domain, LVM_ACPI_GFN, page);
}
