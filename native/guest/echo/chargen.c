/* Character generator (RFC 864): lines of all printable characters, until the caller has enough. */
#include "echo.h"

#define PORT 19
#define FIRST ' '
#define CHARACTERS 95 /* and as many lines, after which they repeat */
#define LINE 72

static char pattern[CHARACTERS * (LINE + 2)];

static void make_pattern(void)
{
    char *at = pattern;
    for (int line = 0; line < CHARACTERS; line++) {
        for (int i = 0; i < LINE; i++) {
            *at++ = (char)(FIRST + (line + i) % CHARACTERS);
        }
        *at++ = '\r';
        *at++ = '\n';
    }
}

/* Fill the send buffer. A caller's argument is where in the pattern it is; lwIP sends from there, without a copy. */
static err_t generate(void *arg, struct tcp_pcb *pcb)
{
    const char *at = arg, *end = pattern + sizeof(pattern);
    for (;;) {
        u16_t n = (u16_t)LWIP_MIN(end - at, tcp_sndbuf(pcb));
        if (n == 0 || tcp_write(pcb, at, n, 0) != ERR_OK) {
            break; /* on_sent and the poll try again */
        }
        at = at + n == end ? pattern : at + n;
    }
    tcp_arg(pcb, (void *)at);
    return ERR_OK; /* lwIP sends after each callback */
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t n)
{
    (void)n;
    return generate(arg, pcb);
}

static err_t on_data(void *arg, struct tcp_pcb *pcb, struct pbuf *data, err_t error)
{
    (void)arg, (void)error;
    if (data) { /* else the caller has no more to say, and may still listen; if not, the next line is reset */
        tcp_recved(pcb, data->tot_len);
        pbuf_free(data);
    }
    return ERR_OK;
}

static void on_error(void *arg, err_t error)
{
    (void)arg, (void)error;
    leave();
}

static err_t on_caller(void *nothing, struct tcp_pcb *pcb, err_t error)
{
    (void)nothing;
    if (error != ERR_OK || !enter()) {
        return ERR_MEM;
    }
    if (!*pattern) {
        make_pattern(); /* not before the guest is ready: that would be most of what it does until then */
    }
    tcp_recv(pcb, on_data);
    tcp_sent(pcb, on_sent);
    tcp_poll(pcb, generate, 1);
    tcp_err(pcb, on_error);
    return generate(pattern, pcb);
}

int serve_chargen(void) { return lightvm_net_listen(PORT, on_caller); }
