/* What lwIP wants to know of compiler and platform. */
#ifndef LIGHTVM_ARCH_CC_H
#define LIGHTVM_ARCH_CC_H

#include <stddef.h>

#define BYTE_ORDER LITTLE_ENDIAN

#define LWIP_NO_INTTYPES_H 1
#define LWIP_NO_LIMITS_H 1
#define LWIP_NO_CTYPE_H 1
#define LWIP_NO_UNISTD_H 1
#define INT_MAX 0x7fffffff
#define SSIZE_MAX INT_MAX
typedef int ssize_t;

#define X8_F "02x"
#define U16_F "u"
#define S16_F "d"
#define X16_F "x"
#define U32_F "u"
#define S32_F "d"
#define X32_F "x"
#define SZT_F "u"

/* A broken assumption ends the guest, with a word on its console. */
_Noreturn void lightvm_lwip_failed(const char *message);
#define LWIP_PLATFORM_DIAG(arguments)
#define LWIP_PLATFORM_ASSERT(message) lightvm_lwip_failed(message)

/* malloc, and a note where there was none (net.c). */
void *lightvm_lwip_malloc(size_t n);

unsigned int lightvm_random(void);
#define LWIP_RAND() lightvm_random()

#endif
