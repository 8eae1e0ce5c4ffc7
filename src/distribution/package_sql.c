/*
 * What packages are made of as SQL functions: _safe_name(), _plain_json(),
 * _itmsp_metadata(), and how they are read. Text is converted from and to UTF-8 here. No locks.
 */
#include "postgres.h"

#include <libxml/xmlmemory.h>
#include <unistd.h>

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "distribution/package.h"
#include "media/media.h"

#define MAX_NAME 200

PG_FUNCTION_INFO_V1(musicverse_safe_name);
PG_FUNCTION_INFO_V1(musicverse_plain_json);
PG_FUNCTION_INFO_V1(musicverse_itmsp_metadata);
PG_FUNCTION_INFO_V1(musicverse_read_media_part);

/* _safe_name(text, max_chars) */
Datum
musicverse_safe_name(PG_FUNCTION_ARGS)
{
	char	   *given = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *utf8 = pg_server_to_any(given, strlen(given), PG_UTF8);
	char	   *name = mv_safe_name(utf8, Min(Max(PG_GETARG_INT32(1), 1), MAX_NAME));

	PG_RETURN_TEXT_P(cstring_to_text(pg_any_to_server(name, strlen(name), PG_UTF8)));
}

static void
make_plain(JsonbValue *value)
{
	char	   *given = pnstrdup(value->val.string.val, value->val.string.len);
	char	   *made = mv_plain_text(pg_server_to_any(given, strlen(given), PG_UTF8));

	value->val.string.val = pg_any_to_server(made, strlen(made), PG_UTF8);
	value->val.string.len = strlen(value->val.string.val);
}

/* _plain_json(jsonb): its strings; names of members stay */
Datum
musicverse_plain_json(PG_FUNCTION_ARGS)
{
	JsonbIterator *iterator = JsonbIteratorInit(&PG_GETARG_JSONB_P(0)->root);
	JsonbParseState *state = NULL;
	JsonbIteratorToken token;
	JsonbValue	value;
	JsonbValue *made = NULL;

	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		if ((token == WJB_VALUE || token == WJB_ELEM) && value.type == jbvString)
			make_plain(&value);
		made = pushJsonbValue(&state, token,
							  token == WJB_KEY || token == WJB_VALUE || token == WJB_ELEM ||
							  (token == WJB_BEGIN_ARRAY && value.val.array.rawScalar) ? &value : NULL);
	}
	PG_RETURN_JSONB_P(JsonbValueToJsonb(made));
}

/* _itmsp_metadata(jsonb) */
Datum
musicverse_itmsp_metadata(PG_FUNCTION_ARGS)
{
	char	   *xml = mv_itmsp_write(PG_GETARG_JSONB_P(0));
	bytea	   *made;
	size_t		len;

	if (xml == NULL)
		ereport(ERROR, errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"));
	len = strlen(xml);
	made = palloc_extended(VARHDRSZ + len, MCXT_ALLOC_NO_OOM);
	if (made != NULL)
	{
		SET_VARSIZE(made, VARHDRSZ + len);
		memcpy(VARDATA(made), xml, len);
	}
	xmlFree(xml);
	if (made == NULL)
		ereport(ERROR, errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"));
	PG_RETURN_BYTEA_P(made);
}

/* _read_media_part(file_name, bytes, offset, length) */
Datum
musicverse_read_media_part(PG_FUNCTION_ARGS)
{
	int64		bytes = PG_GETARG_INT64(1);
	int64		offset = Min(PG_GETARG_INT64(2), bytes);
	int			length = (int) Min((int64) PG_GETARG_INT32(3), bytes - offset);
	bytea	   *part = palloc(VARHDRSZ + length);
	int			fd = mv_media_open(text_to_cstring(PG_GETARG_TEXT_PP(0)), bytes);
	ssize_t		n;

	if (fd < 0)
		PG_RETURN_NULL();
	/* one system call: there is nothing to be interrupted that would leave it open */
	n = pg_pread(fd, VARDATA(part), length, offset);
	close(fd);
	if (n != length)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not read a file in musicverse.media_directory: %m")));
	SET_VARSIZE(part, VARHDRSZ + length);
	PG_RETURN_BYTEA_P(part);
}
