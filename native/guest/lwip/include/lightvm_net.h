/* TCP/IP for guests: lwIP's raw API (lwip/tcp.h, lwip/udp.h) over the guest's vifs. */
#ifndef LIGHTVM_NET_H
#define LIGHTVM_NET_H

#include "lightvm.h"
#include "lwip/netif.h"
#include "lwip/tcp.h"

/* Bring all vifs up with the addresses of the device page; returns how many. The first is the default route's. */
int lightvm_net_start(void);

/* A number that is hard to guess. */
unsigned int lightvm_random(void);

/* With `beacon=ADDRESS:PORT` in the command line, send a UDP packet with the domain's name there. */
void lightvm_net_beacon(char **argv);

/* Listen on a TCP port, on all addresses; returns 0 where that cannot be. */
int lightvm_net_listen(u16_t port, tcp_accept_fn accept);
/* Append what has come to a chain of buffers (NULL: none yet); many small ones are copied into one. Returns the chain. */
struct pbuf *lightvm_net_append(struct pbuf *chain, struct pbuf *data);
/* Close a connection that nobody wants to hear of any more; what this returns, its callback returns. */
err_t lightvm_net_close(struct tcp_pcb *pcb);

/* Serve the network for ever. Only now the rest of the world hears of this guest, so say that it is ready before. */
_Noreturn void lightvm_net_run(void);

#endif
