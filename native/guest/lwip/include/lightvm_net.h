/* TCP/IP for guests: lwIP's raw API (lwip/tcp.h, lwip/udp.h) over the guest's vifs. */
#ifndef LIGHTVM_NET_H
#define LIGHTVM_NET_H

#include "lightvm.h"
#include "lwip/netif.h"

/* Bring all vifs up with the addresses of the device page; returns how many. The first is the default route's. */
int lightvm_net_start(void);

/* With `beacon=ADDRESS:PORT` in the command line, send a UDP packet with the domain's name there. */
void lightvm_net_beacon(char **argv);

/* Serve the network for ever. Only now the rest of the world hears of this guest, so say that it is ready before. */
_Noreturn void lightvm_net_run(void);

#endif
