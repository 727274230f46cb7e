/* Discard (RFC 863): what comes is thrown away, as fast as it comes. */
#include "echo.h"

#define PORT 9

static err_t on_data(void *nothing, struct tcp_pcb *pcb, struct pbuf *data, err_t error)
{
    (void)nothing, (void)error;
    if (!data) {
        leave();
        return lightvm_net_close(pcb);
    }
    tcp_recved(pcb, data->tot_len);
    pbuf_free(data);
    return ERR_OK;
}

static void on_error(void *nothing, err_t error)
{
    (void)nothing, (void)error;
    leave();
}

static err_t on_caller(void *nothing, struct tcp_pcb *pcb, err_t error)
{
    (void)nothing;
    if (error != ERR_OK || !enter()) {
        return ERR_MEM;
    }
    tcp_recv(pcb, on_data);
    tcp_err(pcb, on_error);
    return ERR_OK;
}

int serve_discard(void) { return lightvm_net_listen(PORT, on_caller); }
