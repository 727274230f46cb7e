/* A call that is on offer is carried out between two system calls; its moments are written where they belong. */
#include "express.h"

static int attend_and_answer(struct lvm_desk *desk)
{
    int stage = lvm_attend(desk);
    return stage == LVM_RUNNING ? lvm_answer(desk) : stage;
}

static void a_create_that_is_on_offer_is_carried_out(void)
{
    struct scene scene;
    char answer[100];
    set(&scene);
    say(&scene, call, sizeof(call));
    CHECK(lvm_attend(&scene.desk) == LVM_RUNNING);
    CHECK(loads == 1 && unpauses == 1 && spun == 0);
    CHECK(read(scene.ends[1], answer, sizeof(answer)) < 0);
    CHECK(lvm_answer(&scene.desk) == LVM_ANSWERED && spun == 77 && !scene.desk.late);
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
    CHECK(attend_and_answer(&scene.desk) == LVM_NOBODY);
    say(&scene, "creat", sizeof("creat"));
    CHECK(attend_and_answer(&scene.desk) == LVM_SAID);
    CHECK(scene.desk.received == sizeof("creat"));
    say(&scene, call, strlen(call)); /* its end is still to come */
    CHECK(attend_and_answer(&scene.desk) == LVM_SAID);
    scene.ticket.size++;
    say(&scene, call, sizeof(call));
    CHECK(attend_and_answer(&scene.desk) == LVM_SAID);
    CHECK(loads == 0 && unpauses == 0 && !journal[0]);
    strike(&scene);
}

static void what_fails_is_spoilt(void)
{
    struct scene scene;
    set(&scene);
    load_fails = -EIO;
    say(&scene, call, sizeof(call));
    CHECK(attend_and_answer(&scene.desk) == LVM_SPOILT);
    CHECK(scene.desk.outcome.error == -EIO && scene.desk.outcome.journalled == 0 && unpauses == 0);
    load_fails = 0;
    unpause_fails = -ESRCH;
    say(&scene, call, sizeof(call));
    CHECK(attend_and_answer(&scene.desk) == LVM_SPOILT);
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
        CHECK(attend_and_answer(&scene.desk) == LVM_RUNNING);
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
    looks_good = ~1ULL;
    say(&scene, call, sizeof(call));
    CHECK(attend_and_answer(&scene.desk) == LVM_RUNNING); /* no event, so nobody looks again */
    spins = 0;
    CHECK(pipe(event) == 0);
    struct epoll_event readable = {.events = EPOLLIN, .data.fd = event[0]};
    CHECK(epoll_ctl(scene.desk.epoll, EPOLL_CTL_ADD, event[0], &readable) == 0);
    event_to_come = event[1];
    say(&scene, call, sizeof(call));
    CHECK(attend_and_answer(&scene.desk) == LVM_ANSWERED && scene.desk.late);
    CHECK(read(scene.ends[1], answer, sizeof(answer)) == (ssize_t)sizeof(reply) - 1);
    spins =
        0; /* an event that is there before is somebody else's: nobody waits for the guest then */
    say(&scene, call, sizeof(call));
    CHECK(attend_and_answer(&scene.desk) == LVM_RUNNING);
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
    CHECK(attend_and_answer(&scene.desk) == LVM_ANSWERED); /* it asked for it */
    CHECK(scene.desk.sent == -EPIPE);
    CHECK(attend_and_answer(&scene.desk) == LVM_SAID);
    CHECK(scene.desk.received <= 0);
    scene.ends[1] = dup(0);
    strike(&scene);
}

/* Say so many calls at once to a desk with so many tickets, and have the first answered; a client reads what it gets. */
static void ask_at_once(struct scene *scene, uint32_t tickets, int calls)
{
    char answer[300];
    scene->series.nr = tickets;
    say(scene, call, sizeof(call));
    CHECK(lvm_attend(&scene->desk) == LVM_RUNNING && scene->desk.ticket == 0);
    for (int i = 1; i < calls; i++) {
        say(scene, call, sizeof(call));
    }
    scene->desk.journal = journal + scene->desk.outcome.journalled;
    CHECK(lvm_answer(&scene->desk) == scene->desk.answered.stage);
    CHECK(quick == 0 || read(scene->ends[1], answer, sizeof(answer)) > 0);
}

static void whoever_is_answered_is_waited_for_again_while_there_are_tickets(void)
{
    struct scene scene;
    set(&scene);
    ask_at_once(&scene, 3, 2);
    CHECK(scene.desk.answered.stage == LVM_ANSWERED && scene.desk.next == LVM_RUNNING);
    CHECK(scene.desk.outcome.stage == LVM_RUNNING && scene.desk.ticket == 1 && unpauses == 2);
    CHECK(scene.desk.outcome.begun >= scene.desk.answered.heard);
    CHECK(memcmp(journal, record, 11) == 0);
    CHECK(memcmp(journal + sizeof(record) - 1, record, 11) == 0);
    scene.desk.journal = NULL; /* no room: that is all */
    CHECK(lvm_answer(&scene.desk) == LVM_ANSWERED && scene.desk.next == -1);
    strike(&scene);
    set(&scene);
    ask_at_once(&scene, 3, 1); /* it says nothing more */
    CHECK(scene.desk.answered.stage == LVM_ANSWERED && scene.desk.next == LVM_NOBODY);
    strike(&scene);
    set(&scene);
    ask_at_once(&scene, 1, 2); /* there is no other ticket */
    CHECK(scene.desk.answered.stage == LVM_ANSWERED && scene.desk.next == -1 && unpauses == 1);
    strike(&scene);
}

static void two_calls_have_one_line(void)
{
    struct scene scene;
    static const char synonym[] = "make";
    set(&scene);
    struct lvm_series both[2] = {scene.series, scene.series};
    both[1].call = (void *)synonym;
    both[1].size = strlen(synonym);
    both[0].nr = both[1].nr = 2;
    scene.desk.series = both;
    scene.desk.nr_series = 2;
    say(&scene, synonym, sizeof(synonym));
    CHECK(lvm_attend(&scene.desk) == LVM_RUNNING);
    CHECK(scene.desk.number == 1 && scene.desk.ticket == 0);
    say(&scene, call, sizeof(call));
    CHECK(lvm_answer(&scene.desk) == LVM_ANSWERED && scene.desk.next == LVM_RUNNING);
    CHECK(scene.desk.number == 0 && scene.desk.ticket == 1);
    CHECK(lvm_answer(&scene.desk) == LVM_ANSWERED && scene.desk.next == -1); /* none is left */
    struct lvm_ticket outdated = scene.ticket;
    outdated.size++;
    scene.tickets[1] = &outdated; /* the next of either call */
    say(&scene, call, sizeof(call));
    CHECK(lvm_attend(&scene.desk) == LVM_RUNNING);
    say(&scene, synonym, sizeof(synonym));
    CHECK(lvm_answer(&scene.desk) == LVM_ANSWERED && scene.desk.next == LVM_SAID);
    strike(&scene);
}

static void each_ticket_of_a_row_is_of_an_image_that_is_the_same_still(void)
{
    struct scene scene;
    set(&scene);
    struct lvm_ticket outdated = scene.ticket;
    outdated.size++;
    scene.tickets[1] = &outdated;
    ask_at_once(&scene, 2, 2);
    CHECK(scene.desk.answered.stage == LVM_ANSWERED && scene.desk.next == LVM_SAID);
    CHECK(scene.desk.received == sizeof(call) && unpauses == 1);
    strike(&scene);
}

static void nobody_is_waited_for_after_half_a_reply(void)
{
    struct scene scene;
    char waste[4096] = {0};
    int smallest = 1;
    set(&scene);
    CHECK(setsockopt(scene.ends[0], SOL_SOCKET, SO_SNDBUF, &smallest, sizeof(smallest)) == 0);
    say(&scene, call, sizeof(call));
    scene.series.nr = 2;
    CHECK(lvm_attend(&scene.desk) == LVM_RUNNING);
    while (write(scene.ends[0], waste, sizeof(waste)) > 0) {
    }
    say(&scene, call, sizeof(call));
    CHECK(lvm_answer(&scene.desk) == LVM_ANSWERED && scene.desk.sent == -EAGAIN);
    CHECK(scene.desk.next == -1 && unpauses == 1);
    strike(&scene);
}

static void a_call_is_taken_whoever_is_before_it(void)
{
    struct scene scene;
    int others[MOST_EVENTS][2];
    set(&scene);
    for (int i = 0; i < MOST_EVENTS; i++) {
        CHECK(pipe(others[i]) == 0 && write(others[i][1], "!", 1) == 1);
        struct epoll_event readable = {.events = EPOLLIN, .data.fd = others[i][0]};
        CHECK(epoll_ctl(scene.desk.epoll, EPOLL_CTL_ADD, others[i][0], &readable) == 0);
    }
    CHECK(lvm_attend(&scene.desk) == LVM_OTHERS && !scene.desk.alone);
    say(&scene, call, sizeof(call));
    CHECK(lvm_attend(&scene.desk) == LVM_RUNNING && !scene.desk.alone);
    for (int i = 0; i < MOST_EVENTS; i++) {
        close(others[i][0]);
        close(others[i][1]);
    }
    strike(&scene);
}

static void nobody_is_waited_for_who_is_not_alone_or_was_late(void)
{
    struct scene scene;
    int event[2];
    set(&scene);
    quick = 0; /* the guest is not ready */
    ask_at_once(&scene, 3, 2);
    CHECK(scene.desk.answered.stage == LVM_RUNNING && scene.desk.next == -1 && unpauses == 1);
    strike(&scene);
    set(&scene);
    quick = 0; /* it is ready, but late: the next call is what wakes up whoever waits for it */
    looks_good = ~1ULL;
    ask_at_once(&scene, 3, 2);
    CHECK(scene.desk.answered.stage == LVM_ANSWERED && scene.desk.late);
    CHECK(scene.desk.next == -1 && unpauses == 1);
    strike(&scene);
    set(&scene);
    CHECK(pipe(event) == 0 && write(event[1], "!", 1) == 1);
    struct epoll_event readable = {.events = EPOLLIN, .data.fd = event[0]};
    CHECK(epoll_ctl(scene.desk.epoll, EPOLL_CTL_ADD, event[0], &readable) == 0);
    ask_at_once(&scene, 3, 2);
    CHECK(scene.desk.answered.stage == LVM_ANSWERED && scene.desk.next == -1);
    strike(&scene);
    set(&scene); /* others who come later are not looked for where its next call is there */
    say(&scene, call, sizeof(call));
    scene.series.nr = 3;
    CHECK(lvm_attend(&scene.desk) == LVM_RUNNING && scene.desk.alone);
    CHECK(epoll_ctl(scene.desk.epoll, EPOLL_CTL_ADD, event[0], &readable) == 0);
    say(&scene, call, sizeof(call));
    CHECK(lvm_answer(&scene.desk) == LVM_ANSWERED && scene.desk.next == LVM_RUNNING);
    CHECK(lvm_answer(&scene.desk) == LVM_ANSWERED && scene.desk.next == LVM_OTHERS);
    close(event[0]);
    close(event[1]);
    strike(&scene);
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
    RUN(whoever_is_answered_is_waited_for_again_while_there_are_tickets);
    RUN(two_calls_have_one_line);
    RUN(each_ticket_of_a_row_is_of_an_image_that_is_the_same_still);
    RUN(nobody_is_waited_for_after_half_a_reply);
    RUN(a_call_is_taken_whoever_is_before_it);
    RUN(nobody_is_waited_for_who_is_not_alone_or_was_late);
    RUN(digits_fill_their_place);
    unlink(path);
    return 0;
}
