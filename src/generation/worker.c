/*
 * The generation worker: gives waiting jobs to providers, sends, polls and
 * cancels. Its loop is core/asker.c.
 *
 * A turn fails what is over time, claims waiting jobs, and records the
 * requests that are due.
 *
 * Locks, besides those of asker.h: rows of jobs, which it never waits for.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "generation/generation_int.h"
#include "utils/timestamp.h"

#define CLAIMS_A_TURN	64

PGDLLEXPORT void mv_generation_worker_main(Datum arg);

MvAsker		mv_gen;

static pg_uuid_t last_user;		/* whom a job was claimed for last */
static bool has_last_user = false;

/* True when it may have left some. */
static bool
claim(TimestampTz now, bool probes, int slots)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[3] = {TEXTARRAYOID, INT4OID, UUIDOID};
	Datum		values[3];
	char		nulls[4] = "   ";
	int			n;
	bool		isnull;
	Datum		last;

	values[0] = mv_gen_usable_providers(now, probes, &n);
	values[1] = Int32GetDatum(slots);
	values[2] = UUIDPGetDatum(&last_user);
	nulls[2] = has_last_user ? ' ' : 'n';
	if (n == 0)
		return false;
	mv_worker_execute(&plan, "select after, claimed from musicverse._claim_jobs($1, $2, $3)", 3, types, values, nulls);
	last = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
	{
		last_user = *DatumGetUUIDP(last);
		has_last_user = true;
	}
	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull)) == slots;
}

static void
expire(TimestampTz now)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[1] = {UUIDOID};
	MvGenJob   *job;

	for (bool first = true; (job = mv_gen_job_overdue(now, first)) != NULL; first = false)
	{
		Datum		values[1] = {UUIDPGetDatum(&job->id)};

		job->deadline = now + USECS_PER_SEC;	/* locked by somebody: again */
		mv_worker_execute(&plan, "select musicverse._expire_job($1)", 1, types, values, NULL);
		mv_gen.dirty = true;
	}
}

static void
plan(TimestampTz now)
{
	MvGenJob   *job;
	bool		was_dirty = mv_gen.dirty;
	bool		more = false;
	int			n;

	if (was_dirty)
		mv_gen_jobs_read();
	mv_gen.dirty = false;
	expire(now);
	if (was_dirty || mv_gen.dirty)
	{
		more = claim(now, false, CLAIMS_A_TURN);
		if (mv_gen_open_breakers(NULL, 0) > 0)
			claim(now, true, 1);
		CommandCounterIncrement();
		mv_gen_jobs_read();
		mv_gen.dirty = false;
	}
	for (bool first = true; (job = mv_gen_job_due(now, first)) != NULL; first = false)
	{
		if (mv_gen.in_flight >= mv_gen_concurrency)
		{
			/* the walk must come to its end */
			continue;
		}
		mv_gen_begin(job, mv_gen_usable_providers(now, true, &n));
	}
	mv_gen.dirty |= more;
}

const MvAskerKind mv_gen_kind = {
	.name = "generation worker",
	.halted = "asks no provider",
	.planning = "planning requests to providers",
	.settling = "settling answers of providers",
	.place = MV_PLACE_GENERATION,
	.concurrency = &mv_gen_concurrency,
	.begin = mv_gen_jobs_init,
	.plan = plan,
	.settle = mv_gen_settle,
	.start_begun = mv_gen_start_begun,
	.drop_begun = mv_gen_drop_begun,
	.settled = mv_gen_settled,
	.settle_failed = mv_gen_settle_failed,
	.drop_first = mv_gen_drop_first,
	.collect = mv_gen_collect,
	.look = mv_gen_breakers_due,
	.next_due = mv_gen_next_due,
	.open_breakers = mv_gen_open_breakers
};

void
mv_generation_worker_main(Datum arg)
{
	mv_asker_main(arg, &mv_gen, &mv_gen_kind);
}
