/* Prints a greeting and its command line, then powers off with `status=N` (default 0). */
#include "lightvm.h"

int main(const char *command_line)
{
    const char *status = lightvm_option(command_line, "status=");
    lightvm_ready();
    lightvm_print("Hello from a LightVM guest.\n");
    if (*command_line) {
        lightvm_print("Command line: ");
        lightvm_print(command_line);
        lightvm_print("\n");
    }
    return status ? lightvm_number(status) : 0;
}
