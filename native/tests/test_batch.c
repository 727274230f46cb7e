/* Several creates for one who wants them all: begun one after the other, looked at together. */
#include "express.h"

/* Returns how many are ready; `begun` says how many were begun. */
static uint32_t carry_out(struct lvm_batch *batch)
{
    lvm_begin_batch(batch);
    return lvm_end_batch(batch);
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
    CHECK(lvm_begin_batch(&batch) == 2 && loads == 2 && unpauses == 2 && spun == 0);
    CHECK(outcomes[0].stage == LVM_RUNNING && outcomes[1].stage == LVM_RUNNING);
    CHECK(lvm_end_batch(&batch) == 2);
    for (uint32_t i = 0; i < 2; i++) {
        CHECK(outcomes[i].stage == LVM_ANSWERED && outcomes[i].journalled == length);
        CHECK(memcmp(journal + i * length, "{\"created\":", 11) == 0);
    }
    CHECK(outcomes[1].begun >= outcomes[0].running && outcomes[0].heard >= outcomes[1].running);
    quick = 0;
    CHECK(carry_out(&batch) == 0 && batch.begun == 2);
    CHECK(outcomes[0].stage == LVM_RUNNING && outcomes[1].stage == LVM_RUNNING);
    CHECK(spun == 0); /* the first was waited for */
    unpause_fails = -ESRCH;
    CHECK(carry_out(&batch) == 0 && batch.begun == 1);
    CHECK(outcomes[0].stage == LVM_SPOILT && outcomes[0].journalled == length);
    load_fails = -EIO;
    CHECK(carry_out(&batch) == 0 && batch.begun == 1);
    CHECK(outcomes[0].error == -EIO && outcomes[0].journalled == 0);
    scene.ticket.size++;
    CHECK(carry_out(&batch) == 0 && batch.begun == 0);
    batch.nr = 0;
    CHECK(carry_out(&batch) == 0 && batch.begun == 0);
    strike(&scene);
}

static void replies_are_filled_in_where_they_are_joined(void)
{
    struct scene scene;
    set(&scene);
    const struct lvm_ticket *tickets[] = {&scene.ticket, &scene.ticket};
    const uint32_t places[] = {0, 60};
    struct lvm_outcome outcomes[2];
    uint8_t joined[120];
    const uint8_t *second = joined + places[1];
    struct lvm_batch batch = {.journal = journal,
                              .offset_ns = scene.desk.offset_ns,
                              .nr = 2,
                              .tickets = tickets,
                              .outcomes = outcomes,
                              .joined = joined,
                              .places = places};
    for (uint32_t i = 0; i < 2; i++) {
        memcpy(joined + places[i], reply, sizeof(reply) - 1);
    }
    memcpy(reply, "{\"created\":1111111111.111111,", 29); /* those of its own stay as they are */
    CHECK(carry_out(&batch) == 2);
    CHECK(memcmp(reply + 11, "1111111111.111111", 17) == 0);
    CHECK(memcmp(joined, "{\"created\":1700000000.0", 23) == 0);
    CHECK(memcmp(second, "{\"created\":1700000000.0", 23) == 0);
    CHECK(memcmp(second + 28, ",\"total_us\":         ", 21) == 0);
    memset(joined, 'x', sizeof(joined));
    quick = 0;
    CHECK(carry_out(&batch) == 0);
    CHECK(joined[11] == 'x' && second[11] == 'x');
    strike(&scene);
}

static void whoever_waits_for_many_sleeps_until_the_last_has_an_event(void)
{
    struct scene scene;
    int event[2];
    set(&scene);
    CHECK(pipe(event) == 0);
    events_fd = event[0];
    const struct lvm_ticket *tickets[LVM_MANY];
    struct lvm_outcome outcomes[LVM_MANY];
    for (uint32_t i = 0; i < LVM_MANY; i++) {
        tickets[i] = &scene.ticket;
    }
    struct lvm_batch batch = {.journal = journal,
                              .spin_us = 100000000,
                              .nr = LVM_MANY,
                              .tickets = tickets,
                              .outcomes = outcomes};
    CHECK(carry_out(&batch) == LVM_MANY); /* all are ready: nobody sleeps */
    quick = 0;
    event_to_come = event[1]; /* as soon as somebody looks */
    CHECK(carry_out(&batch) == 0 && batch.begun == LVM_MANY);
    CHECK(outcomes[LVM_MANY - 1].stage == LVM_RUNNING);
    char said;
    CHECK(read(event[0], &said, 1) == 1);
    batch.spin_us = 2500; /* no event: so long for each of them, and not longer */
    int64_t before = lvm_now();
    CHECK(carry_out(&batch) == 0 && batch.begun == LVM_MANY);
    CHECK(lvm_now() - before >= LVM_MANY * 2500 * 1000);
    batch.spin_us = 100000000;
    batch.nr = LVM_MANY - 1; /* few are looked at */
    CHECK(carry_out(&batch) == 0 && batch.begun == LVM_MANY - 1);
    batch.nr = LVM_MANY;
    unpause_fails = -ESRCH;
    CHECK(carry_out(&batch) == 0 && batch.begun == 1);
    events_fd = -1;
    close(event[0]);
    close(event[1]);
    strike(&scene);
}

int main(void)
{
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    close(fd);
    RUN(several_are_carried_out_up_to_the_first_that_fails);
    RUN(replies_are_filled_in_where_they_are_joined);
    RUN(whoever_waits_for_many_sleeps_until_the_last_has_an_event);
    unlink(path);
    return 0;
}
