/* What TCP servers have in common. */
#include "lightvm_net.h"

#include "lwip/ip.h"
#include "lwip/pbuf.h"

#define CHAIN_MOST 32 /* buffers, before they are copied into one */

int lightvm_net_listen(u16_t port, tcp_accept_fn accept)
{
    struct tcp_pcb *listener = tcp_new();
    if (!listener || tcp_bind(listener, IP_ADDR_ANY, port) != ERR_OK) {
        return 0;
    }
    listener = tcp_listen(listener);
    if (!listener) {
        return 0;
    }
    ip_set_option(listener, SOF_KEEPALIVE); /* its connections inherit it */
    tcp_accept(listener, accept);
    return 1;
}

struct pbuf *lightvm_net_append(struct pbuf *chain, struct pbuf *data)
{
    if (!chain) {
        return data;
    }
    pbuf_cat(chain, data);
    return pbuf_clen(chain) > CHAIN_MOST ? pbuf_coalesce(chain, PBUF_RAW) : chain;
}

err_t lightvm_net_close(struct tcp_pcb *pcb)
{
    tcp_arg(pcb, NULL);
    tcp_recv(pcb, NULL);
    tcp_sent(pcb, NULL);
    tcp_poll(pcb, NULL, 0);
    tcp_err(pcb, NULL);
    if (tcp_close(pcb) == ERR_OK) {
        return ERR_OK;
    }
    tcp_abort(pcb);
    return ERR_ABRT;
}
