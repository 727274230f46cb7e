/* Paths. */
#include "path.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool format(char *ret_path, const char *pattern, ...)
{
    va_list arguments;
    va_start(arguments, pattern);
    int length = vsnprintf(ret_path, LVM_PATH_BYTES, pattern, arguments);
    va_end(arguments);
    return length >= 0 && length < LVM_PATH_BYTES;
}

/* Normalises an absolute path in its place. */
static void normalise(char *path)
{
    const char *from = path;
    /* POSIX lets two slashes at the front, not one or three, have a meaning of their own. */
    char *root = path + (path[1] == '/' && path[2] != '/' ? 2 : 1);
    char *to = root;
    while (*from) {
        from += strspn(from, "/");
        size_t length = strcspn(from, "/");
        if (length == 2 && from[0] == '.' && from[1] == '.') {
            while (to > root && *--to != '/') {
            }
        } else if (length > 0 && !(length == 1 && from[0] == '.')) {
            if (to > root) {
                *to++ = '/';
            }
            memmove(to, from, length);
            to += length;
        }
        from += length;
    }
    *to = '\0';
}

bool lvm_absolute_path(const char *path, char *ret_path)
{
    char folder[LVM_PATH_BYTES] = "";
    if (path[0] != '/' && (!getcwd(folder, sizeof(folder)) || folder[0] != '/')) {
        return false;
    }
    const char *slash = !folder[0] || strcmp(folder, "/") == 0 ? "" : "/";
    if (!format(ret_path, "%s%s%s", folder, slash, path)) {
        return false;
    }
    normalise(ret_path);
    return true;
}

bool lvm_find_beside(const char *name, char *ret_path)
{
    char own[LVM_PATH_BYTES];
    ssize_t length = readlink("/proc/self/exe", own, sizeof(own));
    if (length <= 0 || length == (ssize_t)sizeof(own)) {
        return false;
    }
    own[length] = '\0';
    char *slash = strrchr(own, '/');
    if (!slash) {
        return false;
    }
    slash[1] = '\0';
    return format(ret_path, "%s%s", own, name);
}

static bool exists(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0;
}

/* Finds a guest of the package. An installer puts this program into PREFIX/bin, and the package below
 * PREFIX/lib/pythonX.Y, of whichever version that Python is: it is looked for, and where two versions
 * have it, or a variable leads Python elsewhere, it is Python that knows which counts. */
static bool find_guest(const char *name, char *ret_path)
{
    static const char *const packages[] = {"site-packages", "dist-packages"};
    char library[LVM_PATH_BYTES], found[LVM_PATH_BYTES], candidate[LVM_PATH_BYTES];
    if (getenv("PYTHONPATH") || getenv("PYTHONHOME") || !lvm_find_beside("../lib", library)) {
        return false;
    }
    normalise(library);
    DIR *folder = opendir(library);
    if (!folder) {
        return false;
    }
    int count = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        for (int i = 0; strncmp(entry->d_name, "python3", 7) == 0 && i < 2; i++) {
            if (format(candidate, "%s/%s/%s/lightvm/guests/%s", library, entry->d_name, packages[i],
                       name)
                && exists(candidate)) {
                count++;
                memcpy(found, candidate, sizeof(found));
            }
        }
    }
    closedir(folder);
    return count == 1 && format(ret_path, "%s", found);
}

bool lvm_find_image(const char *name, char *ret_path)
{
    if (!*name) {
        return false;
    }
    return strchr(name, '/') || exists(name) ? lvm_absolute_path(name, ret_path)
                                             : find_guest(name, ret_path);
}
