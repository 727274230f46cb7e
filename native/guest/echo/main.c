/* Echo, discard and chargen: for trying a network, and how much goes through it. README.md says more. */
#include "echo.h"

/* What a caller may need at most: what has come, what is on its way back, and lwIP's own. */
#define CALLER_PAGES 16

static uint32_t places;

int enter(void)
{
    if (!places) {
        return 0;
    }
    places--;
    return 1;
}

void leave(void) { places++; }

int main(int argc, char **argv)
{
    (void)argc;
    if (!lightvm_net_start() || !serve_echo() || !serve_discard() || !serve_chargen()) {
        lightvm_print("echo: no network\n");
        return 1;
    }
    places = lightvm_pages_left() / CALLER_PAGES;
    lightvm_ready();
    lightvm_net_beacon(argv);
    lightvm_net_run();
}
