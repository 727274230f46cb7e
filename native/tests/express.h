/* Clients, and a ticket for what they ask for, over guests that do what a test says. For test_express.c, test_crowd.c and test_batch.c. */
#include "harness.h"

#include <unistd.h>

#include "../src/express.c"

static int loads, unpauses, load_fails, unpause_fails, quick = 1, event_to_come = -1;
static int spins;           /* so many looks there were */
static uint64_t looks_good; /* what those find that are not quick, from the lowest bit on */
static int events_fd = -1;  /* as poll has it: nobody */
static uint32_t spun;
static struct lvm_xen xen;

int lvm_load(struct lvm_domain *domain, const struct lvm_boot *boot)
{
    CHECK(boot->watched);
    loads++;
    domain->xen->moments.loaded = lvm_now();
    return load_fails;
}
int lvm_unpause(struct lvm_domain *domain)
{
    unpauses++;
    domain->xen->moments.asked = lvm_now();
    domain->xen->moments.running = lvm_now();
    return unpause_fails;
}
int lvm_control_spin(struct lvm_domain *domain, uint32_t microseconds)
{
    spun = microseconds;
    if (event_to_come >= 0) {
        CHECK(write(event_to_come, "!", 1) == 1);
        event_to_come = -1;
    }
    int said = quick || (spins < 64 && looks_good >> spins & 1);
    spins++;
    lvm_control_page(domain)->ready = said ? (uint32_t)(quick ? quick : 1) : 0;
    domain->xen->moments.heard = lvm_now();
    return said;
}

int lvm_events_fd(const struct lvm_xen *of)
{
    CHECK(of == &xen);
    return events_fd;
}

static _Alignas(4096) uint8_t special[LVM_SPECIAL_PAGES * LVM_PAGE_SIZE];
static char path[] = "/tmp/lvm-express-XXXXXX"; /* for mkstemp; removed at the end */
static uint8_t record[] = "{\"created\":..........0.123456}\n";
static uint8_t reply[] = "{\"created\":1111111111.111111,\"total_us\":1111111111}";
static const char call[] = "create";
static uint8_t heard[64], journal[512];

struct scene {
    int ends[2];
    struct lvm_domain domain;
    struct lvm_ticket ticket;
    const struct lvm_ticket *tickets[3];
    struct lvm_series series;
    struct lvm_desk desk;
};

static void set(struct scene *scene)
{
    struct stat status;
    spun = 0;
    loads = unpauses = load_fails = unpause_fails = 0;
    quick = 1;
    looks_good = 0;
    spins = 0;
    memset(special, 0, sizeof(special));
    memset(journal, 0, sizeof(journal));
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, scene->ends) == 0);
    CHECK(stat(path, &status) == 0);
    scene->domain = (struct lvm_domain){.xen = &xen, .special = special};
    scene->ticket = (struct lvm_ticket){
        .domain = &scene->domain,
        .boot.watched = 1,
        .path = path,
        .device = status.st_dev,
        .inode = status.st_ino,
        .size = status.st_size,
        .modified_ns = status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec,
        .record = {.data = record, .size = sizeof(record) - 1, .created = 11},
        .reply = {.data = reply, .size = sizeof(reply) - 1, .created = 11, .total_us = 40},
    };
    scene->tickets[0] = scene->tickets[1] = scene->tickets[2] = &scene->ticket;
    scene->series = (struct lvm_series){.call = (void *)call,
                                        .size = strlen(call),
                                        .tickets = scene->tickets,
                                        .nr = 1};
    scene->desk = (struct lvm_desk){.epoll = epoll_create1(0),
                                    .client = scene->ends[0],
                                    .spin_us = 77,
                                    .offset_ns = 1700000000LL * 1000000000 - lvm_now(),
                                    .journal = journal,
                                    .buffer = heard,
                                    .buffer_size = sizeof(heard),
                                    .nr_series = 1,
                                    .series = &scene->series};
    struct epoll_event event = {.events = EPOLLIN, .data.fd = scene->ends[0]};
    CHECK(epoll_ctl(scene->desk.epoll, EPOLL_CTL_ADD, scene->ends[0], &event) == 0);
}

static void strike(struct scene *scene)
{
    close(scene->ends[0]);
    close(scene->ends[1]);
    close(scene->desk.epoll);
}

static inline void say(struct scene *scene, const char *words, size_t n)
{
    CHECK(write(scene->ends[1], words, n) == (ssize_t)n);
}
