/*
 * Covers: the door of what draws them. Everything else is reached by SQL.
 */
#ifndef MV_COVERS_H
#define MV_COVERS_H

/* Defines the setting. Called from _PG_init. */
extern void mv_covers_init(void);

#endif							/* MV_COVERS_H */
