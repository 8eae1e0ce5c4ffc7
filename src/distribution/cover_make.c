/*
 * A cover from what is asked for, which is judged here before anything is drawn.
 *
 * The pixels of a cover are 4 bytes each, 36 MB at 3000; they and all else are
 * freed when the function returns, and however it is left.
 */
#include "postgres.h"

#include <math.h>

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "distribution/cover.h"

#define SMALLEST 64
#define LARGEST 6000
#define MOST_CHARACTERS 500		/* of a title, as of a track's */
/* Platforms refuse more than 10 MB */
#define MOST_FILE_BYTES 9900000

/* In UTF-8; "" for NULL */
static char *
utf8(const char *own)
{
	char	   *text;

	if (own == NULL)
		return pstrdup("");
	text = (char *) pg_do_encoding_conversion((unsigned char *) own, strlen(own), GetDatabaseEncoding(), PG_UTF8);
	/* a database in SQL_ASCII holds any bytes */
	pg_verify_mbstr(PG_UTF8, text, strlen(text), false);
	return text == own ? pstrdup(own) : text;
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
check_peaks(const double *peaks, int count)
{
	if (count > MV_COVER_MOST_PEAKS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("peaks must be a list of at most %d numbers", MV_COVER_MOST_PEAKS)));
	for (int i = 0; i < count; i++)
		if (!isfinite(peaks[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("peaks must be finite numbers, but number %d is %g", i + 1, peaks[i])));
}

void
mv_cover_prepare(const MvCoverRequest *request, MvCover *cover)
{
	char	   *seed = utf8(request->seed);

	cover->style = utf8(request->style);
	cover->title = mv_cover_clean(utf8(request->title), "title", MOST_CHARACTERS);
	cover->artist = mv_cover_clean(utf8(request->artist), "artist", MOST_CHARACTERS);
	cover->size = request->size;
	if (cover->size < SMALLEST || cover->size > LARGEST)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("size must be from %d to %d pixels, not %d", SMALLEST, LARGEST, cover->size),
				 errhint("Platforms want at least 3000.")));
	check_peaks(request->peaks, request->peak_count);
	cover->peaks = request->peaks;
	cover->peak_count = request->peak_count;
	hash_seed(cover, cover->artist, cover->title, seed);
}

bool
mv_cover_is_jpeg(const char *format)
{
	if (strcmp(format, "jpeg") == 0)
		return true;
	if (strcmp(format, "png") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("format must be \"png\" or \"jpeg\", not \"%s\"",
						pnstrdup(format, pg_mbcliplen(format, strlen(format), 100)))));
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
void
mv_cover_make(MvCover *cover, bool jpeg, int room, StringInfo out)
{
	static const float grain[] = {1, 0.4f, 0};

	for (int attempt = 0; attempt < lengthof(grain); attempt++)
	{
		initStringInfo(out);
		appendStringInfoSpaces(out, room);
		draw_and_encode(cover, grain[attempt], jpeg, out);
		if (out->len <= MOST_FILE_BYTES || attempt == lengthof(grain) - 1)
			return;
		pfree(out->data);
	}
}
