/*
 * Sales reports are looked for, fetched and imported; see reports.h.
 *
 * What is asked is recorded before it is sent. A file is fetched into a
 * temporary file of the server, and imported in the transaction that writes
 * down what became of it: it counts once, whenever the process dies. While an
 * import runs the loop is pumped, so that what else is under way goes on.
 *
 * A list is read as servers write it, like "ls -l": what it is, its length and
 * time, and its name. Names are plain, without blanks, and end as those of
 * reports do; everything else is passed over. Links are not followed.
 *
 * A partner that refuses this is not paused: it may take releases all the same.
 *
 * Locks: the row of the folder, for which the worker never waits; those of an
 * import, see distribution_dsr.sql.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "distribution/dsr.h"
#include "distribution/releases_int.h"
#include "distribution/reports.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define MAX_NAME	200				/* as long as the name of a report may be */
#define MAX_FIELDS	32
#define MAX_TIME	20				/* of each field of a time */
#define LEAST_FIELDS 6			/* kind, length, three of the time, name */

/* ---- lists */

/* Of one list, side by side; names of control files are apart */
typedef struct Names
{
	Datum	   *names;
	Datum	   *sizes;
	Datum	   *times;
	int			n;
	Datum	   *controls;
	int			ncontrols;
	int			passed_over;
	int			room;
} Names;

typedef struct Field
{
	const char *text;
	int			len;
} Field;

static bool
ends_with(Field name, const char *end)
{
	int			len = strlen(end);

	return name.len > len && pg_strncasecmp(name.text + name.len - len, end, len) == 0;
}

/* Neither a path nor what somebody would take for an option or a temporary file */
static bool
is_plain(Field name)
{
	if (name.len > MAX_NAME || name.text[0] == '.' || name.text[0] == '-')
		return false;
	for (int i = 0; i < name.len; i++)
	{
		char		c = name.text[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("._-+=@,()", c) != NULL) || c == '\0')
			return false;
	}
	return true;
}

static int
split(const char *line, int len, Field fields[MAX_FIELDS])
{
	int			n = 0;

	for (int at = 0; at < len && n < MAX_FIELDS;)
	{
		int			begin;

		while (at < len && (line[at] == ' ' || line[at] == '\t'))
			at++;
		for (begin = at; at < len && line[at] != ' ' && line[at] != '\t'; at++)
			;
		if (at > begin)
			fields[n++] = (Field) {line + begin, at - begin};
	}
	return n;
}

/* -1 = it is none */
static int64
number_of(Field field)
{
	int64		number = 0;

	for (int i = 0; i < field.len; i++)
	{
		if (field.text[i] < '0' || field.text[i] > '9' || i == 18)
			return -1;
		number = number * 10 + (field.text[i] - '0');
	}
	return field.len > 0 ? number : -1;
}

/* "Nov 25 21:07", as it is: it is only compared. A list may have a million, so nothing is left but the text. */
static text *
time_of(const Field *fields, int n)
{
	char		buffer[3 * (MAX_TIME + 1)];
	int			len = 0;

	for (int i = 0; i < n; i++)
	{
		if (i > 0)
			buffer[len++] = ' ';
		for (int at = 0; at < Min(fields[i].len, MAX_TIME); at++)
		{
			char		c = fields[i].text[at];

			buffer[len++] = c > ' ' && c <= '~' ? c : '?';
		}
	}
	return cstring_to_text_with_len(buffer, len);
}

static void
make_room(Names *names)
{
	if (names->n < names->room && names->ncontrols < names->room)
		return;
	names->room *= 2;
	names->names = repalloc_huge(names->names, names->room * sizeof(Datum));
	names->sizes = repalloc_huge(names->sizes, names->room * sizeof(Datum));
	names->times = repalloc_huge(names->times, names->room * sizeof(Datum));
	names->controls = repalloc_huge(names->controls, names->room * sizeof(Datum));
}

/* False when it is a file of a report, and can't be taken. */
static bool
take_entry(Names *names, const char *line, int len)
{
	Field		fields[MAX_FIELDS];
	int			n = split(line, len, fields);
	Field		name = n > 0 ? fields[n - 1] : (Field) {"", 0};
	bool		is_report = ends_with(name, ".tsv") || ends_with(name, ".tsv.gz");
	int			ntime;
	int64		size;

	if (!is_report && !ends_with(name, ".ctrl"))
		return true;
	if (n < LEAST_FIELDS || n == MAX_FIELDS || fields[0].text[0] != '-' || !is_plain(name))
		return false;
	/* "2026-11-25 21:07" as some servers write it, else with the month's name */
	ntime = memchr(fields[n - 3].text, '-', fields[n - 3].len) != NULL ? 2 : 3;
	size = number_of(fields[n - 2 - ntime]);
	if (size < 0)
		return false;
	make_room(names);
	if (!is_report)
	{
		names->controls[names->ncontrols++] = PointerGetDatum(cstring_to_text_with_len(name.text, name.len));
		return true;
	}
	names->names[names->n] = PointerGetDatum(cstring_to_text_with_len(name.text, name.len));
	names->sizes[names->n] = Int64GetDatum(size);
	names->times[names->n] = PointerGetDatum(time_of(&fields[n - 1 - ntime], ntime));
	names->n++;
	return true;
}

static void
read_list(const MvStream *stream, Names *names)
{
	const char *at = stream->sink.memory;
	const char *end = at + stream->sink.memory_len;

	memset(names, 0, sizeof(Names));
	names->room = 64;
	names->names = palloc(names->room * sizeof(Datum));
	names->sizes = palloc(names->room * sizeof(Datum));
	names->times = palloc(names->room * sizeof(Datum));
	names->controls = palloc(names->room * sizeof(Datum));
	while (at < end)
	{
		const char *line_end = memchr(at, '\n', end - at);
		int			len = (int) ((line_end != NULL ? line_end : end) - at);

		if (!take_entry(names, at, len))
			names->passed_over++;
		at += len + 1;
	}
}

/* ---- what came of it */

static void
judge_report(MvDistExchange *exchange, const MvResponse *response, MvOutcome *outcome)
{
	const char *partner = exchange->partner->name;
	const char *where = exchange->request.path;

	if (response->status == 404)
		outcome->message = psprintf("partner %s: there is nothing at \"%s\" on its server", partner, where);
	else if (response->status != 200)
		outcome->message = psprintf("\"%s\": %s", where, response->body != NULL ? response->body : "the server refused it");
	else if (exchange->request.sftp == MV_SFTP_FETCH && response->sha256 == NULL)
		outcome->message = psprintf("partner %s: nothing is known of what came as \"%s\"", partner, where);
	else
	{
		mv_learn(outcome, "sha256", response->sha256);
		return;
	}
	outcome->kind = MV_AGAIN;
}

/* What a list has; false when somebody holds the folder. */
static bool
write_list(MvDistExchange *exchange)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[7] = {UUIDOID, TEXTOID, TEXTARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4OID};
	Datum		values[7] = {UUIDPGetDatum(&exchange->job.id), CStringGetTextDatum(exchange->step)};
	Names		names;
	bool		isnull;
	bool		taken;

	read_list(exchange->stream, &names);
	values[2] = PointerGetDatum(construct_array(names.names, names.n, TEXTOID, -1, false, TYPALIGN_INT));
	values[3] = PointerGetDatum(construct_array(names.sizes, names.n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[4] = PointerGetDatum(construct_array(names.times, names.n, TEXTOID, -1, false, TYPALIGN_INT));
	values[5] = PointerGetDatum(construct_array(names.controls, names.ncontrols, TEXTOID, -1, false, TYPALIGN_INT));
	values[6] = Int32GetDatum(names.passed_over);
	mv_worker_execute(&plan, "select musicverse._take_report_list($1, $2, $3, $4, $5, $6, $7)", 7, types, values, NULL);
	taken = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_freetuptable(SPI_tuptable);
	return taken;
}

/* A file that was fetched, or why something was not; false when somebody holds the folder, or imports. */
static bool
write_end(MvDistExchange *exchange, const MvOutcome *outcome)
{
	static SPIPlanPtr plan = NULL;
	bool		good = outcome->kind == MV_NEXT;
	/* also when what came could not be imported */
	int			status = exchange->end == MV_END_ANSWERED && exchange->status != 200 ? exchange->status : 0;
	Oid			types[6] = {UUIDOID, INT4OID, TEXTOID, TEXTOID, INT8OID, TEXTOID};
	Datum		values[6] = {UUIDPGetDatum(&exchange->job.id), Int32GetDatum(good ? 200 : status)};
	char		nulls[7] = "  nnnn";
	bool		isnull;
	bool		taken;

	if (good)
	{
		values[3] = CStringGetTextDatum(mv_json_text(outcome->learned, "sha256"));
		values[4] = Int64GetDatum(exchange->stream->source[0].bytes);
		values[5] = CStringGetTextDatum(psprintf("%s/%s", DataDir, FilePathName(exchange->fetched)));
		memset(nulls + 3, ' ', 3);
	}
	else if (outcome->message != NULL)
	{
		values[2] = CStringGetTextDatum(outcome->message);
		nulls[2] = ' ';
	}
	mv_worker_execute(&plan, "select musicverse._settle_report($1, $2, $3, $4, $5, $6)", 6, types, values, nulls);
	taken = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_freetuptable(SPI_tuptable);
	return taken;
}

static void
write_report(MvDistExchange *exchange, const MvOutcome *outcome)
{
	bool		taken;

	if (outcome->kind == MV_NEXT && exchange->request.sftp == MV_SFTP_DETAILS)
		taken = write_list(exchange);
	else
		taken = write_end(exchange, outcome);
	exchange->busy = !taken;
}

static const MvErrand report_errand = {judge_report, write_report, true};

/* ---- claiming */

static void
put_off(MvDistExchange *exchange, const char *why)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[2] = {UUIDOID, TEXTOID};
	Datum		values[2] = {UUIDPGetDatum(&exchange->job.id), CStringGetTextDatum(why)};

	mv_worker_execute(&plan, "select musicverse._settle_report($1, 0, $2, null, null, null)", 2, types, values, NULL);
}

/* arg: the path that is asked for */
static void
begin_report(MvDistExchange *exchange, void *arg)
{
	static SPIPlanPtr plan = NULL;
	MvRequest  *request = &exchange->request;
	Oid			types[2] = {UUIDOID, INT4OID};
	Datum		values[2] = {UUIDPGetDatum(&exchange->job.id), Int32GetDatum((int32) exchange->partner->timeout_ms)};

	request->path = arg;
	request->sftp = strcmp(exchange->step, "fetch") == 0 ? MV_SFTP_FETCH : MV_SFTP_DETAILS;
	exchange->timeout_ms = exchange->partner->timeout_ms;
	mv_dist_sftp_check(exchange);
	if (request->sftp == MV_SFTP_FETCH)
		mv_dist_fetch_into(exchange, (int64) dsr_max_report_kb * 1024);
	mv_worker_execute(&plan, "select musicverse._begin_report($1, $2)", 2, types, values, NULL);
}

static void
keep_others_going(void)
{
	mv_loop_pump(mv_dist.loop);
}

void
mv_report_claim(MvPartner *partner, TimestampTz now)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {CStringGetTextDatum(partner->name)};
	MvDistExchange *exchange;
	MemoryContext old;
	char	   *path;
	bool		isnull;

	mv_worker_execute(&plan, "select id, step, path from musicverse._claim_report($1)", 1, types, values, NULL);
	if (SPI_processed == 0)
	{
		SPI_freetuptable(SPI_tuptable);
		return;
	}
	dsr_between = keep_others_going;
	exchange = mv_dist_exchange(partner, &report_errand, now);
	old = MemoryContextSwitchTo(exchange->context);
	exchange->job.id = *DatumGetUUIDP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	strlcpy(exchange->step, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2), sizeof(exchange->step));
	path = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3);
	SPI_freetuptable(SPI_tuptable);
	MemoryContextSwitchTo(old);
	mv_dist_begin(exchange, begin_report, path, put_off);
}
