/*
 * The media worker's work "package": brings the files of a release, one after
 * the other, and packs them while they are there, so that no more than one of
 * them takes room besides the package, which stops growing at
 * musicverse.media_max_size. What is written beside them is made at
 * last, of what was found: names, sizes, digests (distribution_packages.sql).
 *
 * What a file is its first bytes say, not its address. A file that is gone, or
 * is none that anybody takes, fails the package and says which one it is.
 *
 * Memory that isn't the task's is libarchive's, which is freed whatever raises.
 */
#include "postgres.h"

#include <unistd.h>

#include "catalog/pg_type.h"
#include "core/worker.h"
#include "distribution/package.h"
#include "executor/spi.h"
#include "media/media.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "mb/pg_wchar.h"
#include "utils/json.h"

#define BLOCK		(256 * 1024)
#define MOST_PARTS	1100

/* A file that is brought */
typedef struct Source
{
	int			track;			/* -1 = the cover */
	const char *url;
	const char *name;			/* without its suffix */
	const char *sha256;			/* when it was looked at, or NULL */
} Source;

/* What is written */
typedef struct Text
{
	char	   *name;			/* in UTF-8 */
	char	   *bytes;
	int			len;
} Text;

typedef struct Packing
{
	MvMediaTask *task;
	MemoryContext context;
	MvZip	   *zip;
	Source	   *sources;
	int			nsources;
	int			at;				/* the one that is next */
	int64		bytes;			/* of those that are packed */
	Text	   *texts;
	int			ntexts;
	StringInfoData tracks;		/* facts of files, as JSON in the database's encoding */
	StringInfoData cover;
	char	   *block;
} Packing;

/* ---- what the database says; these run in transactions ---- */

static char *
kept_text(Packing *packing, int row, int column)
{
	char	   *value = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);

	return value != NULL ? MemoryContextStrdup(packing->context, value) : NULL;
}

static void
read_sources(void *arg)
{
	static SPIPlanPtr plan = NULL;
	Packing    *packing = arg;
	Oid			types[1] = {JSONBOID};
	Datum		values[1] = {PointerGetDatum(packing->task->input)};

	mv_worker_execute(&plan, "select track, url, name, sha256 from musicverse._package_sources($1)", 1, types, values, NULL);
	if (SPI_processed > MOST_PARTS)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION), errmsg("a package has at most %d files", MOST_PARTS)));
	packing->nsources = SPI_processed;
	packing->sources = MemoryContextAllocZero(packing->context, Max(packing->nsources, 1) * sizeof(Source));
	for (int i = 0; i < packing->nsources; i++)
	{
		char	   *track = kept_text(packing, i, 1);

		packing->sources[i].track = track != NULL ? atoi(track) : -1;
		packing->sources[i].url = kept_text(packing, i, 2);
		packing->sources[i].name = kept_text(packing, i, 3);
		packing->sources[i].sha256 = kept_text(packing, i, 4);
	}
}

static void
keep_content(Packing *packing, int row, Text *to)
{
	bool		isnull;
	bytea	   *content = DatumGetByteaPP(SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 2, &isnull));

	to->name = kept_text(packing, row, 1);
	to->len = VARSIZE_ANY_EXHDR(content);
	to->bytes = MemoryContextAlloc(packing->context, Max(to->len, 1));
	memcpy(to->bytes, VARDATA_ANY(content), to->len);
}

static void
read_texts(void *arg)
{
	static SPIPlanPtr plan = NULL;
	Packing    *packing = arg;
	Oid			types[2] = {JSONBOID, TEXTOID};
	Datum		values[2] = {PointerGetDatum(packing->task->input)};

	values[1] = CStringGetTextDatum(psprintf("{%s%s\"tracks\": [%s]}", packing->cover.data, packing->cover.len > 0 ? ", " : "",
											 packing->tracks.data));
	mv_worker_execute(&plan, "select name, content from musicverse._package_contents($1, $2::jsonb)", 2, types, values, NULL);
	packing->ntexts = SPI_processed;
	packing->texts = MemoryContextAllocZero(packing->context, Max(packing->ntexts, 1) * sizeof(Text));
	for (int i = 0; i < packing->ntexts; i++)
		keep_content(packing, i, &packing->texts[i]);
}

/* ---- what a file is ---- */

typedef struct Kind
{
	const char *suffix;
	bool		is_picture;
	int			at;				/* where its mark is */
	const char *mark;
	int			len;
	const char *within;			/* another mark, at 8; or NULL */
} Kind;

static const Kind kinds[] = {
	{"flac", false, 0, "fLaC", 4, NULL},
	{"wav", false, 0, "RIFF", 4, "WAVE"},
	{"wav", false, 0, "RF64", 4, "WAVE"},
	{"aiff", false, 0, "FORM", 4, "AIFF"},
	{"aiff", false, 0, "FORM", 4, "AIFC"},
	{"ogg", false, 0, "OggS", 4, NULL},
	{"m4a", false, 4, "ftyp", 4, NULL},
	{"mp3", false, 0, "ID3", 3, NULL},
	{"mp3", false, 0, "\xff\xfb", 2, NULL},
	{"mp3", false, 0, "\xff\xf3", 2, NULL},
	{"mp3", false, 0, "\xff\xf2", 2, NULL},
	{"mp3", false, 0, "\xff\xfa", 2, NULL},
	{"jpg", true, 0, "\xff\xd8\xff", 3, NULL},
	{"png", true, 0, "\x89PNG\r\n\x1a\n", 8, NULL},
};

static const char *
suffix_of(int fd, bool is_picture)
{
	char		head[16] = {0};

	if (pg_pread(fd, head, sizeof(head), 0) >= 12)
		for (int i = 0; i < lengthof(kinds); i++)
			if (kinds[i].is_picture == is_picture && memcmp(head + kinds[i].at, kinds[i].mark, kinds[i].len) == 0 &&
				(kinds[i].within == NULL || memcmp(head + 8, kinds[i].within, 4) == 0))
				return kinds[i].suffix;
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg(is_picture ? "the file is no JPEG or PNG" : "the file is no FLAC, WAV, AIFF, MP3, M4A or Ogg")));
}

/* ---- packing ---- */

static void
give_up(MvZip *zip)
{
	ereport(ERROR, (errcode(ERRCODE_IO_ERROR), errmsg("could not pack: %s", mv_zip_problem(zip))));
}

static void
copy(Packing *packing, int fd, int64 bytes)
{
	for (int64 done = 0; done < bytes;)
	{
		ssize_t		n = pg_pread(fd, packing->block, Min((int64) BLOCK, bytes - done), done);

		if (n <= 0)
			ereport(ERROR, (errcode_for_file_access(), errmsg("could not read a file in musicverse.media_directory: %m")));
		if (!mv_zip_write(packing->zip, packing->block, n))
			give_up(packing->zip);
		done += n;
		mv_media_check();
	}
}

static char *
utf8(const char *text)
{
	return pg_server_to_any(text, strlen(text), PG_UTF8);
}

static void
note_facts(StringInfo to, const char *name, const MvMediaSource *file)
{
	appendStringInfoString(to, "{\"name\": ");
	escape_json(to, name);
	appendStringInfo(to, ", \"bytes\": " INT64_FORMAT ", \"sha256\": \"%s\", \"md5\": \"%s\"}", file->bytes, file->sha256, file->md5);
}

/* False while it is brought */
static bool
pack_source(Packing *packing, const Source *source)
{
	MvMediaSource file;
	char	   *name;

	if (!mv_media_fetch(packing->task, source->url, &file))
		return false;
	if (source->sha256 != NULL && strcmp(source->sha256, file.sha256) != 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION), errmsg("%s", MV_FILE_HAS_CHANGED)));
	packing->bytes += file.bytes;
	mv_media_check_size("with it the package", packing->bytes);
	name = psprintf("%s.%s", source->name, suffix_of(file.fd, source->track < 0));
	if (!mv_zip_part(packing->zip, utf8(name), file.bytes))
		give_up(packing->zip);
	copy(packing, file.fd, file.bytes);
	mv_media_drop(packing->task, file.fd);
	if (source->track < 0)
	{
		appendStringInfoString(&packing->cover, "\"cover\": ");
		note_facts(&packing->cover, name, &file);
		return true;
	}
	if (packing->tracks.len > 0)
		appendStringInfoString(&packing->tracks, ", ");
	note_facts(&packing->tracks, name, &file);
	return true;
}

/* Says also which file it was that an error is about. */
static bool
pack_source_or_tell(Packing *packing, const Source *source)
{
	volatile bool packed = false;

	PG_TRY();
	{
		packed = pack_source(packing, source);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(packing->context);
		error = CopyErrorData();
		FlushErrorState();
		error->message = source->track < 0 ? psprintf("the cover: %s", error->message) :
			psprintf("track %d: %s", source->track + 1, error->message);
		ReThrowError(error);
	}
	PG_END_TRY();
	return packed;
}

static Packing *
begin_packing(MvMediaTask *task)
{
	Packing    *packing = palloc0(sizeof(Packing));

	packing->task = task;
	packing->context = CurrentMemoryContext;
	initStringInfo(&packing->tracks);
	initStringInfo(&packing->cover);
	packing->block = palloc(BLOCK);
	task->state = packing;
	packing->zip = mv_zip_begin(mv_media_output(task));
	if (packing->zip == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	mv_media_transaction(read_sources, packing);
	return packing;
}

static void
pack_texts(Packing *packing)
{
	mv_media_transaction(read_texts, packing);
	for (int i = 0; i < packing->ntexts; i++)
		if (!mv_zip_bytes(packing->zip, utf8(packing->texts[i].name), packing->texts[i].bytes, packing->texts[i].len))
			give_up(packing->zip);
	if (!mv_zip_end(packing->zip))
		give_up(packing->zip);
}

static bool
pack(MvMediaTask *task, MvMediaResult *result)
{
	Packing    *packing = task->state != NULL ? task->state : begin_packing(task);

	while (packing->at < packing->nsources)
	{
		if (!pack_source_or_tell(packing, &packing->sources[packing->at]))
			return false;
		packing->at++;
		if (mv_media_slice_over())
			return false;
	}
	pack_texts(packing);
	result->media_type = "application/zip";
	result->extension = "zip";
	return true;
}

static void
end_packing(MvMediaTask *task)
{
	Packing    *packing = task->state;

	if (packing != NULL && packing->zip != NULL)
		mv_zip_free(packing->zip);
}

void
mv_packages_init(void)
{
	static const MvMediaKind kind = {"package", pack, end_packing};

	mv_media_add(&kind);
}
