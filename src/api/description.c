/*
 * The API's description, kept as text. It needs no key and is a hundred
 * kilobytes made of hundreds of rows, so each process makes it once: until a
 * table that it is made of changes, or musicverse.public_url.
 *
 * What a snapshot of long ago shows is not kept.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "core/catalog.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(musicverse_openapi_json);

#define MAX_KEPT	4
#define MAX_VERSION 16

typedef struct Kept
{
	char		version[MAX_VERSION];
	uint64		generation;		/* of what it was made of */
	char	   *public_url;
	text	   *document;		/* NULL = nothing kept */
} Kept;

static Kept kept[MAX_KEPT];
static int	next_kept = 0;

static const char *
public_url(void)
{
	const char *value = GetConfigOption("musicverse.public_url", true, false);

	return value != NULL ? value : "";
}

static Kept *
find(const char *version)
{
	for (int i = 0; i < MAX_KEPT; i++)
		if (kept[i].document != NULL && strcmp(kept[i].version, version) == 0)
			return &kept[i];
	return NULL;
}

static void
forget(Kept *entry)
{
	if (entry->document == NULL)
		return;
	pfree(entry->document);
	pfree(entry->public_url);
	entry->document = NULL;
}

static void
keep(const char *version, uint64 generation, const text *document)
{
	Kept	   *entry = find(version);
	text	   *copy = MemoryContextAlloc(TopMemoryContext, VARSIZE(document));
	char	   *url = MemoryContextStrdup(TopMemoryContext, public_url());

	memcpy(copy, document, VARSIZE(document));
	if (entry == NULL)
	{
		entry = &kept[next_kept];
		next_kept = (next_kept + 1) % MAX_KEPT;
	}
	forget(entry);
	strlcpy(entry->version, version, sizeof(entry->version));
	entry->generation = generation;
	entry->public_url = url;
	entry->document = copy;
}

/* The document in the memory of the caller. */
static text *
make(text *version)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {PointerGetDatum(version)};
	text	   *document;
	bool		isnull;

	SPI_connect();
	if (SPI_execute_with_args("select musicverse.openapi($1)::text", 1, types, values, NULL, true, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not describe the API");
	document = DatumGetTextPCopy(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	document = memcpy(MemoryContextAlloc(context, VARSIZE(document)), document, VARSIZE(document));
	SPI_finish();
	return document;
}

/* _openapi_json(version text) */
Datum
musicverse_openapi_json(PG_FUNCTION_ARGS)
{
	text	   *version = PG_GETARG_TEXT_PP(0);
	char	   *name = text_to_cstring(version);
	uint64		generation;
	Kept	   *entry;
	text	   *document;

	mv_catalog();
	generation = mv_description_generation;
	entry = find(name);
	if (entry == NULL || entry->generation != generation || strcmp(entry->public_url, public_url()) != 0)
	{
		document = make(version);
		if (strlen(name) < MAX_VERSION && !IsolationUsesXactSnapshot() && generation == mv_description_generation)
			keep(name, generation, document);
		PG_RETURN_TEXT_P(document);
	}
	document = palloc(VARSIZE(entry->document));
	memcpy(document, entry->document, VARSIZE(entry->document));
	PG_RETURN_TEXT_P(document);
}
