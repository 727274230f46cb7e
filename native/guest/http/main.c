/* A web server for two pages: one about the domain, and one for those who check that it is well. README.md says more. */
#include "connection.h"
#include "page.h"

/* What a client may need at most: a window of what has come, the head of a request, and lwIP's own. */
#define CLIENT_PAGES 12

int main(int argc, char **argv)
{
    (void)argc;
    const char *word = lightvm_option(argv, "port=");
    int port = word ? lightvm_number(word) : 80;
    if (port < 1 || port > 65535) {
        lightvm_print("http: port=N, with N from 1 to 65535\n");
        return 2;
    }
    size_t n;
    const char *about = lightvm_metadata(&n);
    if (!make_pages(argv[0], about, n)) {
        lightvm_print("http: no memory\n");
        return 1;
    }
    if (!lightvm_net_start() || !serve_http((u16_t)port, lightvm_pages_left() / CLIENT_PAGES)) {
        lightvm_print("http: no network\n");
        return 1;
    }
    lightvm_ready();
    lightvm_net_beacon(argv);
    lightvm_net_run();
}
