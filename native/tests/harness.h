/* Host tests of the engine: a test includes the .c file under test and stubs what it calls. */
#ifndef HARNESS_H
#define HARNESS_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                  \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, __func__, #condition); \
            exit(1);                                                                      \
        }                                                                                 \
    } while (0)

#define RUN(test)              \
    do {                       \
        test();                \
        printf("%s\n", #test); \
    } while (0)

#endif
