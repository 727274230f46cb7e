/* The services of this guest. */
#ifndef ECHO_H
#define ECHO_H

#include "lightvm_net.h"

/* Each returns 0 where it cannot be. */
int serve_echo(void);
int serve_discard(void);
int serve_chargen(void);

/* Callers are counted, so that memory is enough for all of them: enter returns 0 where there is no room for another. */
int enter(void);
void leave(void);

#endif
