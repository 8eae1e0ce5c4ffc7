/*
 * The delivery worker: settings and start.
 */
#ifndef MV_WORKER_H
#define MV_WORKER_H

#include "postgres.h"

/* Defines the settings of delivery. Called from _PG_init. */
extern void mv_worker_init(void);

#endif							/* MV_WORKER_H */
