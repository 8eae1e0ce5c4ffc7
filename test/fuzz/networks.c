/* Lists of networks, which the guard's settings and the gateway's are made of. */
#include "../../src/core/networks.c"
