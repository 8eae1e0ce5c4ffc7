/*
 * The general limiter for SQL: take_tokens(), take_tokens_all() for several
 * limits at once, and rate_limit_status().
 *
 * Nothing is looked up in a table and nothing is written: all of it happens in
 * shared memory, also in read-only transactions and in recovery, and no
 * rollback gives a token back.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "core/shared.h"
#include "fmgr.h"
#include "funcapi.h"
#include "keys/bucket.h"
#include "keys/kept.h"
#include "keys/rate.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(musicverse_take_tokens);
PG_FUNCTION_INFO_V1(musicverse_take_tokens_all);
PG_FUNCTION_INFO_V1(musicverse_rate_limit_status);

#define MAX_LIMITS	16

/* A rate's bytes are nearly always those of the call before */
#define KEPT_RATE	32

typedef struct Kept
{
	MvKept		kept;
	int			rate_len;
	char		rate[KEPT_RATE];
	double		ns_per_token;
	int64		capacity;
	Datum		zero;
	HeapTuple	allowed;		/* of take_tokens(): the row of a call that was allowed, to be copied */
} Kept;

/* How the columns begin that can't be null */
typedef struct AllowedRow
{
	bool		allowed;
	int32		remaining;
} AllowedRow;

double
mv_ns_per_token_safe(Numeric per_second, int64 capacity)
{
	double		rate;
	double		ns;

	if (numeric_is_nan(per_second) || numeric_is_inf(per_second))
		return 0;
	rate = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(per_second)));
	ns = 1e9 / rate;
	return rate > 0 && ns * capacity <= (double) MV_BUCKET_MAX_NS ? ns : 0;
}

double
mv_ns_per_token(Numeric per_second, int64 capacity)
{
	double		ns = mv_ns_per_token_safe(per_second, capacity);

	if (ns <= 0)
	{
		char	   *rate = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(per_second)));

		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a refill of %s per second is out of range for a capacity of " INT64_FORMAT,
						strlen(rate) <= 40 ? rate : numeric_out_sci(per_second, 3), capacity),
				 errhint("It must be greater than 0, and fill the bucket within 100 years.")));
	}
	return ns;
}

Datum
mv_seconds(int64 us)
{
	return NumericGetDatum(int64_div_fast_to_numeric(us, 6));
}

static void
refuse_null(const char *argument)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("%s must not be null", argument)));
}

static void
check_numbers(int cost, int capacity)
{
	if (cost < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cost must not be negative, but is %d", cost),
				 errhint("A cost of 0 looks at the bucket without taking anything.")));
	if (capacity <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("capacity must be greater than 0, but is %d", capacity)));
}

static inline Kept *
kept(FunctionCallInfo fcinfo, const char *what)
{
	Kept	   *result = mv_kept(fcinfo, sizeof(Kept));

	if (unlikely(result->zero == 0))
	{
		MemoryContext old;

		mv_shared_require(what);
		old = MemoryContextSwitchTo(TopMemoryContext);
		result->zero = NumericGetDatum(int64_to_numeric(0));
		MemoryContextSwitchTo(old);
	}
	return result;
}

/* In shadow mode what is refused passes, but says how long it would have had to wait. */
static bool
let_pass(MvBucketAnswer *answer)
{
	if (!answer->allowed && mv_rate_limit_shadow)
	{
		mv_bucket_note_shadow();
		return true;
	}
	return answer->allowed;
}

/* The row (true, remaining, 0): forming it anew would cost as much as the limit itself. */
static Datum
allowed_row(Kept *cache, int32 remaining)
{
	HeapTupleHeader row;

	if (unlikely(cache->allowed == NULL))
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
		Datum		values[3] = {BoolGetDatum(true), Int32GetDatum(0), cache->zero};
		bool		nulls[3] = {false, false, false};

		cache->allowed = heap_form_tuple(cache->kept.desc, values, nulls);
		MemoryContextSwitchTo(old);
	}
	row = palloc(cache->allowed->t_len);
	memcpy(row, cache->allowed->t_data, cache->allowed->t_len);
	((AllowedRow *) ((char *) row + row->t_hoff))->remaining = remaining;
	return HeapTupleHeaderGetDatum(row);
}

/* take_tokens(bucket text, cost int, capacity int, refill_per_second numeric) */
Datum
musicverse_take_tokens(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"bucket", "cost", "capacity", "refill_per_second"};
	Kept	   *cache = kept(fcinfo, "take_tokens()");
	text	   *bucket;
	struct varlena *rate;
	int			cost;
	int			capacity;
	MvBucketAnswer answer;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	for (int i = 0; i < 4; i++)
		if (PG_ARGISNULL(i))
			refuse_null(names[i]);
	bucket = PG_GETARG_TEXT_PP(0);
	cost = PG_GETARG_INT32(1);
	capacity = PG_GETARG_INT32(2);
	rate = (struct varlena *) PG_GETARG_POINTER(3);
	if (unlikely(cost < 0 || capacity <= 0))
		check_numbers(cost, capacity);

	if (unlikely(VARATT_IS_EXTERNAL(rate) || VARATT_IS_COMPRESSED(rate) || cache->rate_len == 0 || capacity != cache->capacity ||
				 VARSIZE_ANY(rate) != cache->rate_len || memcmp(rate, cache->rate, cache->rate_len) != 0))
	{
		cache->rate_len = 0;
		cache->ns_per_token = mv_ns_per_token(DatumGetNumeric(PointerGetDatum(rate)), capacity);
		cache->capacity = capacity;
		if (!VARATT_IS_EXTERNAL(rate) && VARSIZE_ANY(rate) <= KEPT_RATE)
		{
			cache->rate_len = VARSIZE_ANY(rate);
			memcpy(cache->rate, rate, cache->rate_len);
		}
	}

	mv_bucket_take(mv_bucket_id(MV_BUCKET_NAMED, VARDATA_ANY(bucket), VARSIZE_ANY_EXHDR(bucket)),
				   cost, capacity, cache->ns_per_token, &answer);
	if (answer.allowed)
		return allowed_row(cache, (int32) answer.remaining);
	values[0] = BoolGetDatum(let_pass(&answer));
	values[1] = Int32GetDatum((int32) answer.remaining);
	values[2] = cache->zero;
	if (answer.retry_ns > 0)
		values[2] = mv_seconds(MV_NS_TO_US(answer.retry_ns));
	else if (answer.retry_ns < 0)
		nulls[2] = true;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(cache->kept.desc, values, nulls)));
}

static int
elements(FunctionCallInfo fcinfo, int arg, const char *name, Oid type, Datum **values)
{
	ArrayType  *array;
	bool	   *nulls;
	int			n;
	int16		len;
	bool		byval;
	char		align;

	if (PG_ARGISNULL(arg))
		refuse_null(name);
	array = PG_GETARG_ARRAYTYPE_P(arg);
	get_typlenbyvalalign(type, &len, &byval, &align);
	deconstruct_array(array, type, len, byval, align, values, &nulls, &n);
	for (int i = 0; i < n; i++)
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("element %d of %s must not be null", i + 1, name)));
	return n;
}

/*
 * take_tokens_all(buckets text[], cost int, capacities int[], refills_per_second numeric[])
 *
 * Of all or of none: what was taken before a refusal is given back. Meanwhile
 * others may have been refused for it, which errs on the safe side.
 */
Datum
musicverse_take_tokens_all(PG_FUNCTION_ARGS)
{
	Kept	   *cache = kept(fcinfo, "take_tokens_all()");
	Datum	   *names;
	Datum	   *capacities;
	Datum	   *rates;
	int			n = elements(fcinfo, 0, "buckets", TEXTOID, &names);
	int			cost;
	MvBucketId	id[MAX_LIMITS];
	double		ns_per_token[MAX_LIMITS];
	bool		counted[MAX_LIMITS];
	MvBucketAnswer tightest = {.allowed = true};
	int			which = -1;
	Datum		values[4];
	bool		nulls[4] = {false, false, false, false};

	if (elements(fcinfo, 2, "capacities", INT4OID, &capacities) != n ||
		elements(fcinfo, 3, "refills_per_second", NUMERICOID, &rates) != n)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("buckets, capacities and refills_per_second must have the same number of elements")));
	if (n < 1 || n > MAX_LIMITS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("buckets must have 1 to %d elements, but has %d", MAX_LIMITS, n)));
	if (PG_ARGISNULL(1))
		refuse_null("cost");
	cost = PG_GETARG_INT32(1);

	for (int i = 0; i < n; i++)
	{
		text	   *name = DatumGetTextPP(names[i]);

		check_numbers(cost, DatumGetInt32(capacities[i]));
		ns_per_token[i] = mv_ns_per_token(DatumGetNumeric(rates[i]), DatumGetInt32(capacities[i]));
		id[i] = mv_bucket_id(MV_BUCKET_NAMED, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	}
	for (int i = 0; i < n; i++)
	{
		MvBucketAnswer answer;

		mv_bucket_take(id[i], cost, DatumGetInt32(capacities[i]), ns_per_token[i], &answer);
		counted[i] = !answer.no_room;
		if (which < 0 || !answer.allowed || answer.remaining < tightest.remaining)
		{
			tightest = answer;
			which = i;
		}
		if (!answer.allowed)
		{
			while (--i >= 0)
				if (counted[i])
					mv_bucket_give_back(id[i], cost, ns_per_token[i]);
			break;
		}
	}

	values[0] = BoolGetDatum(let_pass(&tightest));
	values[1] = names[which];
	values[2] = Int32GetDatum((int32) tightest.remaining);
	values[3] = cache->zero;
	if (tightest.retry_ns > 0)
		values[3] = mv_seconds(MV_NS_TO_US(tightest.retry_ns));
	else if (tightest.retry_ns < 0)
		nulls[3] = true;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(cache->kept.desc, values, nulls)));
}

/* rate_limit_status() */
Datum
musicverse_rate_limit_status(PG_FUNCTION_ARGS)
{
	Kept	   *cache = kept(fcinfo, "rate_limit_status()");
	int64		counts[4];
	Datum		values[4];
	bool		nulls[4] = {false, false, false, false};

	mv_bucket_counts(&counts[0], &counts[1], &counts[2], &counts[3]);
	for (int i = 0; i < 4; i++)
		values[i] = Int64GetDatum(counts[i]);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(cache->kept.desc, values, nulls)));
}
