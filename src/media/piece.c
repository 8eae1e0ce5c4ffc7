/*
 * One piece of work: claimed in a transaction, which counts the attempt, run
 * outside of any, for a slice of time at once, and what came of it written down
 * in another one. A piece that makes the server crash is thus given up after
 * some attempts, and one that is cut off is begun again.
 *
 * A run is interruptible: mv_media_check() ends it by an error when the process
 * is told to end, and when somebody needs the database to himself; then the
 * piece is put back without counting the attempt.
 *
 * All that belongs to a piece is in its memory context.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "core/clock.h"
#include "core/installation.h"
#include "core/launcher.h"
#include "media/media_int.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/pmsignal.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define SETTLE_ATTEMPTS	3
#define SLICE_MS		500
#define PUMP_MS			20
#define OWNER_MOST		2		/* pieces of one owner under way that may fetch */

/* ---- what tasks call ---- */

static TimestampTz slice_began;
static TimestampTz pumped_at;

void
mv_media_check(void)
{
	TimestampTz now = GetCurrentTimestamp();

	CHECK_FOR_INTERRUPTS();
	if (!PostmasterIsAlive())
		proc_exit(1);
	if (mv_worker_should_leave(mv_media.base.database, mv_media.base.place))
	{
		mv_media.leaving = true;
		ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED), errmsg("the media worker has to leave")));
	}
	if (TimestampDifferenceExceeds(pumped_at, now, PUMP_MS))
	{
		mv_loop_pump(mv_media.loop);
		pumped_at = now;
	}
}

bool
mv_media_slice_over(void)
{
	return TimestampDifferenceExceeds(slice_began, GetCurrentTimestamp(), SLICE_MS);
}

static void (*task_function) (void *arg);
static void *task_function_arg;
static MemoryContext task_function_context;
static ErrorData *task_function_error;

static void
call_task_function(void)
{
	MemoryContext old = MemoryContextSwitchTo(task_function_context);

	PG_TRY();
	{
		task_function(task_function_arg);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(task_function_context);
		task_function_error = CopyErrorData();
		PG_RE_THROW();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
}

void
mv_media_transaction(void (*function) (void *arg), void *arg)
{
	task_function = function;
	task_function_arg = arg;
	task_function_context = CurrentMemoryContext;
	task_function_error = NULL;
	if (mv_worker_transaction(&mv_media.base, call_task_function, "working on media"))
		return;
	if (task_function_error != NULL)
		ReThrowError(task_function_error);
	ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("a transaction of the media worker failed")));
}

static Datum
text_value(const char *text, char *isnull)
{
	*isnull = text == NULL ? 'n' : ' ';
	return text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

/* ---- claiming ---- */

static MvMediaLane claiming;
static MvMediaPiece *claimed;

/* Where the next turn of a lane is looked for: an owner's id, or empty */
static char search_from[MV_MEDIA_LANES][40];

/* Owners who have enough under way, or hosts of which enough is fetched, with so many pieces. As text[] */
static Datum
busy(size_t name_at, int most)
{
	Datum	   *names = NULL;
	int			room = 0;
	int			n = 0;
	dlist_iter	at;

	dlist_foreach(at, &mv_media_pieces)
		room++;
	names = palloc(Max(room, 1) * sizeof(Datum));
	dlist_foreach(at, &mv_media_pieces)
	{
		MvMediaPiece *piece = dlist_container(MvMediaPiece, link, at.cur);
		const char *name = *(char **) ((char *) piece + name_at);
		dlist_iter	other_at;
		int			count = 0;

		if (piece->lane != MV_LANE_FETCHES || name == NULL)
			continue;
		dlist_foreach(other_at, &mv_media_pieces)
		{
			MvMediaPiece *other = dlist_container(MvMediaPiece, link, other_at.cur);
			const char *other_name = *(char **) ((char *) other + name_at);

			count += other->lane == MV_LANE_FETCHES && other_name != NULL && strcmp(other_name, name) == 0;
		}
		if (count >= most)
			names[n++] = CStringGetTextDatum(name);
	}
	return PointerGetDatum(construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT));
}

static char *
column(const char *name)
{
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, SPI_fnumber(SPI_tuptable->tupdesc, name));
}

static Datum
value(const char *name, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, SPI_fnumber(SPI_tuptable->tupdesc, name), isnull);
}

/* Of the row that was claimed */
static MvMediaPiece *
make_piece(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "musicverse media piece", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	MvMediaPiece *piece = palloc0(sizeof(MvMediaPiece));
	bool		isnull;

	piece->context = context;
	piece->lane = claiming;
	piece->owner = column("owner");
	piece->host = column("host");
	piece->task.id = column("id");
	piece->task.kind = column("kind");
	piece->task.input = DatumGetJsonbPCopy(value("input", &isnull));
	piece->task.attempts = DatumGetInt32(value("attempts", &isnull));
	piece->task.files = palloc0(sizeof(MvMediaFiles));
	piece->task.files->output = -1;
	piece->kind = mv_media_kind(piece->task.kind);
	MemoryContextSwitchTo(old);
	return piece;
}

static void
note_standing_still(void)
{
	if (mv_is_copy() == mv_media.standing_still)
		return;
	mv_media.standing_still = !mv_media.standing_still;
	if (mv_media.standing_still)
		ereport(LOG,
				(errmsg("musicverse makes no media in this database: it is a copy of the one where sending was enabled"),
				 errhint("If this one is to send, run SELECT musicverse.enable_sending().")));
}

static void
claim(void)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[4] = {BOOLOID, TEXTARRAYOID, TEXTARRAYOID, TEXTOID};
	Datum		values[4];
	char		nulls[5] = "    ";
	char	   *from = search_from[claiming];
	const char *place;
	bool		isnull;
	Datum		due;

	claimed = NULL;
	note_standing_still();
	mv_media_tell(NULL);
	if (mv_media.standing_still)
		return;
	mv_media_look_after_leftovers();
	values[0] = BoolGetDatum(claiming == MV_LANE_FETCHES);
	values[1] = busy(offsetof(MvMediaPiece, owner), OWNER_MOST);
	/* so that one slow host leaves room for others */
	values[2] = busy(offsetof(MvMediaPiece, host), Max(1, mv_media_fetches * 3 / 4));
	values[3] = text_value(from[0] != '\0' ? from : NULL, &nulls[3]);
	mv_worker_execute(&plan, "select id, kind, input, attempts, next_due, owner, host, after"
					  " from musicverse._claim_media_work(array[$1], $2::uuid[], $3, $4::uuid)", 4, types, values, nulls);
	due = value("next_due", &isnull);
	if (!isnull)
		mv_media.next_due[claiming] = Min(mv_media.next_due[claiming], DatumGetTimestampTz(due));
	place = column("after");
	strlcpy(from, place != NULL ? place : "", sizeof(search_from[0]));
	if (column("id") != NULL)
		claimed = make_piece();
}

MvMediaPiece *
mv_media_claim(MvMediaLane lane, bool *failed)
{
	claiming = lane;
	claimed = NULL;
	*failed = !mv_media_in_transaction(claim, "looking for work on media");
	if (*failed && claimed != NULL)
	{
		MemoryContextDelete(claimed->context);
		claimed = NULL;
	}
	if (claimed != NULL)
		dlist_push_tail(&mv_media_pieces, &claimed->link);
	return claimed;
}

/* ---- its end ---- */

static MvMediaPiece *settling;

static void
settle(void)
{
	static SPIPlanPtr plan = NULL;
	const MvMediaResult *result = &settling->result;
	Oid			types[11] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, FLOAT8OID};
	const char *texts[9] = {settling->task.id, settling->verdict, settling->message, result->media_type, result->sha256, result->md5,
	result->facts, settling->file_name, settling->owner};
	Datum		values[11];
	char		nulls[12] = "           ";

	for (int i = 0; i < lengthof(texts); i++)
		values[i] = text_value(texts[i], &nulls[i]);
	values[9] = Int64GetDatum(result->bytes);
	values[10] = Float8GetDatum(settling->used);
	mv_worker_execute(&plan, "select musicverse._settle_media_work($1::uuid, $2, $3, $4, $10, $5, $6, $7::jsonb, $8, $9::uuid, $11)",
					  11, types, values, nulls);
}

/* Tried some times: a lock may be held. What can't be written is a fault of ours, and made again. */
static void
write_down(MvMediaPiece *piece)
{
	bool		written = false;

	settling = piece;
	for (int i = 0; i < SETTLE_ATTEMPTS && !written; i++)
		written = mv_media_in_transaction(settle, "writing down a result of media");
	if (written)
		return;
	memset(&piece->result, 0, sizeof(piece->result));
	piece->file_name = NULL;
	piece->verdict = "again";
	piece->message = "the result could not be written down: see the server's log";
	if (!mv_media_in_transaction(settle, "writing down a failure of media"))
		mv_media.has_lost = true;
}

static void
finish(MvMediaPiece *piece)
{
	bool		made_file;

	if (piece->kind != NULL && piece->kind->end != NULL)
		piece->kind->end(&piece->task);
	mv_media_stop_fetch(&piece->task);
	mv_media_close(&piece->task);
	write_down(piece);
	made_file = piece->file_name != NULL;
	dlist_delete(&piece->link);
	MemoryContextDelete(piece->context);
	if (made_file && mv_media_max_size_mb > 0)
		mv_media_remove_expired();
	mv_media_tell(NULL);
}

void
mv_media_put_back(MvMediaPiece *piece)
{
	piece->verdict = "back";
	finish(piece);
}

/* ---- a run ---- */

/* An error of the run, and what it means */
static void
take_error(MvMediaPiece *piece)
{
	ErrorData  *error;

	MemoryContextSwitchTo(piece->context);
	error = CopyErrorData();
	/* a helper's transaction may be open */
	AbortCurrentTransaction();
	piece->message = error->message;
	if (mv_media.leaving)
		piece->verdict = "back";
	else if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_DATA_EXCEPTION)
		piece->verdict = "failed";
	else
	{
		piece->verdict = "again";
		EmitErrorReport();
		mv_media_note_error(error->message);
	}
	FlushErrorState();
}

static void
run(MvMediaPiece *piece)
{
	PG_TRY();
	{
		if (piece->kind == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION), errmsg("this server knows no work of kind \"%s\"", piece->task.kind)));
		if (piece->kind->run(&piece->task, &piece->result))
		{
			piece->file_name = mv_media_publish(&piece->task, &piece->result);
			piece->verdict = "done";
		}
	}
	PG_CATCH();
	{
		take_error(piece);
	}
	PG_END_TRY();
}

bool
mv_media_run(MvMediaPiece *piece)
{
	MemoryContext old = MemoryContextSwitchTo(piece->context);

	mv_media.leaving = false;
	slice_began = GetCurrentTimestamp();
	/* a place among the fetches is a share of the worker */
	if (piece->fetching_since != 0)
		piece->used += (slice_began - piece->fetching_since) / (double) USECS_PER_SEC / mv_media_fetches;
	pgstat_report_activity(STATE_RUNNING, psprintf("%s %s", piece->task.kind, piece->task.id));
	mv_media_tell(piece);
	run(piece);
	MemoryContextSwitchTo(old);
	piece->used += (GetCurrentTimestamp() - slice_began) / (double) USECS_PER_SEC;
	piece->fetching_since = mv_media_is_fetching(&piece->task) ? GetCurrentTimestamp() : 0;
	pgstat_report_activity(STATE_IDLE, NULL);
	/* the next one of the others is to be run first */
	dlist_delete(&piece->link);
	dlist_push_tail(&mv_media_pieces, &piece->link);
	if (piece->verdict == NULL)
		return false;
	finish(piece);
	return true;
}
