/* Creates that are ready but for somebody who asks for them: from the call to the reply without a step of Python. */
#include "engine.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

/* Enough to see that a client is not alone. All that are looked at go behind all others who have called. */
#define MOST_EVENTS 2
#define MOST_MOMENTS 8 /* so often is a crowd looked at again */
#define MICROSECOND 1000
#define SECOND_US 1000000

/* The last `n` digits of a number, with leading zeros or, where `blank`, with leading blanks. */
static void write_digits(uint8_t *at, uint32_t n, int64_t number, bool blank)
{
    bool first = true;
    while (n > 0) {
        n--;
        at[n] = number || first || !blank ? (uint8_t)('0' + number % 10) : ' ';
        number /= 10;
        first = false;
    }
}

static void write_time(const struct lvm_form *form, uint32_t blank, int64_t ns)
{
    if (blank) {
        int64_t us = ns / MICROSECOND;
        uint8_t *at = form->data + blank;
        write_digits(at, 10, us / 1000000, false);
        at[10] = '.';
        write_digits(at + 11, 6, us % 1000000, false);
    }
}

static void write_duration(const struct lvm_form *form, uint32_t blank, int64_t ns)
{
    if (blank) {
        write_digits(form->data + blank, LVM_DURATION_WIDTH, ns / MICROSECOND, true);
    }
}

static void fill_form(const struct lvm_form *form, int64_t offset_ns, const struct lvm_outcome *at)
{
    write_time(form, form->created, at->loaded + offset_ns);
    write_time(form, form->ready, at->heard + offset_ns);
    write_duration(form, form->load_us, at->loaded - at->begun);
    write_duration(form, form->journal_us, at->asked - at->loaded);
    write_duration(form, form->unpause_us, at->running - at->asked);
    write_duration(form, form->ready_us, at->heard - at->running);
    write_duration(form, form->total_us, at->heard - at->begun);
}

static bool is_same_file(const struct lvm_ticket *ticket)
{
    struct stat status;
    return stat(ticket->path, &status) == 0 && status.st_dev == ticket->device
           && status.st_ino == ticket->inode && status.st_size == ticket->size
           && status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec == ticket->modified_ns;
}

/* Whether so many bytes are this call, and nothing else. */
static bool is_call(const uint8_t *said, ssize_t n, const uint8_t *call, uint64_t size)
{
    return n > 0 && (uint64_t)n == size + 1 && said[size] == '\0' && memcmp(said, call, size) == 0;
}

/* Return which series has a ticket for this call, with its image as it was; nr_series where none has. */
static uint32_t find_ticket(const struct lvm_desk *desk)
{
    for (uint32_t i = 0; i < desk->nr_series; i++) {
        const struct lvm_series *series = &desk->series[i];
        uint32_t taken = desk->taken[series->line];
        if (is_call(desk->buffer, desk->received, series->call, series->size)) {
            bool there = taken < series->nr && is_same_file(series->tickets[taken]);
            return there ? i : desk->nr_series;
        }
    }
    return desk->nr_series;
}

/* Load, journal, unpause. */
static bool start(const struct lvm_ticket *ticket, uint8_t *journal, int64_t offset_ns,
                  struct lvm_outcome *outcome)
{
    struct lvm_domain *domain = ticket->domain;
    const struct lvm_moments *moments = &domain->xen->moments;
    *outcome = (struct lvm_outcome){.stage = LVM_SPOILT, .begun = lvm_now()};
    outcome->error = lvm_load(domain, &ticket->boot);
    if (outcome->error) {
        return false;
    }
    outcome->loaded = moments->loaded;
    fill_form(&ticket->record, offset_ns, outcome); /* of its blanks only what is known by now */
    memcpy(journal, ticket->record.data, ticket->record.size);
    outcome->journalled = ticket->record.size;
    outcome->error = lvm_unpause(domain);
    if (outcome->error) {
        return false;
    }
    outcome->asked = moments->asked;
    outcome->running = moments->running;
    outcome->stage = LVM_RUNNING;
    return true;
}

/* See whether its guest is ready. */
static bool look(const struct lvm_ticket *ticket, uint32_t spin_us, struct lvm_outcome *outcome)
{
    bool heard = lvm_control_spin(ticket->domain, spin_us);
    outcome->heard = ticket->domain->xen->moments.heard;
    if (!heard || !lvm_said_ready(ticket->domain)) {
        return false;
    }
    outcome->exiting = lvm_said_exiting(ticket->domain);
    outcome->stage = LVM_ANSWERED;
    return true;
}

uint32_t lvm_begin_batch(struct lvm_batch *batch)
{
    const struct lvm_ticket *const *tickets = batch->tickets;
    uint8_t *journal = batch->journal;
    bool fine = batch->nr > 0 && is_same_file(tickets[0]);
    batch->begun = 0;
    while (batch->begun < batch->nr && fine) {
        struct lvm_outcome *outcome = &batch->outcomes[batch->begun];
        fine = start(tickets[batch->begun], journal, batch->offset_ns, outcome);
        journal += outcome->journalled;
        batch->begun++;
    }
    return batch->begun;
}

/* Whoever looks at many guests keeps a processor from them; the last of them is heard through its event instead. */
static void sleep_until_last(const struct lvm_batch *batch)
{
    struct lvm_domain *last = batch->tickets[batch->begun - 1]->domain;
    struct pollfd events = {.fd = lvm_events_fd(last->xen), .events = POLLIN};
    if (!lvm_control_spin(last, 0)) {
        poll(&events, 1, (int)((uint64_t)batch->begun * batch->spin_us / 1000));
    }
}

/* Fill in one of the replies that are joined, in place of its own. */
static void fill_joined(const struct lvm_batch *batch, uint32_t i)
{
    struct lvm_form form = batch->tickets[i]->reply;
    form.data = batch->joined + batch->places[i];
    fill_form(&form, batch->offset_ns, &batch->outcomes[i]);
}

uint32_t lvm_end_batch(struct lvm_batch *batch)
{
    uint32_t answered = 0;
    uint32_t spin_us = batch->spin_us;
    if (batch->begun >= LVM_MANY && batch->outcomes[batch->begun - 1].stage == LVM_RUNNING) {
        sleep_until_last(batch);
    }
    for (uint32_t i = 0; i < batch->begun; i++) {
        struct lvm_outcome *outcome = &batch->outcomes[i];
        if (outcome->stage != LVM_RUNNING) {
            continue;
        }
        if (!look(batch->tickets[i], spin_us, outcome)) {
            spin_us = 0; /* one that is late has kept all others long enough */
            continue;
        }
        answered++;
        if (batch->joined) {
            fill_joined(batch, i);
        }
    }
    return answered;
}

/* A guest that is not quick is heard through its event, where nobody else wants something. */
static bool wait_for(struct lvm_desk *desk, const struct lvm_ticket *ticket)
{
    struct epoll_event event;
    desk->late = 1;
    return desk->alone && epoll_wait(desk->epoll, &event, 1, desk->wait_ms) > 0
           && look(ticket, 0, &desk->outcome);
}

/* Returns how many bytes of the reply were written, or -errno. */
static int32_t send_reply(int32_t client, const struct lvm_ticket *ticket, int64_t offset_ns,
                          const struct lvm_outcome *outcome)
{
    fill_form(&ticket->reply, offset_ns, outcome);
    ssize_t n = send(client, ticket->reply.data, ticket->reply.size, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? -errno : (int32_t)n;
}

/* Read what the client says, and begin what it asks for where there is a ticket for that. */
static int take_call(struct lvm_desk *desk)
{
    ssize_t received = recv(desk->client, desk->buffer, desk->buffer_size, MSG_DONTWAIT);
    desk->received = received < 0 ? -errno : (int32_t)received;
    desk->number = received > 0 ? find_ticket(desk) : desk->nr_series;
    if (desk->number == desk->nr_series) {
        return LVM_SAID;
    }
    const struct lvm_series *series = &desk->series[desk->number];
    desk->ticket = desk->taken[series->line]++;
    start(series->tickets[desk->ticket], desk->journal, desk->offset_ns, &desk->outcome);
    return desk->outcome.stage;
}

static int await_call(struct lvm_desk *desk)
{
    struct epoll_event events[MOST_EVENTS];
    int n = epoll_wait(desk->epoll, events, MOST_EVENTS, desk->wait_ms);
    if (n <= 0) {
        return LVM_NOBODY;
    }
    bool here = false;
    for (int i = 0; i < n; i++) {
        here |= events[i].data.fd == desk->client;
    }
    desk->alone = n == 1 && here;
    if (!here && n < MOST_EVENTS) {
        return LVM_OTHERS;
    }
    int stage = take_call(desk); /* where others fill the list it may be behind them */
    return desk->received == -EAGAIN ? LVM_OTHERS : stage;
}

int lvm_attend(struct lvm_desk *desk)
{
    memset(desk->taken, 0, sizeof(desk->taken));
    return await_call(desk);
}

/* Whether the next call of a client who has this ticket's reply can be waited for without anything in between. */
static bool goes_on(const struct lvm_desk *desk, const struct lvm_ticket *ticket)
{
    const struct lvm_series *series = &desk->series[desk->number];
    return desk->journal && desk->alone && !desk->late && desk->taken[series->line] < series->nr
           && desk->sent == (int32_t)ticket->reply.size;
}

int lvm_answer(struct lvm_desk *desk)
{
    const struct lvm_ticket *ticket = desk->series[desk->number].tickets[desk->ticket];
    desk->late = 0;
    desk->next = -1;
    bool ready = look(ticket, desk->spin_us, &desk->outcome) || wait_for(desk, ticket);
    desk->answered = desk->outcome;
    if (ready) {
        desk->sent = send_reply(desk->client, ticket, desk->offset_ns, &desk->answered);
        if (goes_on(desk, ticket)) {
            desk->next = take_call(desk); /* on one processor it is there by now */
            if (desk->received == -EAGAIN) {
                desk->next = await_call(desk);
            }
        } else if (desk->alone) {
            sched_yield(); /* what is left to do has time; the client waits for nothing more */
        }
    }
    return desk->answered.stage;
}

/* A crowd that is being served. */
struct service {
    struct lvm_crowd *crowd;
    uint8_t *journal;          /* where the next record goes */
    uint32_t taken[LVM_LINES]; /* so many tickets of each line */
};

static const struct lvm_ticket *ticket_of(const struct lvm_crowd *crowd,
                                          const struct lvm_served *served)
{
    return crowd->series[served->number].tickets[served->ticket];
}

/* Return for which series of tickets a client has come; nr_series where there is none, with nothing read. */
static uint32_t find_series(struct service *service, int32_t client)
{
    const struct lvm_crowd *crowd = service->crowd;
    ssize_t n = recv(client, crowd->buffer, crowd->buffer_size, MSG_PEEK | MSG_DONTWAIT);
    for (uint32_t i = 0; i < crowd->nr_series; i++) {
        const struct lvm_series *series = &crowd->series[i];
        if (!is_call(crowd->buffer, n, series->call, series->size)) {
            continue;
        }
        uint32_t taken = service->taken[series->line];
        bool there = taken < series->nr && (taken || is_same_file(series->tickets[0]));
        bool read = there && recv(client, crowd->buffer, (size_t)n, MSG_DONTWAIT) == n;
        return read ? i : crowd->nr_series;
    }
    return crowd->nr_series;
}

/* Begin what a client asks for; false where it has failed. */
static bool begin(struct service *service, int32_t client, uint32_t number)
{
    struct lvm_crowd *crowd = service->crowd;
    struct lvm_served *served = &crowd->served[crowd->nr_served++];
    served->client = client;
    served->number = number;
    served->ticket = service->taken[crowd->series[number].line]++;
    bool fine =
        start(ticket_of(crowd, served), service->journal, crowd->offset_ns, &served->outcome);
    service->journal += served->outcome.journalled;
    return fine;
}

/* Reply to those whose guests are ready, each of which is waited for until one is late; return how many are. */
static uint32_t answer_ready(struct lvm_crowd *crowd, uint32_t spin_us)
{
    uint32_t late = 0;
    for (uint32_t i = 0; i < crowd->nr_served; i++) {
        struct lvm_served *served = &crowd->served[i];
        if (served->outcome.stage != LVM_RUNNING) {
            continue;
        }
        const struct lvm_ticket *ticket = ticket_of(crowd, served);
        struct lvm_outcome *outcome = &served->outcome;
        if (look(ticket, spin_us, outcome)) {
            served->sent = send_reply(served->client, ticket, crowd->offset_ns, outcome);
        } else {
            spin_us = 0; /* one that is late has kept all others long enough */
            late++;
        }
    }
    return late;
}

uint32_t lvm_serve(struct lvm_crowd *crowd)
{
    struct epoll_event events[LVM_CROWD_MAX];
    struct service service = {.crowd = crowd, .journal = crowd->journal};
    crowd->nr_served = 0;
    int n = epoll_wait(crowd->epoll, events, LVM_CROWD_MAX, 0);
    bool fine = true;
    for (int i = 0; i < n && fine; i++) {
        int32_t client = events[i].data.fd;
        bool resting = (uint32_t)client < crowd->nr_resting && crowd->resting[client];
        uint32_t series = resting ? find_series(&service, client) : crowd->nr_series;
        if (series < crowd->nr_series) {
            fine = begin(&service, client, series);
        }
    }
    return crowd->nr_served;
}

/*
 * To leave one to Python costs more than such a moment: where many are late, as they are when their processor was busy with
 * something else, they have as many moments more, or MOST_MOMENTS. Asleep, for it may be this processor that they wait for.
 */
void lvm_answer_all(struct lvm_crowd *crowd)
{
    const struct timespec moment = {.tv_sec = crowd->spin_us / SECOND_US,
                                    .tv_nsec = crowd->spin_us % SECOND_US * MICROSECOND};
    uint32_t late = answer_ready(crowd, crowd->spin_us);
    uint32_t moments = crowd->spin_us ? MOST_MOMENTS : 1;
    while (moments && late) {
        moments = late < moments ? late : moments;
        nanosleep(&moment, NULL);
        late = answer_ready(crowd, 0);
        moments--;
    }
}
