/*
 * The room of generation: jobs that providers of music carry out.
 *
 * The tables and what may happen to their rows are SQL (generation*.sql); C is
 * the worker that talks to the providers, and what needs shared memory.
 */
#ifndef MV_GENERATION_H
#define MV_GENERATION_H

#include "postgres.h"

/* Settings, shared memory and the kind of worker. Called from _PG_init. */
extern void mv_generation_init(void);

#endif							/* MV_GENERATION_H */
