/*
 * The partners in memory, and each one's breaker. An answer that says no is a
 * success: the partner is there.
 *
 * Credentials are opened when the row has changed, and kept in this process.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/clock.h"
#include "distribution/releases_int.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

static dlist_head partners = DLIST_STATIC_INIT(partners);

/* Kept for good, as exchanges point to it; there are few. */
static MvPartner *
partner_get(const char *name)
{
	dlist_iter	iter;
	MvPartner  *partner;

	dlist_foreach(iter, &partners)
	{
		partner = dlist_container(MvPartner, node, iter.cur);
		if (strcmp(partner->name, name) == 0)
			return partner;
	}
	partner = MemoryContextAllocZero(TopMemoryContext, sizeof(MvPartner));
	strlcpy(partner->name, name, sizeof(partner->name));
	dlist_push_tail(&partners, &partner->node);
	return partner;
}

static void
replace(char **kept, const char *value)
{
	if (*kept != NULL)
		pfree(*kept);
	*kept = value != NULL ? MemoryContextStrdup(TopMemoryContext, value) : NULL;
}

static void
replace_json(Jsonb **kept, Datum value, bool isnull)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	if (*kept != NULL)
		pfree(*kept);
	*kept = isnull ? NULL : DatumGetJsonbPCopy(value);
	MemoryContextSwitchTo(old);
}

static void
read_secrets(MvPartner *partner)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {CStringGetTextDatum(partner->name)};
	bool		isnull = true;
	Datum		value = (Datum) 0;

	mv_worker_execute(&plan, "select musicverse._unseal(p.credentials, 'partner:' || p.name || ':credentials')::jsonb"
					" from musicverse.partners p where p.name = $1", 1, types, values, NULL);
	if (SPI_processed == 1)
		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	replace_json(&partner->credentials, value, isnull);
	SPI_freetuptable(SPI_tuptable);
}

static void
read_partner(HeapTuple row, TupleDesc desc)
{
	MvPartner  *partner = partner_get(SPI_getvalue(row, desc, 1));
	bool		isnull;
	int64		version = DatumGetInt64(SPI_getbinval(row, desc, 5, &isnull));
	const char *connector = SPI_getvalue(row, desc, 2);
	Datum		value;

	partner->seen = true;
	partner->usable = DatumGetBool(SPI_getbinval(row, desc, 3, &isnull));
	value = SPI_getbinval(row, desc, 8, &isnull);
	partner->next_due = isnull ? PG_INT64_MAX : DatumGetTimestampTz(value);
	if (version == partner->version)
		return;
	memset(&partner->breaker, 0, sizeof(MvBreaker));	/* perhaps it was mended */
	if (partner->sftp != NULL)
		mv_target_free(partner->sftp);
	partner->sftp = NULL;
	partner->connector = mv_connector_find(connector);
	if (partner->connector == NULL && partner->usable)
		ereport(LOG, (errmsg("partner \"%s\" gets nothing: there is no connector \"%s\"", partner->name, connector)));
	partner->concurrency = DatumGetInt32(SPI_getbinval(row, desc, 6, &isnull));
	partner->timeout_ms = DatumGetInt32(SPI_getbinval(row, desc, 7, &isnull));
	replace(&partner->base_url, SPI_getvalue(row, desc, 4));
	value = SPI_getbinval(row, desc, 9, &isnull);
	replace_json(&partner->config, value, isnull);
	if (partner->usable)
		read_secrets(partner);
	partner->version = version;
}

/* Reads the partners that are active or were, and when each has something due. */
void
mv_dist_partners_read(void)
{
	static SPIPlanPtr plan = NULL;
	SPITupleTable *table;
	uint64		n;
	dlist_iter	iter;

	dlist_foreach(iter, &partners)
		dlist_container(MvPartner, node, iter.cur)->seen = false;
	mv_worker_execute(&plan,
					"select p.name, p.connector,"
					" p.is_active and p.paused_at is null and p.installation_id = (select id from musicverse.installation),"
					" p.base_url, p.xmin::text::int8, (c->>'concurrency')::numeric::int4, ((c->>'timeout')::numeric * 1000)::int4,"
					" least((select k.next_attempt_at from musicverse.distribution_work k where k.partner = p.name"
					"  and k.next_attempt_at is not null order by k.next_attempt_at limit 1),"
					" (select a.next_attempt_at from musicverse.partner_accounts a where a.partner = p.name"
					"  and a.next_attempt_at is not null order by a.next_attempt_at limit 1),"
					" (select o.next_attempt_at from musicverse.partner_sign_outs o where o.partner = p.name"
					"  order by o.next_attempt_at limit 1),"
					" (select s.next_attempt_at from musicverse.partner_syncs s where s.partner = p.name"
					"  and s.next_attempt_at is not null order by s.next_attempt_at limit 1),"
					" (select r.next_attempt_at from musicverse.report_folders r where r.partner = p.name)), c"
					" from musicverse.partners p, musicverse._partner_config(p.connector, p.config) c"
					" where p.is_active", 0, NULL, NULL, NULL);
	table = SPI_tuptable;
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
		read_partner(table->vals[i], table->tupdesc);
	SPI_freetuptable(table);
	dlist_foreach(iter, &partners)
	{
		MvPartner  *partner = dlist_container(MvPartner, node, iter.cur);

		if (!partner->seen)
			partner->usable = false;
	}
}

/* The first partner for NULL; NULL behind the last. */
MvPartner *
mv_dist_partner_next(MvPartner *before)
{
	if (dlist_is_empty(&partners))
		return NULL;
	if (before == NULL)
		return dlist_container(MvPartner, node, dlist_head_node(&partners));
	if (!dlist_has_next(&partners, &before->node))
		return NULL;
	return dlist_container(MvPartner, node, dlist_next_node(&partners, &before->node));
}

/* Who was first is last in the next turn: where the worker's own limit is the narrow one, partners take turns. */
void
mv_dist_partners_rotate(void)
{
	if (!dlist_is_empty(&partners))
		dlist_push_tail(&partners, dlist_pop_head_node(&partners));
}

/* How many requests may be begun at it. While its breaker is open, one at a time and only when its time has passed. */
int
mv_dist_partner_room(const MvPartner *partner, TimestampTz now)
{
	if (!partner->usable || partner->connector == NULL)
		return 0;
	if (partner->breaker.open_ms != 0)
		return mv_breaker_allows(&partner->breaker, partner->in_flight, now) ? 1 : 0;
	return Max(partner->concurrency - partner->in_flight, 0);
}

void
mv_dist_breaker_note(MvPartner *partner, bool success, TimestampTz now)
{
	mv_breaker_note(&partner->breaker, success, now, "partner", partner->name);
}

/* How many there are; the names of up to max. */
int
mv_dist_open_breakers(char names[][NAMEDATALEN], int max)
{
	int			n = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &partners)
	{
		MvPartner  *partner = dlist_container(MvPartner, node, iter.cur);

		if (partner->breaker.open_ms == 0 || !partner->usable)
			continue;
		if (n < max)
			strlcpy(names[n], partner->name, NAMEDATALEN);
		n++;
	}
	return n;
}

/* When something can be begun next; PG_INT64_MAX when nothing is planned, or no partner has room. */
TimestampTz
mv_dist_next_due(void)
{
	TimestampTz next = PG_INT64_MAX;
	dlist_iter	iter;

	dlist_foreach(iter, &partners)
	{
		MvPartner  *partner = dlist_container(MvPartner, node, iter.cur);

		if (!partner->usable || partner->connector == NULL)
			continue;
		if (partner->breaker.open_ms != 0)
		{
			if (partner->in_flight == 0 && partner->next_due != PG_INT64_MAX)
				next = Min(next, Max(partner->next_due, partner->breaker.open_until));
		}
		else if (partner->in_flight < partner->concurrency)
			next = Min(next, partner->next_due);
	}
	return next;
}
