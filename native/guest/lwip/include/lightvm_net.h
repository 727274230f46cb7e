/* TCP/IP for guests: lwIP's raw API (lwip/tcp.h, lwip/udp.h) over the guest's vifs. */
#ifndef LIGHTVM_NET_H
#define LIGHTVM_NET_H

#include "lightvm.h"
#include "lwip/netif.h"

/* Bring all vifs up with the addresses of the device page; returns how many. The first is the default route's. */
int lightvm_net_start(void);

/* Serve the network for ever. */
_Noreturn void lightvm_net_run(void);

#endif
