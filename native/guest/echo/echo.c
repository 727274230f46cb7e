/* Echo (RFC 862): what comes goes back. Over TCP nothing is lost: who does not read is not read from. */
#include "echo.h"

#include "lwip/udp.h"

#include <stdlib.h>

#define PORT 7

struct caller {
    struct pbuf *
        waiting; /* what has come and is not on its way back; the window stays smaller by as much */
    int ended;   /* no more will come */
};

static void forget(void *arg)
{
    struct caller *caller = arg;
    if (caller->waiting) {
        pbuf_free(caller->waiting);
    }
    free(caller);
    leave();
}

static err_t answer(struct caller *caller, struct tcp_pcb *pcb)
{
    while (caller->waiting) {
        struct pbuf *first = caller->waiting;
        u16_t n = LWIP_MIN(first->len, tcp_sndbuf(pcb));
        if (n == 0 || tcp_write(pcb, first->payload, n, TCP_WRITE_FLAG_COPY) != ERR_OK) {
            return ERR_OK; /* on_sent and on_poll try again */
        }
        caller->waiting = pbuf_free_header(first, n);
        tcp_recved(pcb, n);
    }
    if (!caller->ended || tcp_sndqueuelen(pcb)) {
        return ERR_OK; /* while something is on its way, the caller counts */
    }
    forget(caller);
    return lightvm_net_close(pcb);
}

static err_t on_data(void *arg, struct tcp_pcb *pcb, struct pbuf *data, err_t error)
{
    struct caller *caller = arg;
    (void)error;
    if (data) {
        caller->waiting = lightvm_net_append(caller->waiting, data);
    } else {
        caller->ended = 1;
    }
    return answer(caller, pcb);
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t n)
{
    (void)n;
    return answer(arg, pcb);
}

static err_t on_poll(void *arg, struct tcp_pcb *pcb) { return answer(arg, pcb); }

static void on_error(void *arg, err_t error)
{
    (void)error;
    forget(arg);
}

static err_t on_caller(void *nothing, struct tcp_pcb *pcb, err_t error)
{
    (void)nothing;
    if (error != ERR_OK || !enter()) {
        return ERR_MEM;
    }
    struct caller *caller = calloc(1, sizeof(*caller));
    if (!caller) {
        leave();
        return ERR_MEM;
    }
    tcp_arg(pcb, caller);
    tcp_recv(pcb, on_data);
    tcp_sent(pcb, on_sent);
    tcp_poll(pcb, on_poll, 1);
    tcp_err(pcb, on_error);
    tcp_nagle_disable(pcb); /* whoever sends bit by bit wants them back so */
    return ERR_OK;
}

static void on_packet(void *nothing, struct udp_pcb *pcb, struct pbuf *packet,
                      const ip_addr_t *from, u16_t port)
{
    (void)nothing;
    if (port != PORT) { /* two that echo would never end */
        udp_sendto(pcb, packet, from, port);
    }
    pbuf_free(packet);
}

int serve_echo(void)
{
    struct udp_pcb *pcb = udp_new();
    if (!pcb || udp_bind(pcb, IP_ADDR_ANY, PORT) != ERR_OK) {
        return 0;
    }
    udp_recv(pcb, on_packet, NULL);
    return lightvm_net_listen(PORT, on_caller);
}
