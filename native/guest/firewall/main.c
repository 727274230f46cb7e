/*
 * Forwards IPv4 between vifs, what the rules in the domain's metadata allow. lwIP does the forwarding, and asks here about
 * each packet. README.md says more.
 */
#include "flows.h"
#include "lightvm_net.h"
#include "report.h"
#include "rules.h"

#include "lwip/ip4.h"
#include "lwip/pbuf.h"
#include "lwip/timeouts.h"

static struct rules rules;
static uint32_t now; /* seconds */

static void tick(void *nothing)
{
    now++;
    report_tick();
    sys_timeout(1000, tick, nothing);
}

/* Whether a packet came in where answers to it would go out; if not, its sender is a lie. */
static int is_plausible(const struct pbuf *packet)
{
    const struct netif *back = ip4_route(ip4_current_src_addr());
    return back && netif_get_index(back) == packet->if_idx;
}

/* NULL where a packet may pass, else why not. */
static const char *refuse(const struct pbuf *buffer, struct packet *packet)
{
    struct packet cause;
    if (!read_packet(buffer->payload, buffer->len, packet)) {
        return ", a fragment, or with options, or cut short";
    }
    if (!is_plausible(buffer)) {
        return ", from the wrong side";
    }
    if (renew_flow(packet, now)) {
        return NULL;
    }
    if (read_cause(buffer->payload, buffer->len, &cause) && has_flow(&cause, now)) {
        return NULL;
    }
    if (!rules_allow(&rules, packet)) {
        return "";
    }
    if (packet->opens) {
        add_flow(packet, now);
    }
    return NULL;
}

int lightvm_may_forward(struct pbuf *buffer)
{
    if (buffer->flags & (PBUF_FLAG_LLBCAST | PBUF_FLAG_LLMCAST)) {
        return 0; /* for everybody on that side, and not for the other */
    }
    struct packet packet;
    const char *reason = refuse(buffer, &packet);
    lightvm_control->heartbeat++;
    if (reason) {
        report_denied(&packet, reason);
    }
    return reason ? 0 : -1;
}

int main(int argc, char **argv)
{
    (void)argc;
    size_t n;
    const char *text = lightvm_metadata(&n);
    struct mistake mistake;
    if (!read_rules(text, n, &rules, &mistake)) {
        report_mistake(&mistake);
        return 2;
    }
    if (lightvm_net_start() < 2) {
        lightvm_print("firewall: two vifs are needed\n");
        return 1;
    }
    report_rules(&rules);
    start_flows(lightvm_random());
    tick(NULL);
    lightvm_ready();
    lightvm_net_beacon(argv);
    lightvm_net_run();
}
