/* What prepare and load write into guest pages, and what they refuse. */
#include "harness.h"

#include "../src/pages.c"

#define RAM (2u << 20)
#define WINDOW (64u << 10)

static _Alignas(4096) uint8_t window[WINDOW];
static _Alignas(4096) uint8_t beyond[RAM]; /* the guest's RAM as seen by separate mappings */
static _Alignas(4096) uint8_t special[LVM_SPECIAL_PAGES * LVM_PAGE_SIZE];
static int maps, unmaps, map_fails;
static struct lvm_xen xen;

int lvm_fail(const char *step, int error)
{
    (void)step;
    return error;
}
void *lvm_map(struct lvm_xen *x, uint32_t domid, uint64_t gfn, size_t n)
{
    (void)x, (void)domid;
    if (map_fails) {
        errno = EFAULT;
        return NULL;
    }
    CHECK((gfn + n) * LVM_PAGE_SIZE <= RAM);
    maps++;
    return beyond + gfn * LVM_PAGE_SIZE;
}
int xenforeignmemory_unmap(xenforeignmemory_handle *fmem, void *addr, size_t pages)
{
    (void)fmem, (void)addr, (void)pages;
    unmaps++;
    return 0;
}

static const struct lvm_shape shape = {.memory_kib = RAM / 1024,
                                       .window_kib = WINDOW / 1024,
                                       .vcpus = 2,
                                       .uuid = "0123456789abcde"};

static void instruction_of_a_hypercall_is_that_of_the_processor(void)
{
    CHECK(hypercall_of("AuthenticAMD") == LVM_HYPERCALL_VMMCALL);
    CHECK(hypercall_of("HygonGenuine") == LVM_HYPERCALL_VMMCALL);
    CHECK(hypercall_of("GenuineIntel") == LVM_HYPERCALL_VMCALL);
    CHECK(hypercall_of("") == 0 && hypercall_of("GenuineIntelX") == 0);
}

static struct lvm_domain fresh(void)
{
    memset(window, 0xee, sizeof(window));
    memset(beyond, 0xee, sizeof(beyond));
    maps = unmaps = map_fails = 0;
    struct lvm_domain domain = {.xen = &xen,
                                .domid = 5,
                                .low_bytes = RAM,
                                .window = window,
                                .window_bytes = WINDOW,
                                .special = special,
                                .console_port = 1,
                                .control_port = 2,
                                .nr_vifs = 1,
                                .vif_ports = {3}};
    lvm_write_boot_page(&domain, &shape);
    lvm_write_special_pages(&domain, &shape);
    return domain;
}

static const struct hvm_start_info *start_info(void) { return (const void *)(window + BOOT_PADDR); }

static int load_one(struct lvm_domain *domain, uint64_t paddr, const char *data, uint64_t filesz,
                    uint64_t memsz)
{
    struct lvm_segment segment = {.paddr = paddr,
                                  .memsz = memsz,
                                  .filesz = filesz,
                                  .data = (const uint8_t *)data};
    struct lvm_boot boot = {.entry = 0x10000,
                            .nr_segments = 1,
                            .segments = &segment,
                            .cmdline = ""};
    return lvm_load(domain, &boot);
}

static void boot_page_has_start_info_memory_map_and_trampoline(void)
{
    struct lvm_domain domain = fresh();
    const struct hvm_start_info *info = start_info();
    CHECK(info->magic == XEN_HVM_START_MAGIC_VALUE && info->version == 1);
    const struct hvm_memmap_table_entry *map = (const void *)(window + info->memmap_paddr);
    CHECK(info->memmap_entries == 2);
    CHECK(map[0].addr == 0 && map[0].size == RAM && map[0].type == XEN_HVM_MEMMAP_TYPE_RAM);
    CHECK(map[1].addr == 0xff000000u && map[1].type == XEN_HVM_MEMMAP_TYPE_RESERVED);
    const uint8_t *code = window + BOOT_PADDR + LVM_BOOT_TRAMPOLINE;
    uint32_t slot;
    memcpy(&slot, code + 2, 4);
    CHECK(code[0] == 0xff && code[1] == 0x25 && slot == BOOT_PADDR + LVM_BOOT_ENTRY);
    (void)domain;
}

static void memory_above_the_hole_is_in_the_map(void)
{
    struct lvm_domain domain = fresh();
    struct lvm_shape large = shape;
    large.memory_kib = 6u << 20;
    domain.low_bytes = LVM_LOW_RAM_LIMIT;
    lvm_write_boot_page(&domain, &large);
    const struct hvm_memmap_table_entry *map = (const void *)(window + start_info()->memmap_paddr);
    CHECK(start_info()->memmap_entries == 3);
    CHECK(map[0].size == LVM_LOW_RAM_LIMIT && map[2].addr == LVM_HIGH_RAM_BASE);
    CHECK(map[0].size + map[2].size == 6ull << 30);
}

static void device_page_names_console_and_control(void)
{
    struct lvm_domain domain = fresh();
    const struct lvm_device_page *page = lvm_device_page(&domain);
    const struct lvm_device_entry *entries = (const void *)((uint8_t *)page + page->header_size);
    CHECK(page->magic == LVM_DEVICE_MAGIC && page->nr_entries == 3 && page->vcpus == 2);
    CHECK(memcmp(page->uuid, shape.uuid, 16) == 0);
    CHECK(entries[0].type == LVM_ENTRY_CONSOLE && entries[0].evtchn == 1);
    CHECK(entries[1].type == LVM_ENTRY_CONTROL && entries[1].gfn == LVM_CONTROL_GFN);
}

static void device_page_has_vifs_after_console_and_control(void)
{
    struct lvm_domain domain = fresh();
    const struct lvm_vif_entry *vif = lvm_vif_entry(&domain, 0);
    CHECK(vif->type == LVM_ENTRY_VIF && vif->index == 0 && vif->evtchn == 3);
    CHECK(vif->tx_gfn == LVM_RING_GFN && vif->rx_gfn == LVM_RING_GFN + 1);
    CHECK(vif->tx_ref == 8 && vif->rx_ref == 9);
    CHECK(lvm_device_page(&domain)->first_free_ref == 32);
    CHECK(lvm_device_page(&domain)->hypercall == hypercall_here());
}

static void load_writes_name_metadata_and_addresses(void)
{
    struct lvm_domain domain = fresh();
    struct lvm_vif_config vifs[2] = {{.mac = {2, 0, 0, 0, 0, 7}, .mtu = 1500, .ipv4_prefix = 24}};
    struct lvm_boot boot = {.entry = 0x10000,
                            .cmdline = "",
                            .name = "web",
                            .name_len = 3,
                            .metadata = (const uint8_t *)"data",
                            .metadata_len = 4,
                            .vifs = vifs,
                            .nr_vifs = 1};
    CHECK(lvm_load(&domain, &boot) == 0);
    const struct lvm_device_page *page = lvm_device_page(&domain);
    CHECK(strcmp((const char *)page->name, "web") == 0 && page->metadata_size == 4);
    CHECK(memcmp(lvm_special(&domain, page->metadata_gfn), "data", 4) == 0);
    CHECK(memcmp(&lvm_vif_entry(&domain, 0)->config, vifs, sizeof(*vifs)) == 0);
    boot.nr_vifs = 2;
    CHECK(lvm_load(&domain, &boot) == -ENODEV);
    boot.nr_vifs = 0;
    boot.metadata_len = LVM_PAGE_SIZE + 1;
    CHECK(lvm_load(&domain, &boot) == -E2BIG);
    boot.metadata_len = 0;
    boot.name_len = LVM_NAME_SIZE;
    CHECK(lvm_load(&domain, &boot) == -E2BIG);
}

static void segment_in_the_window_is_copied_and_its_rest_zeroed_without_mapping(void)
{
    struct lvm_domain domain = fresh();
    CHECK(load_one(&domain, 0x8000, "abc", 3, 8) == 0);
    CHECK(memcmp(window + 0x8000, "abc\0\0\0\0\0\xee", 9) == 0);
    CHECK(maps == 0);
}

static void segment_beyond_the_window_is_mapped_filled_and_unmapped(void)
{
    struct lvm_domain domain = fresh();
    CHECK(load_one(&domain, WINDOW + 10, "abc", 3, 5000) == 0);
    CHECK(memcmp(beyond + WINDOW + 10, "abc\0", 4) == 0);
    CHECK(beyond[WINDOW + 9] == 0xee && beyond[WINDOW + 10 + 4999] == 0
          && beyond[WINDOW + 10 + 5000] == 0xee);
    CHECK(maps == 1 && unmaps == 1);
}

static void mapping_goes_in_chunks(void)
{
    static uint8_t many[RAM - WINDOW];
    memset(many, 7, sizeof(many));
    struct lvm_domain domain = fresh();
    domain.low_bytes = RAM;
    CHECK(load_one(&domain, WINDOW, (const char *)many, sizeof(many), sizeof(many)) == 0);
    CHECK(memcmp(beyond + WINDOW, many, sizeof(many)) == 0);
    CHECK(maps == unmaps && maps >= 1);
}

static void mapping_that_fails_is_an_error(void)
{
    struct lvm_domain domain = fresh();
    map_fails = 1;
    CHECK(load_one(&domain, WINDOW, "abc", 3, 3) == -EFAULT);
}

static void segments_outside_ram_or_on_the_boot_page_are_refused(void)
{
    struct lvm_domain domain = fresh();
    CHECK(load_one(&domain, RAM - 2, "abc", 3, 3) == -ERANGE);
    CHECK(load_one(&domain, 0x1fff, "abc", 3, 3) == -ERANGE);
    CHECK(load_one(&domain, 0xffe, "abc", 3, 3) == -ERANGE);
    CHECK(load_one(&domain, 0xfffffffffffffffeull, "abc", 3, 3) == -ERANGE);
    CHECK(load_one(&domain, 0x8000, "abc", 3, 2) == -ERANGE);
    CHECK(load_one(&domain, 0x0, "abc", 3, 3) == 0);
    CHECK(load_one(&domain, 0x2000, "abc", 3, 3) == 0);
}

static void entry_outside_ram_is_refused(void)
{
    struct lvm_domain domain = fresh();
    struct lvm_boot boot = {.entry = RAM, .cmdline = ""};
    CHECK(lvm_load(&domain, &boot) == -ERANGE);
}

static void command_line_ends_in_nul_and_may_fill_its_place(void)
{
    static char longest[LVM_CMDLINE_SIZE];
    memset(longest, 'x', sizeof(longest));
    struct lvm_domain domain = fresh();
    struct lvm_boot boot = {.entry = 0x10000,
                            .cmdline = longest,
                            .cmdline_len = LVM_CMDLINE_SIZE - 1};
    CHECK(lvm_load(&domain, &boot) == 0);
    const char *there = (const char *)window + start_info()->cmdline_paddr;
    CHECK(strlen(there) == LVM_CMDLINE_SIZE - 1);
    boot.cmdline_len++;
    CHECK(lvm_load(&domain, &boot) == -E2BIG);
}

static void device_page_is_the_first_module_for_those_who_read_it(void)
{
    struct lvm_domain domain = fresh();
    struct lvm_segment segments[2] = {
        {.paddr = 0x8000, .memsz = 4, .filesz = 4, .data = (const uint8_t *)"kern"},
        {.paddr = 0x9000, .memsz = 3, .filesz = 3, .data = (const uint8_t *)"mod"}};
    struct lvm_boot boot = {.entry = 0x8000,
                            .nr_segments = 2,
                            .nr_modules = 1,
                            .segments = segments,
                            .cmdline = "",
                            .announce_device_page = 1};
    CHECK(lvm_load(&domain, &boot) == 0);
    const struct hvm_modlist_entry *list = (const void *)(window + start_info()->modlist_paddr);
    CHECK(start_info()->nr_modules == 2);
    CHECK(list[0].paddr == (uint64_t)LVM_DEVICE_GFN * LVM_PAGE_SIZE
          && list[0].size == LVM_PAGE_SIZE);
    CHECK(list[1].paddr == 0x9000 && list[1].size == 3);
    boot.announce_device_page = 0;
    CHECK(lvm_load(&domain, &boot) == 0);
    CHECK(start_info()->nr_modules == 1 && list[0].paddr == 0x9000);
    boot.nr_modules = 3;
    CHECK(lvm_load(&domain, &boot) == -E2BIG);
}

static void load_tells_the_guest_whether_it_is_watched(void)
{
    struct lvm_domain domain = fresh();
    struct lvm_boot boot = {.entry = 0x10000, .cmdline = "", .watched = 1};
    CHECK(lvm_load(&domain, &boot) == 0 && lvm_control_page(&domain)->watched == 1);
    boot.watched = 0;
    CHECK(lvm_load(&domain, &boot) == 0 && lvm_control_page(&domain)->watched == 0);
}

static void domain_without_a_window_cannot_be_loaded(void)
{
    struct lvm_domain domain = fresh();
    domain.window = NULL;
    CHECK(load_one(&domain, 0x8000, "abc", 3, 3) == -EINVAL);
}

int main(void)
{
    RUN(boot_page_has_start_info_memory_map_and_trampoline);
    RUN(memory_above_the_hole_is_in_the_map);
    RUN(instruction_of_a_hypercall_is_that_of_the_processor);
    RUN(device_page_names_console_and_control);
    RUN(device_page_has_vifs_after_console_and_control);
    RUN(load_writes_name_metadata_and_addresses);
    RUN(segment_in_the_window_is_copied_and_its_rest_zeroed_without_mapping);
    RUN(segment_beyond_the_window_is_mapped_filled_and_unmapped);
    RUN(mapping_goes_in_chunks);
    RUN(mapping_that_fails_is_an_error);
    RUN(segments_outside_ram_or_on_the_boot_page_are_refused);
    RUN(entry_outside_ram_is_refused);
    RUN(command_line_ends_in_nul_and_may_fill_its_place);
    RUN(device_page_is_the_first_module_for_those_who_read_it);
    RUN(domain_without_a_window_cannot_be_loaded);
    RUN(load_tells_the_guest_whether_it_is_watched);
    return 0;
}
