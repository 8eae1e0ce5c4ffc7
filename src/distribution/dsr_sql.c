/*
 * Sales reports as SQL functions; see dsr.h. What becomes of a report is
 * distribution_dsr.sql's to say.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "distribution/dsr.h"

PG_FUNCTION_INFO_V1(musicverse_dsr_head);
PG_FUNCTION_INFO_V1(musicverse_dsr_head_file);
PG_FUNCTION_INFO_V1(musicverse_load_dsr);
PG_FUNCTION_INFO_V1(musicverse_load_dsr_file);

static Datum
load_report(FunctionCallInfo fcinfo, DsrSource *source)
{
	DsrLoaded	loaded;
	TupleDesc	desc;
	Datum		values[8];
	bool		nulls[8] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != lengthof(values))
		elog(ERROR, "return type must be a row type of %d columns", (int) lengthof(values));
	dsr_load(PG_GETARG_INT64(0), PG_GETARG_BOOL(2), source, &loaded);
	dsr_close(source);
	nulls[0] = loaded.problem == NULL;
	values[0] = nulls[0] ? (Datum) 0 : CStringGetTextDatum(loaded.problem);
	values[1] = Int64GetDatum(loaded.lines);
	values[2] = Int64GetDatum(loaded.sales);
	values[3] = Int64GetDatum(loaded.imported);
	values[4] = Int64GetDatum(loaded.rejected);
	values[5] = Int64GetDatum(loaded.ignored);
	values[6] = CStringGetTextDatum(loaded.quantity);
	values[7] = CStringGetTextDatum(loaded.revenue);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* _load_dsr(report bigint, content bytea, is_cumulative boolean) */
Datum
musicverse_load_dsr(PG_FUNCTION_ARGS)
{
	bytea	   *content = PG_GETARG_BYTEA_PP(1);

	return load_report(fcinfo, dsr_open_memory(VARDATA_ANY(content), VARSIZE_ANY_EXHDR(content)));
}

/* _load_dsr_file(report bigint, path text, is_cumulative boolean) */
Datum
musicverse_load_dsr_file(PG_FUNCTION_ARGS)
{
	return load_report(fcinfo, dsr_open_file(text_to_cstring(PG_GETARG_TEXT_PP(1))));
}

/* ---- the header alone */

static Datum
text_of(DsrCell value, bool *isnull)
{
	*isnull = value.len == 0;
	return *isnull ? (Datum) 0 : PointerGetDatum(cstring_to_text_with_len(value.text, pg_mbcliplen(value.text, value.len, 200)));
}

/* The first line that isn't empty or a comment, when it is a HEAD; digest and length of the whole */
static Datum
read_report_head(FunctionCallInfo fcinfo, DsrSource *source)
{
	static const int places[] = {2, 3, 5, 6, 7, 8, 9, 10, 12, 13};
	DsrCell		cells[DSR_MAX_CELLS];
	DsrLine		line;
	TupleDesc	desc;
	Datum		values[lengthof(places) + 2];
	bool		nulls[lengthof(places) + 2];
	const char *why;

	memset(nulls, true, sizeof(nulls));
	while (dsr_next_line(source, &line) && (line.len == 0 || line.text[0] == '#'))
		CHECK_FOR_INTERRUPTS();
	if (dsr_bytes(source) > 0 && !line.too_long && (line.text = dsr_decode(&line, &line.len, &why)) != NULL)
	{
		int			n = dsr_split(&line, cells);

		if (cells[0].len == 4 && memcmp(cells[0].text, "HEAD", 4) == 0)
			for (int i = 0; i < lengthof(places); i++)
				if (places[i] <= n)
					values[i] = text_of(cells[places[i] - 1], &nulls[i]);
	}
	values[lengthof(places)] = CStringGetTextDatum(dsr_sha256(source));
	values[lengthof(places) + 1] = Int64GetDatum(dsr_bytes(source));
	nulls[lengthof(places)] = nulls[lengthof(places) + 1] = false;
	dsr_close(source);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != lengthof(values))
		elog(ERROR, "return type must be a row type of %d columns", (int) lengthof(values));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* _dsr_head(content bytea) */
Datum
musicverse_dsr_head(PG_FUNCTION_ARGS)
{
	bytea	   *content = PG_GETARG_BYTEA_PP(0);

	return read_report_head(fcinfo, dsr_open_memory(VARDATA_ANY(content), VARSIZE_ANY_EXHDR(content)));
}

/* _dsr_head_file(path text) */
Datum
musicverse_dsr_head_file(PG_FUNCTION_ARGS)
{
	return read_report_head(fcinfo, dsr_open_file(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}
