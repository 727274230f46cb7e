/* Reaches its entry, says so, sleeps: the smallest guest, for measuring how long a create takes. */
#include "lightvm.h"

int main(void)
{
    lightvm_ready();
    lightvm_sleep();
}
