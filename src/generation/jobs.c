/*
 * The open jobs and the providers in memory, and each provider's breaker.
 *
 * A provider whose breaker is open gets no new jobs. An answer that says no is
 * a success: the provider is there. But 401 is a failure: until somebody mends
 * the credentials no job will be taken.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/clock.h"
#include "generation/generation_int.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

static HTAB *jobs;
static uint64 readings = 0;
static dlist_head providers = DLIST_STATIC_INIT(providers);

void
mv_gen_jobs_init(void)
{
	HASHCTL		control = {.keysize = sizeof(pg_uuid_t), .entrysize = sizeof(MvGenJob), .hcxt = TopMemoryContext};

	jobs = hash_create("musicverse jobs", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

MvGenProvider *
mv_gen_provider_find(const char *name)
{
	dlist_iter	iter;

	dlist_foreach(iter, &providers)
	{
		MvGenProvider *provider = dlist_container(MvGenProvider, node, iter.cur);

		if (strcmp(provider->name, name) == 0)
			return provider;
	}
	return NULL;
}

/* Kept for good, as exchanges point to it; there are few. */
static MvGenProvider *
provider_get(const char *name)
{
	MvGenProvider *provider = mv_gen_provider_find(name);

	if (provider == NULL)
	{
		provider = MemoryContextAllocZero(TopMemoryContext, sizeof(MvGenProvider));
		strlcpy(provider->name, name, sizeof(provider->name));
		dlist_push_tail(&providers, &provider->node);
	}
	return provider;
}

static void
read_providers(void)
{
	static SPIPlanPtr plan = NULL;
	dlist_iter	iter;
	bool		isnull;

	dlist_foreach(iter, &providers)
		dlist_container(MvGenProvider, node, iter.cur)->seen = false;
	mv_worker_execute(&plan,
				   "select p.name, p.installation_id = (select id from musicverse.installation), p.is_active,"
				   " case when c->'poll' = 'null' then 0"
				   "  when c->>'mode' = 'callback' and current_setting('musicverse.public_url') <> ''"
				   "  then greatest(60, (c->>'poll_interval')::float8) else (c->>'poll_interval')::float8 end, p.xmin::text::int8"
				   " from musicverse.providers p, musicverse._provider_config(p.config) c", 0, NULL, NULL, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		MvGenProvider *provider = provider_get(SPI_getvalue(row, desc, 1));
		int64		version = DatumGetInt64(SPI_getbinval(row, desc, 5, &isnull));

		provider->seen = true;
		if (version != provider->version)
			memset(&provider->breaker, 0, sizeof(MvBreaker));	/* perhaps it was mended */
		provider->version = version;
		provider->ours = DatumGetBool(SPI_getbinval(row, desc, 2, &isnull));
		provider->takes_jobs = provider->ours && DatumGetBool(SPI_getbinval(row, desc, 3, &isnull));
		provider->poll_ms = (int) (DatumGetFloat8(SPI_getbinval(row, desc, 4, &isnull)) * 1000);
	}
	dlist_foreach(iter, &providers)
	{
		MvGenProvider *provider = dlist_container(MvGenProvider, node, iter.cur);

		if (!provider->seen)
			provider->ours = provider->takes_jobs = false;
	}
}

static void
read_job(HeapTuple row, TupleDesc desc)
{
	bool		isnull;
	bool		found;
	pg_uuid_t  *id = DatumGetUUIDP(SPI_getbinval(row, desc, 1, &isnull));
	MvGenJob   *job = hash_search(jobs, id, HASH_ENTER, &found);
	int64		version = DatumGetInt64(SPI_getbinval(row, desc, 6, &isnull));
	char	   *name = SPI_getvalue(row, desc, 3);
	Datum		value;

	job->seen = readings;
	if (found && job->version == version)
		return;
	if (!found)
		job->in_flight = false;
	job->version = version;
	job->state = SPI_getvalue(row, desc, 2)[0];
	job->provider = name != NULL ? mv_gen_provider_find(name) : NULL;
	value = SPI_getbinval(row, desc, 4, &isnull);
	job->next_at = isnull ? 0 : DatumGetTimestampTz(value);
	value = SPI_getbinval(row, desc, 5, &isnull);
	job->deadline = isnull || job->state == 'c' ? PG_INT64_MAX : DatumGetTimestampTz(value);
}

/* Reads everything that is open; what isn't any more is forgotten. */
void
mv_gen_jobs_read(void)
{
	static SPIPlanPtr plan = NULL;
	HASH_SEQ_STATUS seq;
	MvGenJob   *job;

	read_providers();
	readings++;
	mv_worker_execute(&plan,
				   "select job_id, state, provider, next_at, deadline, xmin::text::int8 from musicverse.generation_work"
				   " where state in ('submitting', 'running', 'cancelling')", 0, NULL, NULL, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
		read_job(SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
	SPI_freetuptable(SPI_tuptable);

	hash_seq_init(&seq, jobs);
	while ((job = hash_seq_search(&seq)) != NULL)
		if (job->seen != readings && !job->in_flight)
			hash_search(jobs, &job->id, HASH_REMOVE, NULL);
}

MvGenJob *
mv_gen_job_find(const pg_uuid_t *id)
{
	return hash_search(jobs, id, HASH_FIND, NULL);
}

/* May a request go to it? While its breaker is open, one at a time and only when its time has passed. */
static bool
may_be_asked(const MvGenProvider *provider, TimestampTz now)
{
	return provider->ours && mv_breaker_allows(&provider->breaker, provider->in_flight, now);
}

static bool
is_due(const MvGenJob *job, TimestampTz now)
{
	if (job->in_flight || job->seen != readings || job->next_at > now)
		return false;
	if (job->state == 's' || job->provider == NULL)
		return true;			/* another one may be asked */
	if (job->state == 'r' && job->provider->poll_ms == 0)
		return false;
	return may_be_asked(job->provider, now);
}

/* The next of the jobs of which something is to be asked; NULL ends the walk. */
MvGenJob *
mv_gen_job_due(TimestampTz now, bool first)
{
	static HASH_SEQ_STATUS seq;
	MvGenJob   *job;

	if (first)
		hash_seq_init(&seq, jobs);
	while ((job = hash_seq_search(&seq)) != NULL)
		if (is_due(job, now))
			return job;
	return NULL;
}

/* The same for those whose time is over. */
MvGenJob *
mv_gen_job_overdue(TimestampTz now, bool first)
{
	static HASH_SEQ_STATUS seq;
	MvGenJob   *job;

	if (first)
		hash_seq_init(&seq, jobs);
	while ((job = hash_seq_search(&seq)) != NULL)
		if (job->seen == readings && job->deadline <= now)
			return job;
	return NULL;
}

/*
 * The names of the providers that may get a job now, as text[]: those whose
 * breaker is closed and, with probes, those whose time to be probed has come.
 */
Datum
mv_gen_usable_providers(TimestampTz now, bool probes, int *n)
{
	ArrayBuildState *names = initArrayResult(TEXTOID, CurrentMemoryContext, false);
	dlist_iter	iter;

	*n = 0;
	dlist_foreach(iter, &providers)
	{
		MvGenProvider *provider = dlist_container(MvGenProvider, node, iter.cur);

		if (!provider->takes_jobs || !may_be_asked(provider, now) || (!probes && provider->breaker.open_ms != 0))
			continue;
		names = accumArrayResult(names, CStringGetTextDatum(provider->name), false, TEXTOID, CurrentMemoryContext);
		(*n)++;
	}
	return makeArrayResult(names, CurrentMemoryContext);
}

void
mv_gen_breaker_note(MvGenProvider *provider, bool success, TimestampTz now)
{
	if (!mv_breaker_note(&provider->breaker, success, now, "provider", provider->name))
		return;
	provider->probed = false;
	mv_gen.dirty |= success;
}

/* How many there are; the names of up to max. */
int
mv_gen_open_breakers(char names[][NAMEDATALEN], int max)
{
	int			n = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &providers)
	{
		MvGenProvider *provider = dlist_container(MvGenProvider, node, iter.cur);

		if (provider->breaker.open_ms == 0 || !provider->ours)
			continue;
		if (n < max)
			strlcpy(names[n], provider->name, NAMEDATALEN);
		n++;
	}
	return n;
}

/* Has the time of a breaker passed since this was asked last? Jobs may wait for it. */
bool
mv_gen_breakers_due(TimestampTz now)
{
	bool		due = false;
	dlist_iter	iter;

	dlist_foreach(iter, &providers)
	{
		MvGenProvider *provider = dlist_container(MvGenProvider, node, iter.cur);

		if (provider->breaker.open_ms == 0 || provider->probed || provider->breaker.open_until > now)
			continue;
		provider->probed = due = true;
	}
	return due;
}

/* When something is to be done next; PG_INT64_MAX when nothing is planned. */
TimestampTz
mv_gen_next_due(void)
{
	TimestampTz next = PG_INT64_MAX;
	HASH_SEQ_STATUS seq;
	MvGenJob   *job;
	dlist_iter	iter;

	dlist_foreach(iter, &providers)
	{
		MvGenProvider *provider = dlist_container(MvGenProvider, node, iter.cur);

		if (provider->breaker.open_ms != 0 && !provider->probed)
			next = Min(next, provider->breaker.open_until);
	}
	hash_seq_init(&seq, jobs);
	while ((job = hash_seq_search(&seq)) != NULL)
	{
		const MvGenProvider *provider = job->provider;

		next = Min(next, job->deadline);
		if (job->in_flight || (provider != NULL && job->state != 's' && !provider->ours) ||
			(provider != NULL && job->state == 'r' && provider->poll_ms == 0))
			continue;
		if (provider != NULL && job->state != 's' && provider->breaker.open_ms != 0)
		{
			if (provider->in_flight == 0)
				next = Min(next, Max(job->next_at, provider->breaker.open_until));
		}
		else
			next = Min(next, job->next_at);
	}
	return next;
}
