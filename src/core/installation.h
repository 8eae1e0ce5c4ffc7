/*
 * What tells this database from a copy of it, which must not send.
 */
#ifndef MV_INSTALLATION_H
#define MV_INSTALLATION_H

#include "postgres.h"

/* Defines musicverse.cluster_identity. Called from _PG_init. */
extern void mv_installation_init(void);

/* The identity of this database in this place, palloc'd. Raises if a stat fails. */
extern char *mv_identity(void);

/* What it is without musicverse.cluster_identity. */
extern char *mv_directory_identity(void);

/* Is this a copy of the database where sending was enabled? Needs SPI connected. */
extern bool mv_is_copy(void);

#endif							/* MV_INSTALLATION_H */
