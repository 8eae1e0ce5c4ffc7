/*
 * Releases on their way to platforms: the worker that carries them.
 *
 * The tables and what may happen to their rows are SQL (distribution*.sql); C
 * is the worker that talks to partners, the connectors, and what needs shared
 * memory.
 */
#ifndef MV_RELEASES_H
#define MV_RELEASES_H

#include "postgres.h"

/* Settings, shared memory and the kind of worker. Called from _PG_init. */
extern void mv_releases_init(void);

#endif							/* MV_RELEASES_H */
