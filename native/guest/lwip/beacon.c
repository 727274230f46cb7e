/* So that it can be seen from outside when a guest is there. */
#include "lightvm_net.h"

#include "lwip/ip_addr.h"
#include "lwip/udp.h"

#include <string.h>

/* ADDRESS:PORT; returns the port, or 0. */
static u16_t parse_target(const char *text, ip_addr_t *ret_address)
{
    char host[16];
    size_t n = 0;
    while (text[n] && text[n] != ':' && n < sizeof(host) - 1) {
        host[n] = text[n];
        n++;
    }
    host[n] = '\0';
    return text[n] == ':' && ipaddr_aton(host, ret_address) ? (u16_t)lightvm_number(text + n + 1)
                                                            : 0;
}

void lightvm_net_beacon(char **argv)
{
    const char *target = lightvm_option(argv, "beacon=");
    ip_addr_t address;
    u16_t port = target ? parse_target(target, &address) : 0;
    struct udp_pcb *sender = port ? udp_new() : NULL;
    if (!sender) {
        return;
    }
    u16_t n = (u16_t)strlen(argv[0]);
    struct pbuf *packet = pbuf_alloc(PBUF_TRANSPORT, n, PBUF_RAM);
    if (packet) {
        memcpy(packet->payload, argv[0], n);
        udp_sendto(sender, packet, &address, port);
        pbuf_free(packet);
    }
    udp_remove(sender);
}
