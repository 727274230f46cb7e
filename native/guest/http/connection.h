/* Connections with clients: requests in, pages out. */
#ifndef CONNECTION_H
#define CONNECTION_H

#include "lightvm_net.h"

/* Listen on a port, for as many clients at once; returns 0 where that cannot be. */
int serve_http(u16_t port, uint32_t clients);

#endif
