/* A connection to the daemon. */
#include "varlink.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define READ_BYTES 65536

static int fail(struct lvm_error *ret_error, struct lvm_error error)
{
    *ret_error = error;
    return -1;
}

static void close_connection(struct lvm_connection *connection)
{
    if (connection->fd) {
        close(connection->fd);
    }
    connection->fd = 0;
    connection->start = connection->length = 0;
}

/* The error of a connect; only what is common has its words here, and Python has them all. */
static struct lvm_error explain(int number, const char *path)
{
    struct lvm_error error = {.code = "no-daemon", .place = path};
    switch (number) {
    case ENOENT:
        error.text = "there is no such socket: start lightvmd, or set LIGHTVM_SOCKET to its path";
        break;
    case ECONNREFUSED:
        error.text = "nobody listens at the socket: start lightvmd";
        break;
    case EAGAIN:
        error.text = "the daemon takes no new connections: it is overloaded or stuck";
        break;
    default:
        error.text = "cannot connect";
        error.inexact = true;
    }
    return error;
}

int lvm_open(struct lvm_connection *connection, struct lvm_error *ret_error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(connection->path);
    if (length == 0 || length >= sizeof(address.sun_path)) {
        return fail(ret_error, explain(EINVAL, connection->path));
    }
    memcpy(address.sun_path, connection->path, length);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd <= STDERR_FILENO) {
        /* With a standard stream closed, what is printed must not reach the daemon. */
        if (fd >= 0) {
            close(fd);
        }
        return fail(ret_error, explain(EMFILE, connection->path));
    }
    /* A full queue is waited for in line, which is fairer than to come back later. */
    struct timeval patience = {.tv_sec = 4};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        int number = errno;
        close(fd);
        return fail(ret_error, explain(number, connection->path));
    }
    connection->fd = fd;
    if (!connection->bytes) {
        connection->bytes = connection->first;
        connection->size = sizeof(connection->first);
    }
    return 0;
}

/* Returns false where the daemon has closed the connection: it cannot have read all of the call. */
static bool send_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent >= 0) {
            bytes += sent;
            length -= (size_t)sent;
        } else if (errno != EINTR && errno != EAGAIN) {
            return false;
        }
    }
    return true;
}

int lvm_send(struct lvm_connection *connection, const struct lvm_call *call,
             struct lvm_error *ret_error)
{
    if (connection->fd && send_all(connection->fd, call->bytes, call->length)) {
        return 0;
    }
    close_connection(connection);
    if (lvm_open(connection, ret_error)) {
        return -1;
    }
    /* What a new connection refuses to take may still be explained by an error reply. */
    send_all(connection->fd, call->bytes, call->length);
    return 0;
}

/* Makes room behind what was received: moves it to the front, and to a place for the largest message
 * where the first is full. That one is not used from the start, since the kernel may have to clear
 * 2 MiB of it at its first byte. */
static int make_room(struct lvm_connection *connection)
{
    size_t held = connection->length - connection->start;
    char *bytes = connection->bytes;
    if (connection->start == 0 && connection->length < connection->size) {
        return 0;
    }
    if (connection->start == 0) {
        connection->size = LVM_MESSAGE_BYTES + READ_BYTES;
        bytes = mmap(NULL, connection->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                     -1, 0);
        if (bytes == MAP_FAILED) {
            return -ENOMEM;
        }
    }
    memmove(bytes, connection->bytes + connection->start, held);
    connection->bytes = bytes;
    connection->start = 0;
    connection->length = held;
    return 0;
}

static int receive_some(struct lvm_connection *connection, struct lvm_error *ret_error)
{
    if (connection->length - connection->start > LVM_MESSAGE_BYTES) {
        return fail(ret_error,
                    (struct lvm_error){.code = "protocol-error",
                                       .text = "a message is longer than 16777216 bytes"});
    }
    if (make_room(connection)) {
        return fail(ret_error, (struct lvm_error){.code = "os-error",
                                                  .text = "[Errno 12] Cannot allocate memory"});
    }
    size_t room = connection->size - connection->length;
    ssize_t received;
    do {
        received = recv(connection->fd, connection->bytes + connection->length,
                        room < READ_BYTES ? room : READ_BYTES, 0);
    } while (received < 0 && errno == EINTR);
    if (received <= 0) {
        return fail(ret_error,
                    (struct lvm_error){.code = "connection-lost",
                                       .text =
                                           "the daemon closed the connection before it answered"});
    }
    connection->length += (size_t)received;
    return 0;
}

int lvm_receive(struct lvm_connection *connection, const char *method,
                const struct lvm_shape *shape, void *ret_parameters, bool *ret_continues,
                struct lvm_error *ret_error)
{
    size_t searched = 0;
    for (;;) {
        const char *start = connection->bytes + connection->start;
        size_t held = connection->length - connection->start;
        const char *end = memchr(start + searched, '\0', held - searched);
        if (end) {
            connection->start += (size_t)(end - start) + 1;
            struct lvm_span message = {.at = start, .end = end};
            return lvm_read_reply(message, method, shape, ret_parameters, ret_continues, ret_error)
                       ? -1
                       : 0;
        }
        searched = held;
        if (receive_some(connection, ret_error)) {
            return -1;
        }
    }
}

void lvm_rest(struct lvm_connection *connection)
{
    if (connection->start < connection->length) {
        close_connection(connection);
    }
}
