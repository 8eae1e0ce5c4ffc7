/* Lists of networks, which guard.c's target runs through its setting. */
#include "../../src/core/networks.c"
