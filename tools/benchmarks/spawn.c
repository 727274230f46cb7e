/* Times fork+exec+wait of a program from a small process: spawn N PROGRAM [ARGUMENT...]. Prints one time in ms a line. */
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
    if (argc < 3) {
        fputs("usage: spawn N PROGRAM [ARGUMENT...]\n", stderr);
        return 2;
    }
    int n = atoi(argv[1]), nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    for (int i = 0; i < n; i++) {
        double begun = now_ms();
        pid_t child = fork();
        if (child == 0) {
            dup2(nowhere, STDOUT_FILENO);
            execvp(argv[2], argv + 2);
            _exit(127);
        }
        int status;
        if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
            return 1;
        }
        printf("%.4f\n", now_ms() - begun);
        fflush(stdout);
    }
    return 0;
}
