/*
 * Covers: the door of what draws them. Everything else is reached by SQL.
 */
#ifndef MV_COVERS_H
#define MV_COVERS_H

#include "media/media.h"

/* Defines the setting, and adds the kind of work. Called from _PG_init. */
extern void mv_covers_init(void);

extern const MvMediaKind mv_cover_kind;

#endif							/* MV_COVERS_H */
