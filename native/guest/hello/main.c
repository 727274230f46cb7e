/* Prints a greeting and the words of its command line, then powers off with `status=N` (default 0). */
#include "lightvm.h"

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
    return status ? lightvm_number(status) : 0;
}
