/*
 * Sets up the room of the REST API: dispatcher, gateway.
 */
#ifndef MV_API_H
#define MV_API_H

#include "postgres.h"

/* Called from _PG_init, last of the rooms. */
extern void mv_api_init(void);

#endif							/* MV_API_H */
