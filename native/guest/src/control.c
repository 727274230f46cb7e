/* Power requests: what the toolstack wants of the guest, and the guest's word that it has heard. */
#include "internal.h"

uint32_t lightvm_request(void)
{
    volatile struct lightvm_control_page *control = lightvm_control;
    uint32_t request = control ? control->request : 0;
    return request && request != control->acknowledged ? request & LIGHTVM_REQUEST_MASK : 0;
}

void lightvm_acknowledge(void)
{
    volatile struct lightvm_control_page *control = lightvm_control;
    control->acknowledged = control->request;
    lightvm_control_kick();
}

void lightvm_beat(void)
{
    if (lightvm_control) {
        lightvm_control->heartbeat++;
    }
}

void lightvm_obey(void)
{
    static const enum lightvm_exit_reason reasons[] = {
        [LIGHTVM_REQUEST_POWEROFF] = LIGHTVM_EXIT_POWEROFF,
        [LIGHTVM_REQUEST_REBOOT] = LIGHTVM_EXIT_REBOOT,
        [LIGHTVM_REQUEST_SUSPEND] = LIGHTVM_EXIT_SUSPEND,
    };
    uint32_t request = lightvm_request();
    if (request) {
        lightvm_acknowledge();
        if (request < sizeof(reasons) / sizeof(*reasons)) {
            lightvm_exit(reasons[request], 0);
        }
    }
}

_Noreturn void lightvm_sleep(void)
{
    uint32_t port = lightvm_control_port();
    while (lightvm_control) {
        lightvm_beat();
        lightvm_obey();
        lightvm_wait_events(&port, 1, 0); /* returns at once where one is pending already */
        lightvm_clear_event(port);        /* before the look: what comes after it wakes us */
    }
    lightvm_block();
}
