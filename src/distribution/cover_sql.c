/*
 * Covers for SQL.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "core/caller.h"
#include "distribution/cover.h"

#define MOST_BYTES 65536		/* of any text, before it is looked at */

PG_FUNCTION_INFO_V1(musicverse_cover_art);
PG_FUNCTION_INFO_V1(musicverse_cover_art_bare);
PG_FUNCTION_INFO_V1(musicverse_check_cover);

/* An argument, or NULL */
static char *
argument_text(FunctionCallInfo fcinfo, int n, const char *what)
{
	Size		size;

	if (PG_ARGISNULL(n))
		return NULL;
	size = toast_raw_datum_size(PG_GETARG_DATUM(n)) - VARHDRSZ;
	if (size > MOST_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must have at most %d bytes, not %zu", what, MOST_BYTES, size)));
	return text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static void
read_peaks(MvCoverRequest *request, ArrayType *array)
{
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("peaks must be a list of at most %d numbers", MV_COVER_MOST_PEAKS)));
	if (array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("peaks must not contain null")));
	request->peaks = (const double *) ARR_DATA_PTR(array);
	request->peak_count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
}

/* Arguments 0 to 5 are those of cover_art() */
static void
read_arguments(FunctionCallInfo fcinfo, MvCover *cover)
{
	MvCoverRequest request = {0};

	request.title = argument_text(fcinfo, 0, "title");
	request.artist = argument_text(fcinfo, 1, "artist");
	request.style = argument_text(fcinfo, 2, "style");
	request.seed = argument_text(fcinfo, 3, "seed");
	if (PG_ARGISNULL(4))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("size must not be null"),
				 errhint("Leave it out for 3000, which every platform takes.")));
	request.size = PG_GETARG_INT32(4);
	if (!PG_ARGISNULL(5))
		read_peaks(&request, PG_GETARG_ARRAYTYPE_P(5));
	mv_cover_prepare(&request, cover);
}

static bool
is_jpeg(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(6))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("format must not be null"),
				 errhint("Leave it out for \"png\".")));
	return mv_cover_is_jpeg(text_to_cstring(PG_GETARG_TEXT_PP(6)));
}

static bytea *
make(MvCover *cover, bool jpeg)
{
	StringInfoData out;

	mv_cover_make(cover, jpeg, VARHDRSZ, &out);
	SET_VARSIZE(out.data, out.len);
	return (bytea *) out.data;
}

/* A second of work and 36 MB are not for everybody who comes along */
static void
require_caller(void)
{
	pg_uuid_t	user_id;

	if (!mv_caller_is_service() && !mv_caller(&user_id))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to draw covers"),
				 errhint("Call it as a user, or as a role that expose_to() made a service role.")));
}

/* cover_art(title, artist, style, seed, size, peaks, format) */
Datum
musicverse_cover_art(PG_FUNCTION_ARGS)
{
	MvCover		cover = {0};
	bool		jpeg = is_jpeg(fcinfo);

	require_caller();
	read_arguments(fcinfo, &cover);
	PG_RETURN_BYTEA_P(make(&cover, jpeg));
}

/* _cover_art_bare(title, artist, style, seed, size, peaks, family, bare): for tests */
Datum
musicverse_cover_art_bare(PG_FUNCTION_ARGS)
{
	MvCover		cover = {0};

	read_arguments(fcinfo, &cover);
	if (!PG_ARGISNULL(6))
		cover.forced_family = text_to_cstring(PG_GETARG_TEXT_PP(6));
	cover.bare = !PG_ARGISNULL(7) && PG_GETARG_BOOL(7);
	PG_RETURN_BYTEA_P(make(&cover, false));
}

/* _check_cover(title, artist, style, seed, size, peaks, format) */
Datum
musicverse_check_cover(PG_FUNCTION_ARGS)
{
	MvCover		cover = {0};

	is_jpeg(fcinfo);
	read_arguments(fcinfo, &cover);
	PG_RETURN_VOID();
}
