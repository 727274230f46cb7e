/* The least program: says one byte that it runs; with an argument it then stays, as a server would. */
#include <unistd.h>

int main(int argc, char **argv)
{
    (void)argv;
    if (write(STDOUT_FILENO, "r", 1) != 1) {
        return 1;
    }
    while (argc > 1) {
        pause();
    }
    return 0;
}
