/*
 * The state file: what of shared memory outlives the server. Written whole by
 * the postmaster when it shuts down cleanly, and now and then by a worker, so
 * that after a crash what is read is at most musicverse.usage_flush_interval
 * old. A file of another cluster, or a damaged one, is ignored and told.
 */
#ifndef MV_STATE_H
#define MV_STATE_H

#include "postgres.h"

#include "lib/stringinfo.h"

typedef struct MvStateSection
{
	const char *name;			/* at most 31 bytes */
	uint32		version;		/* of the layout: another one is ignored */

	/*
	 * Appends what is to be kept. In the postmaster no other process lives, and
	 * no lock can be taken (MyProc is NULL); in a worker the others go on.
	 */
	void		(*save) (StringInfo out);

	/*
	 * Takes what was saved, age_us microseconds ago by the wall clock (never
	 * negative). clean: nothing can have happened since. Called in the
	 * postmaster, after all parts have been started; must not trust the data.
	 */
	void		(*load) (const char *data, Size len, int64 age_us, bool clean);
} MvStateSection;

#define MV_MAX_SECTIONS 8

/* A section holds no more than this, so that all of them fit into one block of memory. */
#define MV_STATE_SECTION_MAX ((Size) 120 * 1024 * 1024)

/* For save(): whether so many bytes more may be appended. What doesn't fit is left out, which is logged once. */
extern bool mv_state_has_room(StringInfo out, Size more);

/* Adds a section. To be called from _PG_init, in shared_preload_libraries. */
extern void mv_state_add(const MvStateSection *section);

/* Reads the file and arranges for it to be written at a clean end. Postmaster only. */
extern void mv_state_start(void);

/*
 * Writes the file if the last writing, by whichever process, is older than the
 * interval. Takes no lock across the writing but the file's own turn. Never
 * raises: a failure is logged, once until the next success.
 */
extern void mv_state_keep(int interval_ms);

#endif							/* MV_STATE_H */
