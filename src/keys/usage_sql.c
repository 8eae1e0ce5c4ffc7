/*
 * Usage for SQL: counting, flushing, histograms, what the counters are at.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "core/compat.h"
#include "core/shared.h"
#include "fmgr.h"
#include "funcapi.h"
#include "keys/quota.h"
#include "keys/usage_int.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(musicverse_record_usage);
PG_FUNCTION_INFO_V1(musicverse_flush_usage);
PG_FUNCTION_INFO_V1(musicverse_usage_status);
PG_FUNCTION_INFO_V1(musicverse_quota_used);
PG_FUNCTION_INFO_V1(musicverse_add_histograms);
PG_FUNCTION_INFO_V1(musicverse_usage_percentile);

#define FLUSH_DEADLINE_MS 30000

static int64
not_negative(FunctionCallInfo fcinfo, int arg, const char *name)
{
	int64		value = PG_ARGISNULL(arg) ? 0 : PG_GETARG_INT64(arg);

	if (value < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be negative, but is " INT64_FORMAT, name, value)));
	return value;
}

/* record_usage(user_id uuid, key_id uuid, operation text, status int, duration interval, bytes_in bigint, bytes_out bigint) */
Datum
musicverse_record_usage(PG_FUNCTION_ARGS)
{
	static Interval none;
	static Interval day = {.day = 1};
	MvUsage		usage = {0};
	text	   *operation;

	mv_shared_require("record_usage()");
	if (PG_ARGISNULL(2) || PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("operation and status must not be null")));
	usage.user_id = PG_ARGISNULL(0) ? NULL : PG_GETARG_UUID_P(0);
	usage.key_id = PG_ARGISNULL(1) ? NULL : PG_GETARG_UUID_P(1);
	operation = PG_GETARG_TEXT_PP(2);
	usage.operation = VARDATA_ANY(operation);
	usage.operation_len = VARSIZE_ANY_EXHDR(operation);
	usage.status = PG_GETARG_INT32(3);
	if (usage.status < 100 || usage.status > 599)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%d is no status of HTTP", usage.status),
				 errhint("It must be between 100 and 599.")));
	usage.duration_us = -1;
	if (!PG_ARGISNULL(4))
	{
		Interval   *duration = PG_GETARG_INTERVAL_P(4);

		/* by its order, as its parts may be larger than any number of microseconds */
		if (DatumGetBool(DirectFunctionCall2(interval_lt, IntervalPGetDatum(duration), IntervalPGetDatum(&none))))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("duration must not be negative")));
		usage.duration_us = USECS_PER_DAY;
		if (DatumGetBool(DirectFunctionCall2(interval_lt, IntervalPGetDatum(duration), IntervalPGetDatum(&day))))
			usage.duration_us = duration->time + ((int64) duration->day + (int64) duration->month * DAYS_PER_MONTH) * USECS_PER_DAY;
	}
	usage.bytes_in = not_negative(fcinfo, 5, "bytes_in");
	usage.bytes_out = not_negative(fcinfo, 6, "bytes_out");
	usage.refused = usage.status == 429;
	mv_usage_record(&usage);
	PG_RETURN_VOID();
}

Datum
musicverse_flush_usage(PG_FUNCTION_ARGS)
{
	TimestampTz start = GetCurrentTimestamp();
	MvDatabase *database;
	int64		wanted;

	mv_shared_require("flush_usage()");
	database = mv_database_find(MyDatabaseId);
	if (database == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no usage worker serves this database"),
				 RecoveryInProgress() ? errhint("A standby counts no usage.") :
				 errhint("Add it to musicverse.databases and reload.")));
	wanted = usage_want_flush();
	for (;;)
	{
		UsageCounts counts;

		usage_counts(&counts);
		if (counts.flushes >= wanted)
			PG_RETURN_VOID();
		if (TimestampDifferenceExceeds(start, GetCurrentTimestamp(), FLUSH_DEADLINE_MS))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("usage was not written within %d s", FLUSH_DEADLINE_MS / 1000),
					 counts.error_at >= start ? errdetail("The usage worker failed: %s", counts.error) : 0,
					 errhint("See usage_status, and whether musicverse.databases names this database.")));
		mv_wake_process(database->place[MV_PLACE_USAGE].procno);
		WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 20, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

static Datum
row(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

Datum
musicverse_usage_status(PG_FUNCTION_ARGS)
{
	UsageCounts counts;
	int64		quota_room,
				quota_entries,
				quota_no_room;
	Datum		values[10];
	bool		nulls[10] = {false};

	mv_shared_require("usage_status");
	usage_counts(&counts);
	mv_quota_counts(&quota_room, &quota_entries, &quota_no_room);
	values[0] = Int64GetDatum(counts.room);
	values[1] = Int64GetDatum(counts.entries);
	values[2] = Int64GetDatum(counts.dropped);
	values[3] = Int64GetDatum(counts.flushed_rows);
	values[4] = TimestampTzGetDatum(counts.flushed_at);
	nulls[4] = counts.flushed_at == 0;
	values[5] = CStringGetTextDatum(counts.error);
	values[6] = TimestampTzGetDatum(counts.error_at);
	nulls[5] = nulls[6] = counts.error_at == 0;
	values[7] = Int64GetDatum(quota_room);
	values[8] = Int64GetDatum(quota_entries);
	values[9] = Int64GetDatum(quota_no_room);
	PG_RETURN_DATUM(row(fcinfo, values, nulls));
}

/* _quota_used(user_id uuid) */
Datum
musicverse_quota_used(PG_FUNCTION_ARGS)
{
	MvQuotaAnswer answer;
	Datum		values[4];
	bool		nulls[4] = {false};

	mv_quota_look(PG_GETARG_UUID_P(0), &answer);
	for (int p = 0; p < MV_PERIODS; p++)
	{
		values[2 * p] = Int64GetDatum(answer.used[p]);
		values[2 * p + 1] = TimestampTzGetDatum(answer.resets_at[p]);
	}
	PG_RETURN_DATUM(row(fcinfo, values, nulls));
}

/* The numbers of a histogram; raises for an array that is none. */
static const int64 *
histogram(ArrayType *array)
{
	if (ARR_NDIM(array) != 1 || ARR_DIMS(array)[0] != USAGE_HISTOGRAM || ARR_HASNULL(array) || ARR_ELEMTYPE(array) != INT8OID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a histogram has %d numbers", USAGE_HISTOGRAM),
				 errhint("See the column histogram of api_usage.")));
	return (const int64 *) ARR_DATA_PTR(array);
}

/* _add_histograms(a bigint[], b bigint[]) */
Datum
musicverse_add_histograms(PG_FUNCTION_ARGS)
{
	ArrayType  *result;
	const int64 *b;
	int64	   *sum;

	if (PG_ARGISNULL(0) && PG_ARGISNULL(1))
		PG_RETURN_NULL();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
	{
		ArrayType  *only = PG_GETARG_ARRAYTYPE_P(PG_ARGISNULL(0) ? 1 : 0);

		histogram(only);
		PG_RETURN_ARRAYTYPE_P(only);
	}
	result = PG_GETARG_ARRAYTYPE_P_COPY(0);
	sum = (int64 *) unconstify(int64 *, histogram(result));
	b = histogram(PG_GETARG_ARRAYTYPE_P(1));
	for (int i = 0; i < USAGE_HISTOGRAM; i++)
		if (pg_add_s64_overflow(sum[i], b[i], &sum[i]))
			sum[i] = PG_INT64_MAX;
	PG_RETURN_ARRAYTYPE_P(result);
}

/* usage_percentile(histogram bigint[], fraction double precision) */
Datum
musicverse_usage_percentile(PG_FUNCTION_ARGS)
{
	const int64 *counts = histogram(PG_GETARG_ARRAYTYPE_P(0));
	double		fraction = PG_GETARG_FLOAT8(1);
	double		all = 0;
	double		below = 0;

	if (!(fraction >= 0 && fraction <= 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("fraction must be between 0 and 1, but is %g", fraction)));
	for (int i = 0; i < USAGE_HISTOGRAM; i++)
		all += counts[i];
	if (all <= 0)
		PG_RETURN_NULL();
	for (int i = 0; i < USAGE_HISTOGRAM; i++)
	{
		double		begin = i == 0 ? 0 : usage_bucket_end(i - 1);

		if (counts[i] > 0 && below + counts[i] >= fraction * all)
			/* evenly spread within the bucket */
			PG_RETURN_FLOAT8(rint(begin + (usage_bucket_end(i) - begin) * Max(fraction * all - below, 0) / counts[i]) / 1000);
		below += counts[i];
	}
	PG_RETURN_FLOAT8(rint(usage_bucket_end(USAGE_HISTOGRAM - 1)) / 1000);
}
