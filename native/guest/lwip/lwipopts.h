/* How lwIP is built for a guest: one thread, the guest's own heap, IPv4, UDP and TCP. */
#ifndef LIGHTVM_LWIPOPTS_H
#define LIGHTVM_LWIPOPTS_H

#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0
#define LWIP_STATS 0
#define LWIP_TIMERS 1

/* All memory of lwIP comes from malloc (src/heap.c), as it is needed. */
#define MEM_ALIGNMENT 4
#define MEM_LIBC_MALLOC 1
#define mem_clib_malloc lightvm_lwip_malloc
#define MEMP_MEM_MALLOC 1
#define PBUF_POOL_BUFSIZE 1536

/* A guest that forwards is built with IP_FORWARD=1, and says of each packet whether it may: -1 where it may, else 0. */
#if IP_FORWARD
struct pbuf;
int lightvm_may_forward(struct pbuf *packet);
#define LWIP_HOOK_IP4_CANFORWARD(packet, destination) lightvm_may_forward(packet)
#endif

#define LWIP_IPV4 1
#define LWIP_IPV6 0
#define LWIP_ICMP 1
#define LWIP_RAW 0
#define LWIP_UDP 1
#define LWIP_TCP 1
#define LWIP_DHCP 0
#define LWIP_AUTOIP 0
#define LWIP_IGMP 0
#define LWIP_DNS 0
#define LWIP_ARP 1
#define ARP_QUEUEING 1
#define ETHARP_TRUST_IP_MAC 0
#define IP_REASSEMBLY 1
#define IP_FRAG 1

#define TCP_MSS 1460
#define TCP_WND (16 * TCP_MSS)
#define TCP_SND_BUF (16 * TCP_MSS)
#define TCP_SND_QUEUELEN (4 * TCP_SND_BUF / TCP_MSS)
#define TCP_LISTEN_BACKLOG 1
#define TCP_OVERSIZE TCP_MSS
#define LWIP_TCP_KEEPALIVE 1
#define TCP_KEEPIDLE_DEFAULT 60000ul /* ms until a silent peer is asked whether it is there */
/* A connection that has ended keeps its memory for twice this long, in milliseconds, and its peer cannot use the same port
   again: lwIP's minute is for networks that are larger than those of a host. */
#define TCP_MSL 1000ul
/* What came out of order and waits for a gap to fill, in buffers of one connection: about a window of full segments. */
#define TCP_OOSEQ_MAX_PBUFS 20

#define LWIP_NETIF_STATUS_CALLBACK 0
#define LWIP_NETIF_LINK_CALLBACK 0
#define LWIP_NETIF_TX_SINGLE_PBUF 0
#define LWIP_CHECKSUM_ON_COPY 1

#endif
