/*
 * Exercises its first disk as its command line says, and exits 0 where everything was as it should be.
 *
 *   verify          write a pattern all over the disk, flush, read it back, compare; prints the throughput
 *   check           read and compare only: what an earlier `verify` wrote must be there
 *   mib=N           of the first N MiB instead of the whole disk
 *   log             append numbered records for ever, each flushed before its number is printed: what was printed must
 *                   survive a power cut
 *   discard         discard the whole disk
 *   overwrite       try to write a disk that is read-only: it must fail, whichever way it is tried
 */
#include "lightvm.h"

#include <string.h>

#define SECTOR 512u
#define CHUNK_SECTORS 256u
#define MIB_SECTORS 2048u

static uint8_t chunk[CHUNK_SECTORS * SECTOR];

static void print_number(uint64_t value)
{
    char text[21];
    char *at = text + sizeof(text) - 1;
    *at = '\0';
    do {
        uint64_t rest = lightvm_divide(value, 10);
        *--at = (char)('0' + (uint32_t)(value - rest * 10));
        value = rest;
    } while (value);
    lightvm_print(at);
}

static int fail(const char *what, uint64_t sector)
{
    lightvm_print("disk: ");
    lightvm_print(what);
    lightvm_print(" at sector ");
    print_number(sector);
    lightvm_print("\n");
    return 1;
}

/* Every word differs from every other of the disk, so that nothing can be in a wrong place unseen. */
static void fill(uint64_t sector, uint32_t n)
{
    uint32_t *words = (uint32_t *)chunk;
    uint32_t base = (uint32_t)sector * (SECTOR / 4);
    for (uint32_t i = 0; i < n * SECTOR / 4; i++) {
        words[i] = (base + i) * 2654435761u;
    }
}

static int is_filled(uint64_t sector, uint32_t n)
{
    const uint32_t *words = (const uint32_t *)chunk;
    uint32_t base = (uint32_t)sector * (SECTOR / 4);
    for (uint32_t i = 0; i < n * SECTOR / 4; i++) {
        if (words[i] != (base + i) * 2654435761u) {
            return 0;
        }
    }
    return 1;
}

static uint32_t size_at(uint64_t sector, uint64_t end)
{
    return end - sector < CHUNK_SECTORS ? (uint32_t)(end - sector) : CHUNK_SECTORS;
}

static int write_all(struct lightvm_vbd *vbd, uint64_t end)
{
    for (uint64_t sector = 0; sector < end; sector += CHUNK_SECTORS) {
        fill(sector, size_at(sector, end));
        if (lightvm_vbd_write(vbd, sector, chunk, size_at(sector, end))) {
            return fail("write failed", sector);
        }
    }
    return lightvm_vbd_flush(vbd) ? fail("flush failed", end) : 0;
}

static int check_all(struct lightvm_vbd *vbd, uint64_t end)
{
    for (uint64_t sector = 0; sector < end; sector += CHUNK_SECTORS) {
        memset(chunk, 0, sizeof(chunk));
        if (lightvm_vbd_read(vbd, sector, chunk, size_at(sector, end))) {
            return fail("read failed", sector);
        }
        if (!is_filled(sector, size_at(sector, end))) {
            return fail("something else is there", sector);
        }
    }
    return 0;
}

static void report(const char *what, uint64_t sectors, uint64_t began)
{
    uint64_t ms = lightvm_divide(lightvm_now_ns() - began, 1000000);
    lightvm_print(what);
    lightvm_print(" ");
    print_number(lightvm_divide(sectors, 2));
    lightvm_print(" KiB in ");
    print_number(ms);
    lightvm_print(" ms\n");
}

static int verify(struct lightvm_vbd *vbd, uint64_t end, int writing)
{
    uint64_t began = lightvm_now_ns();
    if (writing) {
        if (write_all(vbd, end)) {
            return 1;
        }
        report("wrote", end, began);
        began = lightvm_now_ns();
    }
    if (check_all(vbd, end)) {
        return 1;
    }
    report("read", end, began);
    return 0;
}

/* Record `i` is sector `i`, which holds its number all over; it goes round when the disk is full. */
static int log_records(struct lightvm_vbd *vbd)
{
    uint64_t sectors = lightvm_vbd_config(vbd)->sectors;
    for (uint32_t record = 1;; record++) {
        lightvm_obey();
        lightvm_beat();
        for (uint32_t i = 0; i < SECTOR / 4; i++) {
            ((uint32_t *)chunk)[i] = record;
        }
        uint64_t sector = record % (uint32_t)sectors;
        if (lightvm_vbd_write(vbd, sector, chunk, 1) || lightvm_vbd_flush(vbd)) {
            return fail("record not written", sector);
        }
        lightvm_print("durable ");
        print_number(record);
        lightvm_print("\n");
    }
}

static int overwrite(struct lightvm_vbd *vbd)
{
    if (lightvm_vbd_write(vbd, 0, chunk, 1) != LIGHTVM_VBD_IS_READ_ONLY) {
        return fail("is not read-only", 0);
    }
    /* A guest of another mind would not look at the flag. */
    return lightvm_vbd_write_anyway(vbd, 0, chunk, 1) == 0 ? fail("could be written", 0) : 0;
}

int main(int argc, char **argv)
{
    (void)argc;
    struct lightvm_vbd *vbd = lightvm_vbd_open(0);
    if (!vbd) {
        lightvm_print("disk: no disk\n");
        return 1;
    }
    uint64_t end = lightvm_vbd_config(vbd)->sectors;
    const char *mib = lightvm_option(argv, "mib=");
    if (mib && (uint64_t)lightvm_number(mib) * MIB_SECTORS < end) {
        end = (uint64_t)lightvm_number(mib) * MIB_SECTORS;
    }
    lightvm_ready();
    if (lightvm_word(argv, "log")) {
        return log_records(vbd);
    }
    if (lightvm_word(argv, "overwrite")) {
        return overwrite(vbd);
    }
    if (lightvm_word(argv, "discard")) {
        return lightvm_vbd_discard(vbd, 0, end) ? fail("discard failed", 0) : 0;
    }
    return verify(vbd, end, !lightvm_word(argv, "check"));
}
