/*
 * One client after the other sends what it likes, and gets one answer for each request, in order. What a client can make this
 * server hold is bounded: a head, a TCP window of what is not read yet, and pages that all clients share.
 */
#include "connection.h"
#include "page.h"
#include "request.h"

#include <stdlib.h>
#include <string.h>

#define HEAD_MOST 2048 /* bytes of a request's head */
#define IDLE_SECONDS \
    10 /* between requests, for the head of one, and for an answer that is not taken */
#define LINGER_SECONDS 2
#define POLL_INTERVAL 2 /* of lwIP's half seconds */

struct client {
    struct pbuf *waiting; /* has come and is not looked at; the window is smaller by as much */
    char head[HEAD_MOST];
    size_t length;
    struct {
        const char *bytes;
        size_t n;
    } answer[3];   /* what is to be sent of the present one: head, end of head, body */
    int last;      /* the connection ends with the present answer */
    int lingering; /* it has: what comes is thrown away until the client has seen that, lest a reset destroy the answer */
    int ended;     /* the client sends no more */
    int idle;      /* seconds */
};

static uint32_t places;

static void forget(struct client *client)
{
    if (client->waiting) {
        pbuf_free(client->waiting);
    }
    free(client);
    places++;
}

static err_t finish(struct client *client, struct tcp_pcb *pcb)
{
    forget(client);
    return lightvm_net_close(pcb);
}

/* Send what there is room for; returns whether all of the answer is on its way. */
static int send_answer(struct client *client, struct tcp_pcb *pcb)
{
    for (int i = 0; i < 3; i++) {
        while (client->answer[i].n) {
            u16_t n = (u16_t)LWIP_MIN(client->answer[i].n, tcp_sndbuf(pcb));
            if (n == 0 || tcp_write(pcb, client->answer[i].bytes, n, 0) != ERR_OK) {
                return 0; /* on_sent and on_poll try again */
            }
            client->answer[i].bytes += n;
            client->answer[i].n -= n;
        }
    }
    return 1;
}

static void set_part(struct client *client, int i, const char *bytes, size_t n)
{
    client->answer[i].bytes = bytes;
    client->answer[i].n = n;
}

static void set_answer(struct client *client, enum page_name name, int with_body, int last)
{
    static const char end[] = "\r\n", close[] = "Connection: close\r\n\r\n";
    const struct page *page = &pages[name];
    set_part(client, 0, page->head, page->head_length);
    set_part(client, 1, last ? close : end, last ? sizeof(close) - 1 : sizeof(end) - 1);
    set_part(client, 2, page->body, with_body ? page->body_length : 0);
    client->last = last;
    client->idle = 0;
}

static int is_path(const struct request *request, const char *path)
{
    size_t n = strlen(path);
    return request->path_length == n && memcmp(request->path, path, n) == 0;
}

static enum page_name choose(const struct request *request)
{
    return request->method == METHOD_OTHER ? PAGE_NOT_ALLOWED
           : is_path(request, "/")         ? PAGE_INDEX
           : is_path(request, "/healthz")  ? PAGE_HEALTH
                                           : PAGE_NOT_FOUND;
}

static void take_waiting(struct client *client, struct tcp_pcb *pcb, size_t n)
{
    client->waiting = pbuf_free_header(client->waiting, (u16_t)n);
    tcp_recved(pcb, (u16_t)n);
}

static void fill_head(struct client *client, struct tcp_pcb *pcb)
{
    size_t n = LWIP_MIN(HEAD_MOST - client->length, client->waiting ? client->waiting->tot_len : 0);
    if (n) {
        pbuf_copy_partial(client->waiting, client->head + client->length, (u16_t)n, 0);
        client->length += n;
        take_waiting(client, pcb, n);
    }
}

/* Set the answer for the next request; returns 0 where none is whole. */
static int take_request(struct client *client, struct tcp_pcb *pcb)
{
    struct request request;
    fill_head(client, pcb);
    enum outcome outcome = read_request(client->head, client->length, &request);
    if (outcome == REQUEST_UNFINISHED && client->length < HEAD_MOST) {
        return 0;
    }
    if (outcome != REQUEST_WHOLE) {
        set_answer(client, PAGE_BAD, 1, 1);
        return 1;
    }
    /* Where a body begins, no other request is looked for. */
    set_answer(client, choose(&request), request.method != METHOD_HEAD,
               !request.keeps || request.has_body);
    client->length -= request.length;
    memmove(client->head, client->head + request.length, client->length);
    return 1;
}

/* Say that no more will be sent, and see the client off. */
static err_t linger(struct client *client, struct tcp_pcb *pcb)
{
    if (!client->lingering) {
        if (tcp_shutdown(pcb, 0, 1) != ERR_OK) {
            return ERR_OK; /* on_poll tries again */
        }
        client->lingering = 1;
        client->idle = 0;
    }
    if (client->waiting) {
        take_waiting(client, pcb, client->waiting->tot_len);
    }
    return client->ended && tcp_sndqueuelen(pcb) == 0 ? finish(client, pcb) : ERR_OK;
}

/* Do all that can be done now. */
static err_t work(struct client *client, struct tcp_pcb *pcb)
{
    for (;;) {
        if (client->lingering || (send_answer(client, pcb) && client->last)) {
            return linger(client, pcb);
        }
        if (client->answer[2].n || client->answer[1].n || client->answer[0].n) {
            return ERR_OK;
        }
        if (!take_request(client, pcb)) {
            if (!client->ended) {
                return ERR_OK;
            }
            client->last = 1;
        }
    }
}

static err_t on_data(void *arg, struct tcp_pcb *pcb, struct pbuf *data, err_t error)
{
    struct client *client = arg;
    (void)error;
    if (data) {
        client->waiting = lightvm_net_append(client->waiting, data);
    } else {
        client->ended = 1;
    }
    return work(client, pcb);
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t n)
{
    struct client *client = arg;
    (void)n;
    client->idle = 0;
    return work(client, pcb);
}

static err_t on_poll(void *arg, struct tcp_pcb *pcb)
{
    struct client *client = arg;
    int all_arrived = tcp_sndqueuelen(pcb) == 0;
    int most = client->lingering && all_arrived ? LINGER_SECONDS : IDLE_SECONDS;
    if (++client->idle <= most) {
        return work(client, pcb);
    }
    if (all_arrived) {
        return finish(client, pcb);
    }
    tcp_abort(
        pcb); /* calls on_error; a connection that nobody counts must not hold what cannot be sent */
    return ERR_ABRT;
}

static void on_error(void *arg, err_t error)
{
    (void)error;
    forget(arg);
}

static err_t on_client(void *nothing, struct tcp_pcb *pcb, err_t error)
{
    (void)nothing;
    struct client *client = error == ERR_OK && places ? calloc(1, sizeof(*client)) : NULL;
    if (!client) {
        return ERR_MEM;
    }
    places--;
    tcp_arg(pcb, client);
    tcp_recv(pcb, on_data);
    tcp_sent(pcb, on_sent);
    tcp_poll(pcb, on_poll, POLL_INTERVAL);
    tcp_err(pcb, on_error);
    tcp_nagle_disable(pcb); /* an answer is written in whole before any of it is sent */
    return ERR_OK;
}

int serve_http(u16_t port, uint32_t clients)
{
    places = clients;
    return lightvm_net_listen(port, on_client);
}
