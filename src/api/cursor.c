/*
 * Cursors of lists: where a list goes on, sealed, so that nobody makes one up
 * or uses that of somebody else or of another list.
 */
#include "postgres.h"

#include "core/base64.h"
#include "core/caller.h"
#include "core/seal.h"
#include "core/uuid7.h"
#include "fmgr.h"
#include "utils/builtins.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

PG_FUNCTION_INFO_V1(musicverse_cursor);
PG_FUNCTION_INFO_V1(musicverse_open_cursor);

#define MAX_PAYLOAD	2048
#define MAX_CURSOR	4096

static char *
context_of(text *operation)
{
	pg_uuid_t	user_id;
	char		user[37] = "nobody";

	if (mv_caller(&user_id))
		mv_uuid_text(&user_id, user);
	return psprintf("cursor %s %s", text_to_cstring(operation), user);
}

/* _cursor(operation text, payload text) */
Datum
musicverse_cursor(PG_FUNCTION_ARGS)
{
	text	   *payload = PG_GETARG_TEXT_PP(1);
	bytea	   *sealed;
	char	   *out;
	size_t		n;

	if (VARSIZE_ANY_EXHDR(payload) > MAX_PAYLOAD)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the payload of a cursor has %d bytes, %d are allowed", (int) VARSIZE_ANY_EXHDR(payload), MAX_PAYLOAD)));
	sealed = mv_seal(VARDATA_ANY(payload), VARSIZE_ANY_EXHDR(payload), context_of(PG_GETARG_TEXT_PP(0)));
	out = palloc(MV_BASE64_LEN(VARSIZE_ANY_EXHDR(sealed)) + 1);
	n = mv_base64_encode(VARDATA_ANY(sealed), VARSIZE_ANY_EXHDR(sealed), out);
	while (n > 0 && out[n - 1] == '=')
		n--;
	for (size_t i = 0; i < n; i++)
		out[i] = out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i];
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out, n));
}

/* _open_cursor(operation text, cursor text) */
Datum
musicverse_open_cursor(PG_FUNCTION_ARGS)
{
	text	   *cursor = PG_GETARG_TEXT_PP(1);
	int			len = VARSIZE_ANY_EXHDR(cursor);
	char	   *standard;
	bytea	   *sealed;
	int			n = -1;
	size_t		opened_len;
	char	   *opened = NULL;
	const char *why;

	if (len <= MAX_CURSOR)
	{
		standard = palloc(len + 1);
		for (int i = 0; i < len; i++)
		{
			char		c = VARDATA_ANY(cursor)[i];

			standard[i] = c == '-' ? '+' : c == '_' ? '/' : c == '+' || c == '/' || c == '=' ? '!' : c;
		}
		sealed = palloc(VARHDRSZ + len);
		n = mv_base64_decode(standard, len, VARDATA(sealed), len, true);
		if (n >= 0)
		{
			SET_VARSIZE(sealed, VARHDRSZ + n);
			opened = mv_unseal_noerror(sealed, context_of(PG_GETARG_TEXT_PP(0)), &opened_len, &why);
		}
	}
	if (opened == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the cursor is not valid"),
				 errdetail("{\"field\": \"/cursor\"}"),
				 errhint("Take it from next_cursor of the same list, or leave it out to begin anew.")));
	PG_RETURN_TEXT_P(cstring_to_text_with_len(opened, opened_len));
}
