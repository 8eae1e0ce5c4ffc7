/*
 * The media worker: one process a database. It runs one piece of work at a time,
 * for a slice of time, and fetches files for several others meanwhile, so that a
 * slow server or a long conversion keeps nobody else waiting.
 *
 * Whose work is next the database says (media_turns.sql). Work that may fetch is
 * claimed while there is a place for it, of musicverse.media_fetches; other work
 * when the processor is free, in turns with what is under way.
 *
 * It waits for its latch (a commit that queued something), for what is fetched,
 * and for what is due. When it has to leave, it puts back what is under way.
 *
 * Once at its start and once an hour it looks after its directory: see store.c.
 *
 * Locks: a session-level advisory lock, so that there is one such process; the
 * extension's lock for each transaction; rows of media and of their work.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/clock.h"
#include "core/compat.h"
#include "core/launcher.h"
#include "lib/stringinfo.h"
#include "media/media_int.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define IDLE_WAIT_MS	30000
#define LOOK_MS			60000	/* after which it is looked for work whatever was heard */
#define FETCH_WAIT_MS	1000	/* how often it is looked who takes too long */
#define ERROR_PAUSE_MS	1000
#define MAINTENANCE_S	3600
/* Then another process goes on: libsndfile 1.2 leaks 6 kB with each damaged Ogg */
#define MOST_PIECES		5000

PGDLLEXPORT void mv_media_worker_main(Datum arg);

MvMediaWorker mv_media;
dlist_head	mv_media_pieces = DLIST_STATIC_INIT(mv_media_pieces);

static TimestampTz maintenance_due = 0;
static bool swept = false;			/* what the last worker left was looked after */
static bool wanted[MV_MEDIA_LANES] = {true, true};	/* there may be work */
static int	pieces = 0;				/* that came to their end */

bool
mv_media_in_transaction(void (*function) (void), const char *activity)
{
	bool		ok = mv_worker_transaction(&mv_media.base, function, activity);

	if (!ok)
		mv_media.error_until = mv_now() + ERROR_PAUSE_MS * INT64CONST(1000);
	return ok;
}

/* Tells what is under way, the one that is run first. */
void
mv_media_tell(const MvMediaPiece *running)
{
	char		at_work[MV_AT_WORK_LENGTH] = "";
	dlist_iter	at;
	size_t		len = 0;

	if (running != NULL)
		len = snprintf(at_work, sizeof(at_work), "%s %s", running->task.kind, running->task.id);
	dlist_foreach(at, &mv_media_pieces)
	{
		const MvMediaPiece *piece = dlist_container(MvMediaPiece, link, at.cur);

		if (piece != running && len < sizeof(at_work))
			len += snprintf(at_work + len, sizeof(at_work) - len, "%s%s %s", len > 0 ? ", " : "", piece->task.kind, piece->task.id);
	}
	mv_media_note_state(mv_media.standing_still, at_work);
}

/* ---- the files ---- */

static char **removals;
static int	nremovals;

/* The first column of what was just selected, in the task's memory */
static char **
take_texts(int *n)
{
	char	  **texts = MemoryContextAlloc(mv_media.scratch, Max(SPI_processed, 1) * sizeof(char *));

	*n = (int) SPI_processed;
	for (int i = 0; i < *n; i++)
		texts[i] = MemoryContextStrdup(mv_media.scratch, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	return texts;
}

/* The rows go first: files without rows are garbage, rows without files a lie. */
static void
expire(void)
{
	static SPIPlanPtr plan = NULL;

	mv_worker_execute(&plan, "select f from musicverse._expire_media() f", 0, NULL, NULL, NULL);
	removals = take_texts(&nremovals);
}

void
mv_media_remove_expired(void)
{
	maintenance_due = mv_now() + MAINTENANCE_S * USECS_PER_SEC;
	if (!mv_media_in_transaction(expire, "removing media that nobody uses"))
		return;
	for (int i = 0; i < nremovals; i++)
		mv_media_remove(removals[i]);
}

/* Those that are under way are no leftovers. */
static void
resume(void)
{
	Oid			types[1] = {TEXTARRAYOID};
	Datum		values[1];
	Datum		ids[64 + MV_MEDIA_LANES];
	int			n = 0;
	dlist_iter	at;

	dlist_foreach(at, &mv_media_pieces)
		if (n < lengthof(ids))
			ids[n++] = CStringGetTextDatum(dlist_container(MvMediaPiece, link, at.cur)->task.id);
	values[0] = PointerGetDatum(construct_array(ids, n, TEXTOID, -1, false, TYPALIGN_INT));
	SPI_execute_with_args("select musicverse._resume_media_work($1::uuid[])", 1, types, values, NULL, false, 0);
}

static void
sweep(void)
{
	char	  **texts;
	int			n;
	Oid		   *databases;

	SPI_execute("select oid::text from pg_catalog.pg_database", true, 0);
	texts = take_texts(&n);
	databases = MemoryContextAlloc(mv_media.scratch, Max(n, 1) * sizeof(Oid));
	for (int i = 0; i < n; i++)
		databases[i] = (Oid) strtoul(texts[i], NULL, 10);
	mv_media_sweep_databases(databases, n);
	SPI_execute("select file_name from musicverse.media where file_name is not null order by file_name collate \"C\"", true, 0);
	texts = take_texts(&n);
	n = mv_media_sweep(texts, n);
	if (n > 0)
		ereport(LOG, (errmsg("musicverse removed %d unfinished or unknown files of media", n)));
}

void
mv_media_look_after_leftovers(void)
{
	if (!swept || mv_media.has_lost)
		resume();
	if (!swept)
		sweep();
}

/* ---- the loop ---- */

static int
count(MvMediaLane lane)
{
	dlist_iter	at;
	int			n = 0;

	dlist_foreach(at, &mv_media_pieces)
		n += dlist_container(MvMediaPiece, link, at.cur)->lane == lane;
	return n;
}

/* May a piece of the lane be claimed now, or when an error is forgotten? */
static bool
has_place(MvMediaLane lane)
{
	return wanted[lane] && count(lane) < (lane == MV_LANE_FETCHES ? mv_media_fetches : 1);
}

static MvMediaPiece *
claim(MvMediaLane lane)
{
	MvMediaPiece *piece;
	bool		failed;

	if (!has_place(lane) || mv_media.error_until > mv_now())
		return NULL;
	piece = mv_media_claim(lane, &failed);
	if (failed)
		return NULL;
	if (!mv_media.standing_still)
	{
		swept = true;
		mv_media.has_lost = false;
	}
	wanted[lane] = piece != NULL;
	return piece;
}

static void
run(MvMediaPiece *piece)
{
	MvMediaLane lane = piece->lane;

	if (!mv_media_run(piece))
		return;
	pieces++;
	/* its owner may have another one */
	wanted[lane] = true;
}

/* The next piece that waits for the processor, not for its file */
static MvMediaPiece *
runnable(void)
{
	dlist_iter	at;

	dlist_foreach(at, &mv_media_pieces)
	{
		MvMediaPiece *piece = dlist_container(MvMediaPiece, link, at.cur);

		if (!mv_media_is_fetching(&piece->task))
			return piece;
	}
	return NULL;
}

/* Something new and something that is under way, in turns; whatever fetches begins with that at once. */
static void
turn(void)
{
	static bool is_new_first = false;
	MvMediaPiece *fetching = claim(MV_LANE_FETCHES);
	MvMediaPiece *piece = NULL;

	if (fetching != NULL)
		run(fetching);
	is_new_first = !is_new_first;
	if (is_new_first || runnable() == NULL)
		piece = claim(MV_LANE_HERE);
	if (piece == NULL)
		piece = runnable();
	if (piece != NULL)
		run(piece);
}

static void
collect_fetched(void)
{
	dlist_iter	at;

	mv_loop_pump(mv_media.loop);
	while (mv_media_next_fetched() != NULL)
		;
	dlist_foreach(at, &mv_media_pieces)
	{
		MvMediaPiece *piece = dlist_container(MvMediaPiece, link, at.cur);

		if (mv_media_is_fetching(&piece->task))
			mv_media_expire_fetch(&piece->task);
	}
}

static TimestampTz
next_due(void)
{
	return Min(mv_media.next_due[MV_LANE_HERE], mv_media.next_due[MV_LANE_FETCHES]);
}

/* Looks for all that is due, now and at the latest in a minute: nothing may be overlooked for good. */
static void
want_all(void)
{
	for (int i = 0; i < MV_MEDIA_LANES; i++)
	{
		wanted[i] = true;
		mv_media.next_due[i] = mv_now() + LOOK_MS * INT64CONST(1000);
	}
}

static long
idle_time(TimestampTz now)
{
	long		most = dlist_is_empty(&mv_media_pieces) ? IDLE_WAIT_MS : FETCH_WAIT_MS;

	if (runnable() != NULL)
		return 0;
	if (has_place(MV_LANE_FETCHES) || has_place(MV_LANE_HERE))
		return mv_media.error_until > now ? Min((mv_media.error_until - now) / 1000 + 1, most) : 0;
	if (next_due() <= now)
		return 0;
	return (long) Min((next_due() - now) / 1000 + 1, most);
}

static void
leave(void)
{
	while (!dlist_is_empty(&mv_media_pieces))
		mv_media_put_back(dlist_head_element(MvMediaPiece, link, &mv_media_pieces));
	proc_exit(0);
}

void
mv_media_worker_main(Datum arg)
{
	mv_worker_begin(&mv_media.base, arg, "media worker");
	mv_media.base.note_error = mv_media_note_error;
	mv_media_tell(NULL);
	want_all();
	mv_media.scratch = AllocSetContextCreate(TopMemoryContext, "musicverse media turn", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(mv_media.scratch);
	mv_media.loop = mv_loop_create(4);

	for (;;)
	{
		TimestampTz now = mv_now();

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			mv_loop_flush_connections(mv_media.loop);
			maintenance_due = 0;
			want_all();
		}
		if (mv_worker_should_leave(mv_media.base.database, mv_media.base.place) || pieces >= MOST_PIECES)
			leave();
		if (mv_worker_was_woken(&mv_media.base) || next_due() <= now)
			want_all();
		collect_fetched();
		turn();
		if (swept && !mv_media.standing_still && maintenance_due <= now && mv_media.error_until <= now)
			mv_media_remove_expired();
		MemoryContextReset(mv_media.scratch);
		if (mv_loop_wait(mv_media.loop, idle_time(mv_now()), PG_WAIT_EXTENSION) & WL_LATCH_SET)
			want_all();
	}
}
