/* Times fork+exec+wait of a program from a small process: of /bin/true, the yardstick, where none is
 * named. Its output is nobody's. Prints one time in ms a line. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 100;
    char *yardstick[] = {"/bin/true", NULL};
    char **command = argc > 2 ? argv + 2 : yardstick;
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    for (int i = 0; i < n; i++) {
        double begun = now_ms();
        pid_t child = fork();
        if (child == 0) {
            dup2(null, STDOUT_FILENO);
            execv(command[0], command);
            _exit(1);
        }
        int status;
        if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
            return 1;
        }
        printf("%.4f\n", now_ms() - begun);
    }
    return 0;
}
