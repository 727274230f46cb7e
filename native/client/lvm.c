/* lvm: the plain forms of five verbs without the start of an interpreter; all else is lightvm's.
 *
 * What is not plain is handed over before anything was sent, with the same words: usage errors, rare
 * options, configurations, and LVM2's verbs, which the Python program hands on.
 */
#include "path.h"
#include "verbs.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOT_FOUND 127 /* as a shell has it for a missing command */

/* By this note lightvm/cli/lvm.py knows that this is not LVM2's program of the same name. It lies within
 * the first page of the file. */
static const struct {
    unsigned name_bytes, text_bytes, type;
    char name[8];
    char text[16];
} mark __attribute__((section(".note.lightvm"), used, aligned(4))) = {8, 16, 0, "LightVM",
                                                                      "lightvm.cli.lvm"};

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} verbs[] = {
    {"create", lvm_create}, {"destroy", lvm_destroy}, {"info", lvm_info},
    {"list", lvm_list},     {"wait", lvm_wait},
};

/* A shell's code for a signal, which Python's program exits with too. */
static void leave(int number) { _exit(128 + number); }

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = leave}, before;
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGINT, &action, &before);
    if (before.sa_handler == SIG_IGN) { /* a job in the background of a script */
        sigaction(SIGINT, &before, NULL);
    }
}

static int run_verb(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(argv[1], verbs[i].name) == 0) {
            catch_signals();
            return verbs[i].run(argc - 2, argv + 2);
        }
    }
    return LVM_HAND_OVER;
}

/* Becomes the Python program, which an installer puts beside this one. */
static int hand_over(int argc, char **argv)
{
    char program[LVM_PATH_BYTES];
    char **words = calloc((size_t)argc + 3, sizeof(*words));
    if (words) {
        words[0] = "lightvm";
        words[1] = "--as-lvm";
        for (int i = 1; i < argc; i++) {
            words[i + 1] = argv[i];
        }
        if (lvm_find_beside(words[0], program)) {
            execv(program, words);
        }
        execvp(words[0], words);
    }
    fprintf(stderr, "lvm: lightvm cannot be run: %s\n", strerror(errno));
    free(words);
    return NOT_FOUND;
}

int main(int argc, char **argv)
{
    int code = run_verb(argc, argv);
    return code == LVM_HAND_OVER ? hand_over(argc, argv) : code;
}
