/*
 * The gateway: background workers that serve the API over HTTP, static files
 * and what operators ask (/healthz, /readyz, /metrics).
 */
#ifndef MV_GATEWAY_H
#define MV_GATEWAY_H

#include "postgres.h"

/* Settings, shared memory and the kind of worker. Called from _PG_init. */
extern void mv_gateway_init(void);

#endif							/* MV_GATEWAY_H */
