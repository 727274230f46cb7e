/* lwIP over vifs: frames in, frames out, and the one loop that serves both. */
#include "lightvm_net.h"

#include "lwip/etharp.h"
#include "lwip/init.h"
#include "lwip/pbuf.h"
#include "lwip/priv/tcp_priv.h" /* tcp_txnow, tcp_tw_pcbs */
#include "lwip/timeouts.h"
#include "netif/ethernet.h"

#include <stdlib.h>
#include <string.h>

#define BURST 32 /* frames of one vif before the others have their turn */
#define MOST_MTU 1500

static struct netif netifs[LIGHTVM_VIFS_MAX];
static int nr_netifs;
/* Whether a frame of TCP's could not be sent, as all buffers were on their way. */
static uint8_t starved[LIGHTVM_VIFS_MAX];

_Noreturn void lightvm_lwip_failed(const char *message)
{
    lightvm_print("lwip: ");
    lightvm_print(message);
    lightvm_print("\n");
    lightvm_exit(LIGHTVM_EXIT_CRASH, 1);
}

static int memory_short; /* since it was last looked at */

void *lightvm_lwip_malloc(size_t n)
{
    void *memory = malloc(n);
    memory_short |= !memory;
    return memory;
}

/* Connections that have ended are kept for a while, but not where memory is short. Not at once: lwIP may be looking at them. */
static void drop_ended_connections(void)
{
    while (memory_short && tcp_tw_pcbs) {
        tcp_abort(tcp_tw_pcbs);
    }
    memory_short = 0;
}

u32_t sys_now(void) { return lightvm_now_ms(); }

/* For port numbers and sequence numbers; xorshift, seeded by the clock and the domain's UUID. */
unsigned int lightvm_random(void)
{
    static uint32_t state;
    if (!state) {
        memcpy(&state, lightvm_device_page->uuid, sizeof(state));
        state ^= (uint32_t)lightvm_now_ns() | 1;
    }
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static err_t send_frame(struct netif *netif, struct pbuf *frame)
{
    struct lightvm_vif *vif = netif->state;
    void *buffer = lightvm_vif_tx_buffer(vif);
    if (!buffer) {
        starved[netif - netifs] = 1; /* nobody but TCP was promised anything */
        return ERR_MEM;
    }
    pbuf_copy_partial(frame, buffer, frame->tot_len, 0);
    lightvm_vif_send(vif, frame->tot_len);
    return ERR_OK;
}

static err_t set_up(struct netif *netif)
{
    const struct lightvm_vif_config *config = lightvm_vif_config(netif->state);
    netif->name[0] = 'v';
    netif->name[1] = 'i';
    netif->mtu = config->mtu && config->mtu <= MOST_MTU ? config->mtu : MOST_MTU;
    netif->hwaddr_len = sizeof(config->mac);
    memcpy(netif->hwaddr, config->mac, sizeof(config->mac));
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET
                   | NETIF_FLAG_LINK_UP | NETIF_FLAG_UP;
    netif->output = etharp_output;
    netif->linkoutput = send_frame;
    return ERR_OK;
}

static ip4_addr_t address(const uint8_t bytes[4])
{
    ip4_addr_t ip;
    memcpy(&ip.addr, bytes, sizeof(ip.addr));
    return ip;
}

static ip4_addr_t netmask(uint32_t prefix)
{
    ip4_addr_t ip = {.addr = prefix ? lwip_htonl(0xffffffffu << (32 - prefix)) : 0};
    return ip;
}

static int add_vif(struct lightvm_vif *vif, struct netif *netif)
{
    const struct lightvm_vif_config *config = lightvm_vif_config(vif);
    ip4_addr_t ip = address(config->ipv4), gateway = address(config->ipv4_gateway);
    ip4_addr_t mask = netmask(config->ipv4_prefix);
    return netif_add(netif, &ip, &mask, &gateway, vif, set_up, ethernet_input) != NULL;
}

int lightvm_net_start(void)
{
    lwip_init();
    for (uint32_t i = 0; i < LIGHTVM_VIFS_MAX; i++) {
        struct lightvm_vif *vif = lightvm_vif_open(i);
        if (!vif || !add_vif(vif, &netifs[nr_netifs])) {
            break;
        }
        nr_netifs++;
    }
    if (nr_netifs) {
        netif_set_default(&netifs[0]);
    }
    return nr_netifs;
}

/* Hand frames that have come to lwIP; returns how many. */
static int take_frames(struct netif *netif)
{
    struct lightvm_vif *vif = netif->state;
    int taken = 0;
    uint32_t length;
    const void *frame;
    while (taken < BURST && (frame = lightvm_vif_receive(vif, &length))) {
        struct pbuf *copy = pbuf_alloc(PBUF_RAW, (u16_t)length, PBUF_RAM);
        if (copy) {
            memcpy(copy->payload, frame, length);
        }
        lightvm_vif_release(vif);
        if (copy && netif->input(copy, netif) != ERR_OK) {
            pbuf_free(copy);
        }
        taken++;
    }
    return taken;
}

/* Let TCP go on where it found no buffer; returns whether it could. */
static int resume(int i)
{
    if (!starved[i] || !lightvm_vif_tx_buffer(netifs[i].state)) {
        return 0;
    }
    starved[i] = 0;
    tcp_txnow();
    return 1;
}

static void sleep_until_something_happens(const uint32_t *ports, uint32_t n)
{
    u32_t ms = sys_timeouts_sleeptime();
    uint64_t until = ms == SYS_TIMEOUTS_SLEEPTIME_INFINITE ? 0 : lightvm_now_ns() + ms * 1000000ull;
    lightvm_wait_events(ports, n, until);
}

_Noreturn void lightvm_net_run(void)
{
    uint32_t ports[LIGHTVM_VIFS_MAX + 1];
    ports[nr_netifs] = lightvm_control_port();
    for (int i = 0; i < nr_netifs; i++) {
        ports[i] = lightvm_vif_port(netifs[i].state);
        etharp_gratuitous(&netifs[i]); /* tells everybody our address */
    }
    for (;;) {
        int busy = 0;
        lightvm_clear_event(ports[nr_netifs]);
        lightvm_obey();
        for (int i = 0; i < nr_netifs; i++) {
            lightvm_clear_event(ports[i]);
            busy |= take_frames(&netifs[i]);
        }
        drop_ended_connections();
        sys_check_timeouts();
        for (int i = 0; i < nr_netifs; i++) {
            busy |= !lightvm_vif_idle(netifs[i].state);
            busy |= resume(i);
        }
        if (!busy) {
            sleep_until_something_happens(ports, (uint32_t)nr_netifs + 1);
        }
    }
}
