/* All who ask for what is on offer are served in one go; nobody else is read. */
#include "express.h"

/* A crowd of two. */
struct gathering {
    struct scene scene;
    int others[2];
    uint8_t resting[64];
    const struct lvm_ticket *tickets[LVM_CROWD_MAX];
    struct lvm_series series;
    struct lvm_crowd crowd;
};

static uint32_t serve_and_answer(struct lvm_crowd *crowd)
{
    uint32_t served = lvm_serve(crowd);
    lvm_answer_all(crowd);
    return served;
}

static void join(struct gathering *all, int ends[2])
{
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = ends[0]};
    CHECK(epoll_ctl(all->scene.desk.epoll, EPOLL_CTL_ADD, ends[0], &event) == 0);
    CHECK(ends[0] < 64);
    all->resting[ends[0]] = 1;
}

static void gather(struct gathering *all)
{
    set(&all->scene);
    memset(all->resting, 0, sizeof(all->resting));
    join(all, all->others);
    CHECK(all->scene.ends[0] < 64);
    all->resting[all->scene.ends[0]] = 1;
    for (uint32_t i = 0; i < LVM_CROWD_MAX; i++) {
        all->tickets[i] = &all->scene.ticket;
    }
    all->series = (struct lvm_series){.call = (void *)call,
                                      .size = strlen(call),
                                      .tickets = all->tickets,
                                      .nr = LVM_CROWD_MAX};
    all->crowd = (struct lvm_crowd){.epoll = all->scene.desk.epoll,
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
    CHECK(lvm_serve(&all.crowd) == 2);
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
    CHECK(serve_and_answer(&all.crowd) == 0);
    part(&all);
}

static void of_a_crowd_only_who_is_at_rest_is_read(void)
{
    struct gathering all;
    gather(&all);
    all.resting[all.others[0]] = 0;
    all_say(&all);
    CHECK(serve_and_answer(&all.crowd) == 1 && all.crowd.served[0].client == all.scene.ends[0]);
    all.crowd.nr_resting = (uint32_t)all.scene.ends[0]; /* nor one who is not in the table */
    say(&all.scene, call, sizeof(call));
    CHECK(serve_and_answer(&all.crowd) == 0);
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

/* Return how many of two are answered who are ready after so many looks; there were `spins` then. */
static uint32_t answered_after(struct gathering *all, uint32_t spin_us, int looks)
{
    quick = spins = 0;
    looks_good = ~0ULL << looks;
    all->crowd.spin_us = spin_us;
    all_say(all);
    CHECK(serve_and_answer(&all->crowd) == 2 && spun == 0);
    uint32_t answered = 0;
    for (uint32_t i = 0; i < 2; i++) {
        answered += all->crowd.served[i].outcome.stage == LVM_ANSWERED;
    }
    CHECK(answered == (hear(all->scene.ends[1]) > 0) + (uint32_t)(hear(all->others[1]) > 0));
    return answered;
}

static void a_crowd_that_is_late_has_as_many_moments_more_as_there_are_guests(void)
{
    struct gathering all;
    gather(&all);
    CHECK(answered_after(&all, 77, 4) == 2 && spins == 6);
    CHECK(answered_after(&all, 77, 3) == 2 && spins == 5); /* one of them a moment later */
    CHECK(answered_after(&all, 77, 5) == 1 && spins == 6);
    CHECK(answered_after(&all, 77, 6) == 0 && spins == 6);
    part(&all);
}

static void it_has_fewer_where_fewer_are_late(void)
{
    struct gathering all;
    int third[2];
    gather(&all);
    join(&all, third);
    CHECK(write(third[1], call, sizeof(call)) == sizeof(call));
    quick = spins = 0;
    looks_good = 3 << 3; /* two are, after a moment: the third has one more, not two */
    say(&all.scene, call, sizeof(call));
    CHECK(write(all.others[1], call, sizeof(call)) == sizeof(call));
    CHECK(serve_and_answer(&all.crowd) == 3 && spins == 3 + 3 + 1);
    close(third[0]);
    close(third[1]);
    part(&all);
}

static void however_many_are_late_they_have_no_more_than_so_many_moments(void)
{
    enum { OTHERS = MOST_MOMENTS + 1 };
    struct gathering all;
    int others[OTHERS][2];
    gather(&all);
    quick = spins = 0;
    for (int i = 0; i < OTHERS; i++) {
        join(&all, others[i]);
        CHECK(write(others[i][1], call, sizeof(call)) == sizeof(call));
    }
    CHECK(serve_and_answer(&all.crowd) == OTHERS && spins == OTHERS * (1 + MOST_MOMENTS));
    for (int i = 0; i < OTHERS; i++) {
        close(others[i][0]);
        close(others[i][1]);
    }
    part(&all);
}

static void a_moment_lasts_as_long_as_one_is_looked_at(void)
{
    struct gathering all;
    gather(&all);
    int64_t begun = lvm_now();
    CHECK(answered_after(&all, 5000, 4) == 2);
    CHECK(lvm_now() - begun >= 2 * 5000 * MICROSECOND);
    part(&all);
}

static void a_crowd_that_is_not_waited_for_is_looked_at_once_more(void)
{
    struct gathering all;
    gather(&all);
    CHECK(answered_after(&all, 0, 2) == 2 && spins == 4);
    CHECK(answered_after(&all, 0, 4) == 0 && spins == 4);
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
    RUN(a_crowd_that_is_late_has_as_many_moments_more_as_there_are_guests);
    RUN(it_has_fewer_where_fewer_are_late);
    RUN(however_many_are_late_they_have_no_more_than_so_many_moments);
    RUN(a_moment_lasts_as_long_as_one_is_looked_at);
    RUN(a_crowd_that_is_not_waited_for_is_looked_at_once_more);
    unlink(path);
    return 0;
}
