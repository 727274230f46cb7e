/* Tells the time over TCP port 13 (RFC 867). */
#include "lightvm_net.h"

#include <string.h>

#define DAYTIME_PORT 13
#define DAY 86400u

static char *put_number(char *at, uint32_t value, int digits)
{
    for (int i = digits - 1; i >= 0; i--) {
        at[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return at + digits;
}

/* Days since 1970-01-01 to a date of the Gregorian calendar; years start in March, so that leap days come last. */
static char *put_date(char *at, uint32_t days)
{
    uint32_t shifted = days + 719468; /* since 0000-03-01 */
    uint32_t era = shifted / 146097, day = shifted % 146097;
    uint32_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    uint32_t of_year = day - (365 * year + year / 4 - year / 100);
    uint32_t month = (5 * of_year + 2) / 153;
    uint32_t of_month = of_year - (153 * month + 2) / 5 + 1;
    month = month < 10 ? month + 3 : month - 9;
    at = put_number(at, year + era * 400 + (month <= 2), 4);
    *at++ = '-';
    at = put_number(at, month, 2);
    *at++ = '-';
    return put_number(at, of_month, 2);
}

static size_t put_time(char *text)
{
    uint64_t seconds = lightvm_wall_seconds();
    uint32_t days = (uint32_t)lightvm_divide(seconds, DAY);
    uint32_t rest = (uint32_t)(seconds - (uint64_t)days * DAY);
    char *at = put_date(text, days);
    *at++ = ' ';
    at = put_number(at, rest / 3600, 2);
    *at++ = ':';
    at = put_number(at, rest / 60 % 60, 2);
    *at++ = ':';
    at = put_number(at, rest % 60, 2);
    memcpy(at, " UTC\r\n", 6);
    return (size_t)(at + 6 - text);
}

static err_t greet(void *nothing, struct tcp_pcb *caller, err_t error)
{
    (void)nothing;
    if (error != ERR_OK || !caller) {
        return ERR_VAL;
    }
    char text[40];
    size_t n = put_time(text);
    tcp_write(caller, text, (u16_t)n, TCP_WRITE_FLAG_COPY);
    return lightvm_net_close(caller);
}

int main(int argc, char **argv)
{
    (void)argc;
    if (!lightvm_net_start() || !lightvm_net_listen(DAYTIME_PORT, greet)) {
        lightvm_print("daytime: no network\n");
        return 1;
    }
    lightvm_ready();
    lightvm_net_beacon(argv);
    lightvm_net_run();
}
