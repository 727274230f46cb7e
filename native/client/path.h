/* Paths: absolute ones, and those of the installation to which this program belongs. */
#ifndef LVM_PATH_H
#define LVM_PATH_H

#include <stdbool.h>

#define LVM_PATH_BYTES 8192

/* Each of these returns false where there is no such path, or one that is too long. `ret_path` has
 * room for LVM_PATH_BYTES, and is set in either case. */

/* Without ".", ".." and doubled slashes, all by the letters, as Python's os.path.abspath has it. */
bool lvm_absolute_path(const char *path, char *ret_path);

/* The kernel file that `name` stands for: a file, or else a guest of the package. False also where
 * only Python knows. */
bool lvm_find_image(const char *name, char *ret_path);

/* A file beside this program, wherever links to it may lie. */
bool lvm_find_beside(const char *name, char *ret_path);

#endif
