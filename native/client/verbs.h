/* The verbs of this program. */
#ifndef LVM_VERBS_H
#define LVM_VERBS_H

enum {
    LVM_HAND_OVER = -1, /* no exit code: nothing was printed, and Python is to do it all */
    LVM_DONE = 0,
    LVM_FAILED = 1,
    LVM_NO_DAEMON = 3,
};

/* Each carries out the words after its verb and returns an exit code, or LVM_HAND_OVER where nothing
 * that changes anything was sent. */
int lvm_create(int argc, char **argv);
int lvm_destroy(int argc, char **argv);
int lvm_info(int argc, char **argv);
int lvm_list(int argc, char **argv);
int lvm_wait(int argc, char **argv);

#endif
