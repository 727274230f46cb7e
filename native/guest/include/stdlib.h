/* The part of C's stdlib.h that is there (src/heap.c, src/options.c). */
#ifndef LIGHTVM_STDLIB_H
#define LIGHTVM_STDLIB_H

#include <stddef.h>

void *malloc(size_t n);
void *calloc(size_t n, size_t size);
void *realloc(void *memory, size_t n);
void free(void *memory);
int atoi(const char *text);

#endif
