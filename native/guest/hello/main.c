/*
 * Prints a greeting and the words of its command line, then powers off with `status=N` (default 0). With `echo` it first
 * prints back each line that comes in on the console, until a line `quit`; with `interrupts` it does the same by
 * interrupts instead of polling.
 */
#include "lightvm.h"

#include <string.h>

static struct {
    char text[200]; /* the end of a longer line is lost */
    size_t n;
    int quit;
} line;

static void end_line(void)
{
    line.text[line.n] = '\0';
    if (strcmp(line.text, "quit") == 0) {
        line.quit = 1;
    } else if (line.n) {
        line.text[line.n++] = '\n';
        lightvm_write(line.text, line.n);
    }
    line.n = 0;
}

static void echo_input(void *nothing)
{
    char bytes[64];
    size_t n;
    (void)nothing;
    while (!line.quit && (n = lightvm_read(bytes, sizeof(bytes)))) {
        for (size_t i = 0; i < n && !line.quit; i++) {
            if (bytes[i] == '\n' || bytes[i] == '\r') {
                end_line();
            } else if (line.n < sizeof(line.text) - 1) {
                line.text[line.n++] = bytes[i];
            }
        }
    }
}

static void echo_by_polling(void)
{
    uint32_t ports[] = {lightvm_console_port(), lightvm_control_port()};
    for (;;) {
        lightvm_clear_event(ports[0]);
        lightvm_clear_event(ports[1]);
        lightvm_obey();
        echo_input(NULL);
        if (line.quit) {
            return;
        }
        lightvm_wait_events(ports, 2, 0);
    }
}

static void obey(void *nothing)
{
    (void)nothing;
    lightvm_obey();
}

static void echo_by_interrupts(void)
{
    lightvm_on_event(lightvm_console_port(), echo_input, NULL);
    lightvm_on_event(lightvm_control_port(), obey, NULL);
    while (!line.quit) {
        lightvm_halt();
    }
}

int main(int argc, char **argv)
{
    const char *status = lightvm_option(argv, "status=");
    lightvm_ready();
    lightvm_print("Hello from a LightVM guest.\n");
    if (argc > 1) {
        lightvm_print("Command line:");
        for (int i = 1; i < argc; i++) {
            lightvm_print(" ");
            lightvm_print(argv[i]);
        }
        lightvm_print("\n");
    }
    if (lightvm_console && lightvm_word(argv, "interrupts")) {
        echo_by_interrupts();
    } else if (lightvm_console && lightvm_word(argv, "echo")) {
        echo_by_polling();
    }
    return status ? lightvm_number(status) : 0;
}
