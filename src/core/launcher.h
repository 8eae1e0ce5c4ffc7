/*
 * The launcher keeps the workers of the databases in musicverse.databases
 * running and takes them away where somebody needs the database to himself.
 */
#ifndef MV_LAUNCHER_H
#define MV_LAUNCHER_H

#include "postgres.h"

#include "core/shared.h"

/* A kind of worker; each room adds its own */
typedef struct MvWorkerKind
{
	const char *name;			/* "delivery worker": of the process, behind "musicverse" */
	const char *function;		/* its main, PGDLLEXPORT */
	int			place;			/* the first of its places */
	int			places;

	/*
	 * How many of them a database should have now. Asked in the launcher and in
	 * the workers, under the entry's lock: just looks at settings and the entry.
	 */
	int			(*wanted) (const MvDatabase *database);
} MvWorkerKind;

#define MV_MAX_WORKER_KINDS 16

/* Adds a kind, which must stay where it is. To be called from _PG_init. */
extern void mv_launcher_add(const MvWorkerKind *kind);

/* For kinds of which each served database has one. */
extern int	mv_one_worker(const MvDatabase *database);

/* Defines musicverse.databases and .delivery_workers, registers the launcher, hooks utility commands. */
extern void mv_launcher_init(void);

/*
 * For a worker: claims its place in shared memory and connects to its
 * database. Returns the place, which is the shard of a delivery worker. Exits
 * the process when it isn't wanted.
 */
extern int	mv_worker_attach(Datum main_arg, MvDatabase **database);

/* True when the worker should leave: pause, new number of shards, not wanted any more. */
extern bool mv_worker_should_leave(MvDatabase *database, int place);

/*
 * Leaves because the extension isn't there; it starts again when it is created.
 * That may have happened already: it was replaced by another one, or something
 * changed since the worker looked (changes, read before that).
 */
extern _Noreturn void mv_worker_leave_without_extension(MvDatabase *database, int place, uint64 changes, bool replaced);

#endif							/* MV_LAUNCHER_H */
