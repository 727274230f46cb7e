/* A call that is on offer is carried out between two system calls; its moments are written where they belong. */
#include "harness.h"

#include <unistd.h>

#include "../src/express.c"

static int loads, unpauses, load_fails, unpause_fails, quick = 1, late, spins, event_to_come = -1;
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
    int said = quick || (late && spins++ % 2);
    lvm_control_page(domain)->ready = (uint32_t)(said ? quick | late : 0);
    domain->xen->moments.heard = lvm_now();
    return said;
}

static _Alignas(4096) uint8_t special[LVM_SPECIAL_PAGES * LVM_PAGE_SIZE];
static char path[] = "/tmp/lvm-express-XXXXXX"; /* for mkstemp; removed at the end */
static uint8_t record[] = "{\"created\":..........0.123456}\n";
static uint8_t reply[] = "{\"created\":1111111111.111111,\"total_us\":1111111111}";
static const char call[] = "create";
static uint8_t heard[64], journal[128];

struct scene {
    int ends[2];
    struct lvm_domain domain;
    struct lvm_ticket ticket;
    struct lvm_offer offer;
    struct lvm_desk desk;
};

static void set(struct scene *scene)
{
    struct stat status;
    loads = unpauses = load_fails = unpause_fails = 0;
    quick = 1;
    late = spins = 0;
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
    scene->offer =
        (struct lvm_offer){.call = (void *)call, .size = strlen(call), .ticket = &scene->ticket};
    scene->desk = (struct lvm_desk){.epoll = epoll_create1(0),
                                    .client = scene->ends[0],
                                    .spin_us = 77,
                                    .offset_ns = 1700000000LL * 1000000000 - lvm_now(),
                                    .journal = journal,
                                    .buffer = heard,
                                    .buffer_size = sizeof(heard),
                                    .nr_offers = 1,
                                    .offers = &scene->offer};
    struct epoll_event event = {.events = EPOLLIN, .data.fd = scene->ends[0]};
    CHECK(epoll_ctl(scene->desk.epoll, EPOLL_CTL_ADD, scene->ends[0], &event) == 0);
}

static void strike(struct scene *scene)
{
    close(scene->ends[0]);
    close(scene->ends[1]);
    close(scene->desk.epoll);
}

static void say(struct scene *scene, const char *words, size_t n)
{
    CHECK(write(scene->ends[1], words, n) == (ssize_t)n);
}

static void a_create_that_is_on_offer_is_carried_out(void)
{
    struct scene scene;
    char answer[100];
    set(&scene);
    say(&scene, call, sizeof(call));
    CHECK(lvm_attend(&scene.desk) == LVM_ANSWERED);
    CHECK(loads == 1 && unpauses == 1 && spun == 77);
    CHECK(scene.desk.sent == (int)sizeof(reply) - 1);
    CHECK(read(scene.ends[1], answer, sizeof(answer)) == (ssize_t)sizeof(reply) - 1);
    CHECK(memcmp(answer, "{\"created\":1700000000.0", 23) == 0);
    CHECK(memcmp(answer + 28, ",\"total_us\":         ", 21) == 0);
    CHECK(scene.desk.outcome.journalled == sizeof(record) - 1);
    CHECK(memcmp(journal, "{\"created\":1700000000.0", 23) == 0);
    CHECK(memcmp(journal + 11, answer + 11, 17) == 0);
    strike(&scene);
}

static void nothing_happens_to_what_nobody_asks_for(void)
{
    struct scene scene;
    set(&scene);
    CHECK(lvm_attend(&scene.desk) == LVM_NOBODY);
    say(&scene, "creat", sizeof("creat"));
    CHECK(lvm_attend(&scene.desk) == LVM_SAID);
    CHECK(scene.desk.received == sizeof("creat"));
    say(&scene, call, strlen(call)); /* its end is still to come */
    CHECK(lvm_attend(&scene.desk) == LVM_SAID);
    scene.ticket.size++;
    say(&scene, call, sizeof(call));
    CHECK(lvm_attend(&scene.desk) == LVM_SAID);
    CHECK(loads == 0 && unpauses == 0 && !journal[0]);
    strike(&scene);
}

static void what_fails_is_spoilt(void)
{
    struct scene scene;
    set(&scene);
    load_fails = -EIO;
    say(&scene, call, sizeof(call));
    CHECK(lvm_attend(&scene.desk) == LVM_SPOILT);
    CHECK(scene.desk.outcome.error == -EIO && scene.desk.outcome.journalled == 0 && unpauses == 0);
    load_fails = 0;
    unpause_fails = -ESRCH;
    say(&scene, call, sizeof(call));
    CHECK(lvm_attend(&scene.desk) == LVM_SPOILT);
    CHECK(scene.desk.outcome.error == -ESRCH
          && scene.desk.outcome.journalled == sizeof(record) - 1);
    strike(&scene);
}

static void only_a_guest_that_says_so_is_ready(void)
{
    struct scene scene;
    char answer[8];
    set(&scene);
    for (quick = 0; quick <= 2; quick += 2) {
        say(&scene, call, sizeof(call));
        CHECK(lvm_attend(&scene.desk) == LVM_RUNNING);
        CHECK(read(scene.ends[1], answer, sizeof(answer)) < 0);
    }
    strike(&scene);
}

static void a_guest_that_is_late_is_heard_through_its_event(void)
{
    struct scene scene;
    char answer[100];
    int event[2];
    set(&scene);
    quick = 0;
    late = 1;
    say(&scene, call, sizeof(call));
    CHECK(lvm_attend(&scene.desk) == LVM_RUNNING); /* no event, so nobody looks again */
    spins = 0;
    CHECK(pipe(event) == 0);
    struct epoll_event readable = {.events = EPOLLIN, .data.fd = event[0]};
    CHECK(epoll_ctl(scene.desk.epoll, EPOLL_CTL_ADD, event[0], &readable) == 0);
    event_to_come = event[1];
    say(&scene, call, sizeof(call));
    CHECK(lvm_attend(&scene.desk) == LVM_ANSWERED);
    CHECK(read(scene.ends[1], answer, sizeof(answer)) == (ssize_t)sizeof(reply) - 1);
    spins =
        0; /* an event that is there before is somebody else's: nobody waits for the guest then */
    say(&scene, call, sizeof(call));
    CHECK(lvm_attend(&scene.desk) == LVM_RUNNING);
    close(event[0]);
    close(event[1]);
    strike(&scene);
}

static void who_has_gone_is_told_from_who_has_something(void)
{
    struct scene scene;
    set(&scene);
    say(&scene, call, sizeof(call));
    close(scene.ends[1]);
    CHECK(lvm_attend(&scene.desk) == LVM_ANSWERED); /* it asked for it */
    CHECK(scene.desk.sent == -EPIPE);
    CHECK(lvm_attend(&scene.desk) == LVM_SAID);
    CHECK(scene.desk.received <= 0);
    scene.ends[1] = dup(0);
    strike(&scene);
}

static void several_are_carried_out_up_to_the_first_that_fails(void)
{
    struct scene scene;
    set(&scene);
    const struct lvm_ticket *tickets[] = {&scene.ticket, &scene.ticket};
    struct lvm_outcome outcomes[2];
    struct lvm_batch batch = {
        .journal = journal, .spin_us = 77, .nr = 2, .tickets = tickets, .outcomes = outcomes};
    const uint32_t length = sizeof(record) - 1;
    CHECK(lvm_carry_out(&batch) == 2);
    CHECK(loads == 2 && unpauses == 2);
    for (uint32_t i = 0; i < 2; i++) {
        CHECK(outcomes[i].stage == LVM_ANSWERED && outcomes[i].journalled == length);
        CHECK(memcmp(journal + i * length, "{\"created\":", 11) == 0);
    }
    CHECK(outcomes[1].begun >= outcomes[0].running && outcomes[0].heard >= outcomes[1].running);
    quick = 0;
    CHECK(lvm_carry_out(&batch) == 2);
    CHECK(outcomes[0].stage == LVM_RUNNING && outcomes[1].stage == LVM_RUNNING);
    CHECK(spun == 0); /* the first was waited for */
    unpause_fails = -ESRCH;
    CHECK(lvm_carry_out(&batch) == 1);
    CHECK(outcomes[0].stage == LVM_SPOILT && outcomes[0].journalled == length);
    load_fails = -EIO;
    CHECK(lvm_carry_out(&batch) == 1);
    CHECK(outcomes[0].error == -EIO && outcomes[0].journalled == 0);
    scene.ticket.size++;
    CHECK(lvm_carry_out(&batch) == 0);
    batch.nr = 0;
    CHECK(lvm_carry_out(&batch) == 0);
    strike(&scene);
}

/* A crowd of two, of whom the second is the one whose turn it is. */
struct gathering {
    struct scene scene;
    int others[2];
    uint8_t resting[64];
    const struct lvm_ticket *tickets[2];
    struct lvm_series series;
    struct lvm_crowd crowd;
};

static void gather(struct gathering *all)
{
    set(&all->scene);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, all->others) == 0);
    int epoll = all->scene.desk.epoll;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = all->others[0]};
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, all->others[0], &event) == 0);
    memset(all->resting, 0, sizeof(all->resting));
    CHECK(all->others[0] < 64 && all->scene.ends[0] < 64);
    all->resting[all->others[0]] = all->resting[all->scene.ends[0]] = 1;
    all->tickets[0] = all->tickets[1] = &all->scene.ticket;
    all->series = (struct lvm_series){.call = (void *)call,
                                      .size = strlen(call),
                                      .tickets = all->tickets,
                                      .nr = 2};
    all->crowd = (struct lvm_crowd){.epoll = epoll,
                                    .client = all->scene.ends[0],
                                    .spin_us = 77,
                                    .offset_ns = all->scene.desk.offset_ns,
                                    .journal = journal,
                                    .buffer = heard,
                                    .buffer_size = sizeof(heard),
                                    .resting = all->resting,
                                    .nr_resting = sizeof(all->resting),
                                    .series = &all->series,
                                    .nr_series = 1};
}

static void part(struct gathering *all)
{
    close(all->others[0]);
    close(all->others[1]);
    strike(&all->scene);
}

static void all_say(struct gathering *all)
{
    say(&all->scene, call, sizeof(call));
    CHECK(write(all->others[1], call, sizeof(call)) == sizeof(call));
}

static int hear(int fd)
{
    char answer[100];
    return (int)read(fd, answer, sizeof(answer));
}

static void a_crowd_is_served_at_once(void)
{
    struct gathering all;
    const int length = sizeof(record) - 1, answer = sizeof(reply) - 1;
    gather(&all);
    all_say(&all);
    CHECK(lvm_serve(&all.crowd) == 2 && all.crowd.nr_ready == 2 && !all.crowd.client_here);
    CHECK(loads == 2 && unpauses == 2 && spun == 77);
    CHECK(hear(all.scene.ends[1]) == answer && hear(all.others[1]) == answer);
    for (uint32_t i = 0; i < 2; i++) {
        const struct lvm_served *one = &all.crowd.served[i];
        CHECK(one->outcome.stage == LVM_ANSWERED && one->sent == answer && one->ticket == i);
        CHECK(memcmp(journal + (int)i * length, "{\"created\":", 11) == 0);
    }
    CHECK(all.crowd.served[0].outcome.heard >= all.crowd.served[1].outcome.running);
    CHECK(lvm_serve(&all.crowd) == 0 && all.crowd.nr_ready == 0);
    part(&all);
}

static void of_a_crowd_only_who_is_at_rest_is_read(void)
{
    struct gathering all;
    gather(&all);
    all.resting[all.others[0]] = 0;
    all_say(&all);
    CHECK(lvm_serve(&all.crowd) == 1 && all.crowd.served[0].client == all.crowd.client);
    all.crowd.nr_resting = (uint32_t)all.crowd.client; /* nor one who is not in the table */
    say(&all.scene, call, sizeof(call));
    CHECK(lvm_serve(&all.crowd) == 0 && all.crowd.nr_ready == 2 && all.crowd.client_here);
    CHECK(hear(all.others[0]) == sizeof(call) && hear(all.scene.ends[0]) == sizeof(call));
    all.crowd.nr_resting = sizeof(all.resting);
    all.resting[all.others[0]] = 1;
    all.series.nr = 1; /* there is one ticket: who comes second is not read */
    all_say(&all);
    CHECK(lvm_serve(&all.crowd) == 1);
    CHECK((hear(all.others[0]) == sizeof(call)) != (hear(all.scene.ends[0]) == sizeof(call)));
    part(&all);
}

static void of_a_crowd_none_is_begun_after_one_that_fails(void)
{
    struct gathering all;
    gather(&all);
    unpause_fails = -ESRCH;
    all_say(&all);
    CHECK(lvm_serve(&all.crowd) == 1 && unpauses == 1);
    CHECK(all.crowd.served[0].outcome.stage == LVM_SPOILT);
    CHECK(all.crowd.served[0].outcome.journalled == sizeof(record) - 1);
    unpause_fails = 0;
    part(&all);
}

static void of_a_crowd_that_is_late_the_first_is_waited_for_and_all_are_looked_at_once_more(void)
{
    struct gathering all;
    gather(&all);
    quick = 0;
    all_say(&all);
    CHECK(lvm_serve(&all.crowd) == 2 && spun == 0);
    CHECK(all.crowd.served[0].outcome.stage == LVM_RUNNING);
    CHECK(all.crowd.served[1].outcome.stage == LVM_RUNNING);
    CHECK(hear(all.scene.ends[1]) < 0 && hear(all.others[1]) < 0);
    late = 1; /* by the second look at it */
    spins = 0;
    say(&all.scene, call, sizeof(call));
    CHECK(lvm_serve(&all.crowd) == 1 && spun == 0);
    CHECK(all.crowd.served[0].outcome.stage == LVM_ANSWERED);
    CHECK(hear(all.scene.ends[1]) == sizeof(reply) - 1);
    part(&all);
}

static void digits_fill_their_place(void)
{
    uint8_t text[6] = "xxxxx";
    write_digits(text, 5, 0, true);
    CHECK(memcmp(text, "    0", 5) == 0);
    write_digits(text, 5, 42, true);
    CHECK(memcmp(text, "   42", 5) == 0);
    write_digits(text, 5, 10203, true);
    CHECK(memcmp(text, "10203", 5) == 0);
    write_digits(text, 5, 42, false);
    CHECK(memcmp(text, "00042", 5) == 0);
}

int main(void)
{
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    close(fd);
    RUN(a_create_that_is_on_offer_is_carried_out);
    RUN(nothing_happens_to_what_nobody_asks_for);
    RUN(what_fails_is_spoilt);
    RUN(only_a_guest_that_says_so_is_ready);
    RUN(a_guest_that_is_late_is_heard_through_its_event);
    RUN(who_has_gone_is_told_from_who_has_something);
    RUN(several_are_carried_out_up_to_the_first_that_fails);
    RUN(a_crowd_is_served_at_once);
    RUN(of_a_crowd_only_who_is_at_rest_is_read);
    RUN(of_a_crowd_none_is_begun_after_one_that_fails);
    RUN(of_a_crowd_that_is_late_the_first_is_waited_for_and_all_are_looked_at_once_more);
    RUN(digits_fill_their_place);
    unlink(path);
    return 0;
}
