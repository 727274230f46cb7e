/* All who ask for what is on offer are served in one go; nobody else is read. */
#include "express.h"

/* A crowd of two, of whom the second is the one whose turn it is. */
struct gathering {
    struct scene scene;
    int others[2];
    uint8_t resting[64];
    const struct lvm_ticket *tickets[2];
    struct lvm_series series;
    struct lvm_crowd crowd;
};

static uint32_t serve_and_answer(struct lvm_crowd *crowd)
{
    uint32_t served = lvm_serve(crowd);
    lvm_answer_all(crowd);
    return served;
}

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
    CHECK(loads == 2 && unpauses == 2 && spun == 0);
    CHECK(hear(all.scene.ends[1]) < 0 && hear(all.others[1]) < 0);
    lvm_answer_all(&all.crowd);
    CHECK(spun == 77);
    CHECK(hear(all.scene.ends[1]) == answer && hear(all.others[1]) == answer);
    for (uint32_t i = 0; i < 2; i++) {
        const struct lvm_served *one = &all.crowd.served[i];
        CHECK(one->outcome.stage == LVM_ANSWERED && one->sent == answer && one->ticket == i);
        CHECK(memcmp(journal + (int)i * length, "{\"created\":", 11) == 0);
    }
    CHECK(all.crowd.served[0].outcome.heard >= all.crowd.served[1].outcome.running);
    CHECK(serve_and_answer(&all.crowd) == 0 && all.crowd.nr_ready == 0);
    part(&all);
}

static void of_a_crowd_only_who_is_at_rest_is_read(void)
{
    struct gathering all;
    gather(&all);
    all.resting[all.others[0]] = 0;
    all_say(&all);
    CHECK(serve_and_answer(&all.crowd) == 1 && all.crowd.served[0].client == all.crowd.client);
    all.crowd.nr_resting = (uint32_t)all.crowd.client; /* nor one who is not in the table */
    say(&all.scene, call, sizeof(call));
    CHECK(serve_and_answer(&all.crowd) == 0 && all.crowd.nr_ready == 2 && all.crowd.client_here);
    CHECK(hear(all.others[0]) == sizeof(call) && hear(all.scene.ends[0]) == sizeof(call));
    all.crowd.nr_resting = sizeof(all.resting);
    all.resting[all.others[0]] = 1;
    all.series.nr = 1; /* there is one ticket: who comes second is not read */
    all_say(&all);
    CHECK(serve_and_answer(&all.crowd) == 1);
    CHECK((hear(all.others[0]) == sizeof(call)) != (hear(all.scene.ends[0]) == sizeof(call)));
    part(&all);
}

static void of_a_crowd_none_is_begun_after_one_that_fails(void)
{
    struct gathering all;
    gather(&all);
    unpause_fails = -ESRCH;
    all_say(&all);
    CHECK(serve_and_answer(&all.crowd) == 1 && unpauses == 1);
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
    CHECK(serve_and_answer(&all.crowd) == 2 && spun == 0);
    CHECK(all.crowd.served[0].outcome.stage == LVM_RUNNING);
    CHECK(all.crowd.served[1].outcome.stage == LVM_RUNNING);
    CHECK(hear(all.scene.ends[1]) < 0 && hear(all.others[1]) < 0);
    late = 1; /* by the second look at it */
    spins = 0;
    say(&all.scene, call, sizeof(call));
    CHECK(serve_and_answer(&all.crowd) == 1 && spun == 0);
    CHECK(all.crowd.served[0].outcome.stage == LVM_ANSWERED);
    CHECK(hear(all.scene.ends[1]) == sizeof(reply) - 1);
    part(&all);
}

int main(void)
{
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    close(fd);
    RUN(a_crowd_is_served_at_once);
    RUN(of_a_crowd_only_who_is_at_rest_is_read);
    RUN(of_a_crowd_none_is_begun_after_one_that_fails);
    RUN(of_a_crowd_that_is_late_the_first_is_waited_for_and_all_are_looked_at_once_more);
    unlink(path);
    return 0;
}
