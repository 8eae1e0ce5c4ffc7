/*
 * Messages as SQL functions: ern_message() and batch_complete() write them,
 * ern_problems() judges them, acknowledgement() reads the answers.
 *
 * What libxml2 allocates is not of the server's memory: each function frees it
 * also when it raises. On the wire all is UTF-8, in SQL all is text of the
 * database, and converted at this border. No locks.
 */
#include "postgres.h"

#include "distribution/covers.h"
#include "distribution/distribution.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/tuplestore.h"

#include "distribution/ern_ack.h"
#include "distribution/ern_int.h"
#include "distribution/ern_schema.h"
#include "distribution/identifiers.h"

#define MAX_MESSAGE (16 * 1024 * 1024)
#define ACK_COLUMNS 8

PG_FUNCTION_INFO_V1(musicverse_ern_message);
PG_FUNCTION_INFO_V1(musicverse_ern_problems);
PG_FUNCTION_INFO_V1(musicverse_acknowledgement);
PG_FUNCTION_INFO_V1(musicverse_batch_complete);

void
mv_distribution_init(void)
{
	mv_covers_init();
	ern_schema_init();
}

static char *
to_utf8(text *value, size_t *len)
{
	char	   *given = text_to_cstring(value);
	char	   *utf8 = pg_server_to_any(given, strlen(given), PG_UTF8);

	*len = strlen(utf8);
	return utf8;
}

static text *
to_text(const char *utf8, size_t len)
{
	char	   *converted = pg_any_to_server(utf8, len, PG_UTF8);

	return cstring_to_text_with_len(converted, converted == utf8 ? len : strlen(converted));
}

static _Noreturn void
out_of_memory(void)
{
	ereport(ERROR, errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"), errdetail("libxml2 could not allocate."));
}

static _Noreturn void
refuse_invalid(const ErnFaults *faults)
{
	StringInfoData all;

	initStringInfo(&all);
	for (int i = 0; i < faults->n; i++)
		appendStringInfo(&all, "%s%s", i == 0 ? "" : "\n", (const char *) faults->text[i]);
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg_plural("the message is not valid by its schema: %d problem", "the message is not valid by its schema: %d problems",
						  faults->n, faults->n),
			errdetail("%s", pg_any_to_server(all.data, all.len, PG_UTF8)),
			errhint("Values of allowed sets, such as roles, codecs, models and use types, are judged by the schema only."));
}

/* ern_message(release jsonb, profile jsonb) */
Datum
musicverse_ern_message(PG_FUNCTION_ARGS)
{
	ErnMessage *message = ern_read(PG_GETARG_JSONB_P(0), PG_GETARG_JSONB_P(1));
	xmlSchemaPtr schema = message->validate ? ern_schema(message->version) : NULL;
	xmlBufferPtr buffer;
	ErnFaults	faults = {0};
	text	   *volatile result;

	CHECK_FOR_INTERRUPTS();
	buffer = ern_write(message);
	if (buffer == NULL)
		out_of_memory();
	if (schema != NULL)
		ern_check(schema, (const char *) xmlBufferContent(buffer), xmlBufferLength(buffer), &faults);
	PG_TRY();
	{
		if (faults.no_memory)
			out_of_memory();
		if (faults.n > 0)
			refuse_invalid(&faults);
		result = to_text((const char *) xmlBufferContent(buffer), xmlBufferLength(buffer));
	}
	PG_FINALLY();
	{
		ern_free_faults(&faults);
		xmlBufferFree(buffer);
	}
	PG_END_TRY();
	PG_RETURN_TEXT_P(result);
}

static ErnVersion
version_of(text *value)
{
	char	   *version = text_to_cstring(value);

	if (strcmp(version, "4.3.2") == 0)
		return ERN_432;
	if (strcmp(version, "3.8.2") == 0)
		return ERN_382;
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("ERN version \"%s\" is not known", version),
			errhint("Give 4.3.2 or 3.8.2."));
}

static void
check_length(size_t len, size_t most, const char *what)
{
	if (len > most)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("%s of %zu bytes is too long", what, len),
				errdetail("At most %zu bytes are read.", most));
}

/* ern_problems(message text, version text) */
Datum
musicverse_ern_problems(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	size_t		len;
	char	   *xml;
	xmlSchemaPtr schema;
	ErnFaults	faults;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	check_length(VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(0)), MAX_MESSAGE, "a message");
	schema = ern_schema(version_of(PG_GETARG_TEXT_PP(1)));
	xml = to_utf8(PG_GETARG_TEXT_PP(0), &len);
	CHECK_FOR_INTERRUPTS();
	ern_check(schema, xml, len, &faults);
	PG_TRY();
	{
		if (faults.no_memory)
			out_of_memory();
		for (int i = 0; i < faults.n; i++)
		{
			const char *fault = (const char *) faults.text[i];
			Datum		value = PointerGetDatum(to_text(fault, strlen(fault)));
			bool		isnull = false;

			tuplestore_putvalues(set->setResult, set->setDesc, &value, &isnull);
		}
	}
	PG_FINALLY();
	{
		ern_free_faults(&faults);
	}
	PG_END_TRY();
	return (Datum) 0;
}

/* Without the white space around it */
static Datum
trimmed(const char *utf8, bool *isnull)
{
	size_t		len;

	*isnull = utf8 == NULL;
	if (utf8 == NULL)
		return (Datum) 0;
	utf8 += strspn(utf8, " \t\r\n");
	len = strlen(utf8);
	while (len > 0 && strchr(" \t\r\n", utf8[len - 1]) != NULL)
		len--;
	return PointerGetDatum(to_text(pnstrdup(utf8, len), len));
}

static bool
store_ack(const ErnAckRow *row, void *arg)
{
	ReturnSetInfo *set = arg;
	const char *columns[ACK_COLUMNS] = {
		row->message_id, row->release_id, row->status, row->action, row->text,
		row->release_status, row->file_status, row->acknowledgement_id
	};
	Datum		values[ACK_COLUMNS];
	bool		nulls[ACK_COLUMNS];

	for (int i = 0; i < ACK_COLUMNS; i++)
		values[i] = trimmed(columns[i], &nulls[i]);
	tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
	return true;
}

/* acknowledgement(message text) */
Datum
musicverse_acknowledgement(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	char		why[ERN_WHY];
	size_t		len;
	char	   *xml;
	xmlDocPtr	document;

	InitMaterializedSRF(fcinfo, 0);
	if (set->setDesc->natts != ACK_COLUMNS)
		elog(ERROR, "return type must be a row type of %d columns", ACK_COLUMNS);
	check_length(VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(0)), ERN_MAX_ACK, "an acknowledgement");
	xml = to_utf8(PG_GETARG_TEXT_PP(0), &len);
	document = ern_parse(xml, len, why);
	if (document == NULL)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_XML_DOCUMENT),
				errmsg("the acknowledgement is no XML that is taken"),
				errdetail("%s", pg_any_to_server(why, strlen(why), PG_UTF8)));
	PG_TRY();
	{
		ern_read_ack(document, store_ack, set);
	}
	PG_FINALLY();
	{
		xmlFreeDoc(document);
	}
	PG_END_TRY();
	return (Datum) 0;
}

static ErnManifestEntry
read_entry(ErnObject *from)
{
	static const char *const kinds[] = {"insert", "update", "takedown", "purge", NULL};
	ErnManifestEntry entry;
	const char *kind = ern_choice(from, "kind", kinds, kinds[0]);

	entry.message_id = ern_need_text(from, "message_id");
	entry.is_grid = ern_has(from, "grid") && !ern_has(from, "upc");
	entry.release_id = ern_need_text(from, entry.is_grid ? "grid" : "upc");
	if (entry.release_id != NULL && !mv_identifier_is_valid(entry.is_grid ? MV_GRID : MV_GTIN, entry.release_id, strlen(entry.release_id)))
		ern_problem(from, entry.is_grid ? "grid" : "upc", "\"%s\" is no %s", entry.release_id, entry.is_grid ? "GRid" : "GTIN");
	entry.url = ern_text(from, "url", psprintf("./%s/%s.xml", entry.release_id, entry.release_id));
	entry.hash = ern_text(from, "hash", NULL);
	entry.type = kind == kinds[3] ? "PurgeReleaseMessage" : "NewReleaseMessage";
	entry.delivery = kind == kinds[0] ? "NewReleaseDelivery" : kind == kinds[1] ? "UpdateDelivery" : "TakedownDelivery";
	return entry;
}

/* batch_complete(profile jsonb, messages jsonb) */
Datum
musicverse_batch_complete(PG_FUNCTION_ARGS)
{
	Jsonb	   *profile = PG_GETARG_JSONB_P(0);
	Jsonb	   *messages = PG_GETARG_JSONB_P(1);
	ErnReader	reader = {.nproblems = 0};
	ErnObject	how = {&reader, JB_ROOT_IS_OBJECT(profile) ? &profile->root : NULL, "profile"};
	ErnMessage *message = ern_array(ErnMessage, 1);
	const char *space;
	const char *root;
	ErnManifestEntry *entries;
	int			n;
	xmlBufferPtr buffer;
	text	   *volatile result;

	initStringInfo(&reader.problems);
	ern_read_parties(&how, message);
	message->hash_algorithm = ern_text(&how, "hash_algorithm", "MD5");
	space = ern_text(&how, "choreography", "http://ddex.net/xml/ern-c-sftp/17");
	if (strrchr(space, '/') == NULL)
		ern_problem(&how, "choreography", "\"%s\" is no namespace such as http://ddex.net/xml/ern-c-sftp/17", space);
	root = ern_text(&how, "root_directory", "./");
	n = JB_ROOT_IS_ARRAY(messages) && !JB_ROOT_IS_SCALAR(messages) ? JB_ROOT_COUNT(messages) : 0;
	if (n == 0)
		ern_problem(&how, "messages", "must be an array that is not empty");
	entries = ern_array(ErnManifestEntry, n + 1);
	for (int i = 0; i < n; i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(&messages->root, i);
		ErnObject	from = {&reader, NULL, psprintf("messages[%d]", i)};

		if (value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data))
			from.json = value->val.binary.data;
		entries[i] = read_entry(&from);
	}
	ern_report(&reader, "a manifest");
	buffer = ern_write_manifest(message, space, root, entries, n);
	if (buffer == NULL)
		out_of_memory();
	PG_TRY();
	{
		result = to_text((const char *) xmlBufferContent(buffer), xmlBufferLength(buffer));
	}
	PG_FINALLY();
	{
		xmlBufferFree(buffer);
	}
	PG_END_TRY();
	PG_RETURN_TEXT_P(result);
}
