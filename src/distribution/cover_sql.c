/*
 * Covers for SQL: what is asked for is judged here, before anything is drawn.
 *
 * The pixels of a cover are 4 bytes each, 36 MB at 3000; they and all else are
 * freed when the function returns, and however it is left.
 */
#include "postgres.h"

#include <math.h>

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "core/caller.h"
#include "distribution/cover.h"

#define SMALLEST 64
#define LARGEST 6000
#define MOST_CHARACTERS 500		/* of a title, as of a track's */
#define MOST_BYTES 65536		/* of any text, before it is looked at */
#define MOST_PEAKS 1000000
/* Platforms refuse more than 10 MB */
#define MOST_FILE_BYTES 9900000

PG_FUNCTION_INFO_V1(musicverse_cover_art);
PG_FUNCTION_INFO_V1(musicverse_cover_art_bare);

/* An argument in UTF-8, or "" for NULL */
static char *
argument_text(FunctionCallInfo fcinfo, int n, const char *what)
{
	text	   *value;
	char	   *own,
			   *utf8;
	Size		size;

	if (PG_ARGISNULL(n))
		return pstrdup("");
	size = toast_raw_datum_size(PG_GETARG_DATUM(n)) - VARHDRSZ;
	if (size > MOST_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must have at most %d bytes, not %zu", what, MOST_BYTES, size)));
	value = PG_GETARG_TEXT_PP(n);
	own = text_to_cstring(value);
	utf8 = (char *) pg_do_encoding_conversion((unsigned char *) own, strlen(own), GetDatabaseEncoding(), PG_UTF8);
	/* a database in SQL_ASCII holds any bytes */
	pg_verify_mbstr(PG_UTF8, utf8, strlen(utf8), false);
	return utf8 == own ? own : utf8;
}

static void
hash_seed(MvCover *cover, const char *artist, const char *title, const char *seed)
{
	pg_cryptohash_ctx *hash = pg_cryptohash_create(PG_SHA256);
	const char *parts[] = {artist, "|", title, "|", seed};
	bool		good = hash != NULL && pg_cryptohash_init(hash) == 0;

	for (int i = 0; i < lengthof(parts) && good; i++)
		good = pg_cryptohash_update(hash, (const uint8 *) parts[i], strlen(parts[i])) == 0;
	good = good && pg_cryptohash_final(hash, cover->seed, sizeof(cover->seed)) == 0;
	if (hash)
		pg_cryptohash_free(hash);
	if (!good)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute a hash")));
}

static void
read_peaks(MvCover *cover, ArrayType *array)
{
	int			count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));

	if (ARR_NDIM(array) > 1 || count > MOST_PEAKS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("peaks must be a list of at most %d numbers", MOST_PEAKS)));
	if (array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("peaks must not contain null")));
	cover->peaks = (const double *) ARR_DATA_PTR(array);
	cover->peak_count = count;
	for (int i = 0; i < count; i++)
		if (!isfinite(cover->peaks[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("peaks must be finite numbers, but number %d is %g", i + 1, cover->peaks[i])));
}

/* Arguments 0 to 5 are those of cover_art() */
static void
read_arguments(FunctionCallInfo fcinfo, MvCover *cover)
{
	char	   *seed = argument_text(fcinfo, 3, "seed");

	cover->style = argument_text(fcinfo, 2, "style");
	cover->title = mv_cover_clean(argument_text(fcinfo, 0, "title"), "title", MOST_CHARACTERS);
	cover->artist = mv_cover_clean(argument_text(fcinfo, 1, "artist"), "artist", MOST_CHARACTERS);
	if (PG_ARGISNULL(4))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("size must not be null"),
				 errhint("Leave it out for 3000, which every platform takes.")));
	cover->size = PG_GETARG_INT32(4);
	if (cover->size < SMALLEST || cover->size > LARGEST)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("size must be from %d to %d pixels, not %d", SMALLEST, LARGEST, cover->size),
				 errhint("Platforms want at least 3000.")));
	if (!PG_ARGISNULL(5))
		read_peaks(cover, PG_GETARG_ARRAYTYPE_P(5));
	hash_seed(cover, cover->artist, cover->title, seed);
}

static bool
is_jpeg(FunctionCallInfo fcinfo)
{
	char	   *format = PG_ARGISNULL(6) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(6));

	if (format == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("format must not be null"),
				 errhint("Leave it out for \"png\".")));
	else if (strcmp(format, "jpeg") == 0)
		return true;
	else if (strcmp(format, "png") != 0)
	{
		format[pg_mbcliplen(format, strlen(format), 100)] = '\0';
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("format must be \"png\" or \"jpeg\", not \"%s\"", format)));
	}
	return false;
}

static void
draw_and_encode(MvCover *cover, float grain, bool jpeg, StringInfo out)
{
	PG_TRY();
	{
		mv_cover_draw(cover, grain);
		if (jpeg)
			mv_cover_jpeg(cover, out);
		else
			mv_cover_png(cover, out);
	}
	PG_CATCH();
	{
		mv_cover_release(cover);
		PG_RE_THROW();
	}
	PG_END_TRY();
	mv_cover_release(cover);
}

/* Draws once more with less grain, and then with none, a file that would be refused */
static bytea *
make(MvCover *cover, bool jpeg)
{
	static const float grain[] = {1, 0.4f, 0};
	StringInfoData out;
	bytea	   *result;

	for (int attempt = 0; attempt < lengthof(grain); attempt++)
	{
		initStringInfo(&out);
		appendStringInfoSpaces(&out, VARHDRSZ);
		draw_and_encode(cover, grain[attempt], jpeg, &out);
		if (out.len <= MOST_FILE_BYTES || attempt == lengthof(grain) - 1)
			break;
		pfree(out.data);
	}
	result = (bytea *) out.data;
	SET_VARSIZE(result, out.len);
	return result;
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
