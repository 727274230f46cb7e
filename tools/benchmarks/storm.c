/*
 * Makes one call again and again over as many connections as there are clients, each a process:
 * storm SOCKET CLIENTS CALLS FIRST CALL WORD. Each client makes the call FIRST before the clock starts, and every reply to CALL
 * must have WORD in it. Prints how long all took, and then each call, in ms a line.
 */
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *path;
static int nr_calls;
static struct {
    atomic_int taken;
    double took_ms[];
} *shared;

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static int connect_client(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    strncpy(name.sun_path, path, sizeof(name.sun_path) - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&name, sizeof(name)) < 0) {
        perror("storm: connect");
        _exit(1);
    }
    return fd;
}

/* Who sleeps in read is also woken when the daemon takes the call; who sleeps in poll is not. */
static void wait_for_reply(int fd)
{
    struct pollfd here = {.fd = fd, .events = POLLIN};
    poll(&here, 1, -1);
}

/* The terminating NUL is what ends a call of Varlink, too. */
static void make_call(int fd, const char *call, const char *word)
{
    char reply[65536];
    size_t size = strlen(call) + 1, n = 0;
    if (write(fd, call, size) != (ssize_t)size) {
        perror("storm: write");
        _exit(1);
    }
    do {
        wait_for_reply(fd);
        ssize_t more = read(fd, reply + n, sizeof(reply) - n);
        if (more <= 0) {
            fputs("storm: the connection was closed\n", stderr);
            _exit(1);
        }
        n += (size_t)more;
    } while (reply[n - 1] != '\0' && n < sizeof(reply));
    if (reply[n - 1] != '\0' || !strstr(reply, word)) {
        fprintf(stderr, "storm: %.*s\n", (int)n, reply);
        _exit(1);
    }
}

static void time_call(int fd, const char *call, const char *word, int number)
{
    double begun = now_ms();
    make_call(fd, call, word);
    shared->took_ms[number] = now_ms() - begun;
}

/*
 * Closes `ready` before the clock starts, and `done` when there is nothing left to call; to end has time. The first call
 * is made as the others are: whatever a new process does for the first time is done by then.
 */
_Noreturn static void be_client(int ready, int go, int done, char **calls)
{
    char byte;
    int fd = connect_client(), number;
    time_call(fd, calls[0], "", 0);
    if (close(ready) < 0 || read(go, &byte, 1) != 0) {
        _exit(1);
    }
    while ((number = atomic_fetch_add(&shared->taken, 1)) < nr_calls) {
        time_call(fd, calls[1], calls[2], number);
    }
    close(done);
    for (;;) {
        pause();
    }
}

/* Wait until all who have the other end have closed it. */
static void await_all(int end)
{
    char byte;
    while (read(end, &byte, 1) > 0) {
    }
}

int main(int argc, char **argv)
{
    int ready[2], go[2], done[2], clients = argc == 7 ? atoi(argv[2]) : 0;
    if (clients < 1) {
        fputs("usage: storm SOCKET CLIENTS CALLS FIRST CALL WORD\n", stderr);
        return 2;
    }
    path = argv[1];
    nr_calls = atoi(argv[3]);
    shared = mmap(NULL, sizeof(*shared) + (size_t)nr_calls * sizeof(double), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t *children = calloc((size_t)clients, sizeof(*children));
    if (shared == MAP_FAILED || !children || pipe(ready) < 0 || pipe(go) < 0 || pipe(done) < 0) {
        perror("storm");
        return 1;
    }
    for (int i = 0; i < clients; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL); /* a run that is given up leaves no clients */
            close(go[1]);
            be_client(ready[1], go[0], done[1], argv + 4);
        }
    }
    close(ready[1]);
    close(done[1]);
    await_all(ready[0]);
    double begun = now_ms();
    close(go[1]); /* all wait for that */
    await_all(done[0]);
    double took = now_ms() - begun;
    int failed = 0;
    for (int i = 0; i < clients; i++) {
        int status = 0;
        bool lost = children[i] < 0 || kill(children[i], SIGTERM) < 0
                    || waitpid(children[i], &status, 0) < 0 || !WIFSIGNALED(status);
        failed += lost;
    }
    if (failed) {
        fprintf(stderr, "storm: %d of %d clients have failed\n", failed, clients);
        return 1;
    }
    printf("%.4f\n", took);
    for (int i = 0; i < nr_calls; i++) {
        printf("%.4f\n", shared->took_ms[i]);
    }
    return 0;
}
