/*
 * What operations judge, for those in C and in SQL. See arguments.h.
 */
#include "postgres.h"

#include "api/arguments.h"
#include "catalog/pg_type.h"
#include "core/caller.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/numeric.h"

PG_FUNCTION_INFO_V1(musicverse_api_choice);
PG_FUNCTION_INFO_V1(musicverse_api_missing);
PG_FUNCTION_INFO_V1(musicverse_api_range);
PG_FUNCTION_INFO_V1(musicverse_api_user);

#define SQLSTATE_NOT_FOUND		MAKE_SQLSTATE('P', 'T', '4', '0', '4')
#define SQLSTATE_UNAUTHORIZED	MAKE_SQLSTATE('P', 'T', '4', '0', '1')
#define MAX_SHOWN				100	/* characters of what a caller sent */

void
mv_api_user(pg_uuid_t *user_id)
{
	if (!mv_caller(user_id))
		ereport(ERROR,
				(errcode(SQLSTATE_UNAUTHORIZED),
				 errmsg("nobody is known to ask"),
				 errhint("Send an API key, or a token whose sub is the id of a user.")));
}

void
mv_api_missing(const char *kind, const pg_uuid_t *id)
{
	ereport(ERROR,
			(errcode(SQLSTATE_NOT_FOUND),
			 errmsg("%s %s does not exist", kind,
					id == NULL ? "null" : DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id))))));
}

/* The detail by which the dispatcher tells which field is wrong */
static char *
field(const char *name)
{
	StringInfoData detail;

	initStringInfo(&detail);
	appendStringInfoString(&detail, "{\"field\" : ");
	escape_json(&detail, psprintf("/%s", name));
	appendStringInfoChar(&detail, '}');
	return detail.data;
}

/* _api_user() */
Datum
musicverse_api_user(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *user_id = palloc(sizeof(pg_uuid_t));

	mv_api_user(user_id);
	PG_RETURN_UUID_P(user_id);
}

/* _api_missing(kind text, id uuid) */
Datum
musicverse_api_missing(PG_FUNCTION_ARGS)
{
	mv_api_missing(PG_ARGISNULL(0) ? "resource" : text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_ARGISNULL(1) ? NULL : PG_GETARG_UUID_P(1));
	PG_RETURN_VOID();
}

static bool
is_less(Datum a, Datum b)
{
	return DatumGetBool(DirectFunctionCall2(numeric_lt, a, b));
}

static char *
number_text(Datum number)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, number));
}

/* _api_range(name text, value numeric, lowest numeric, highest numeric) */
Datum
musicverse_api_range(PG_FUNCTION_ARGS)
{
	char	   *name;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(2) || PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a range needs its name and both of its ends")));
	if (!PG_ARGISNULL(1) && !is_less(PG_GETARG_DATUM(1), PG_GETARG_DATUM(2)) && !is_less(PG_GETARG_DATUM(3), PG_GETARG_DATUM(1)))
		PG_RETURN_VOID();
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s must be between %s and %s, but is %s", name, number_text(PG_GETARG_DATUM(2)), number_text(PG_GETARG_DATUM(3)),
					PG_ARGISNULL(1) ? "null" : number_text(PG_GETARG_DATUM(1))),
			 errdetail_internal("%s", field(name))));
}

/* _api_choice(name text, value text, known text[]) */
Datum
musicverse_api_choice(PG_FUNCTION_ARGS)
{
	text	   *value;
	char	   *name;
	StringInfoData list;
	Datum	   *known;
	bool	   *nulls;
	int			n;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a choice needs its name and what is known")));
	if (PG_ARGISNULL(1))
		PG_RETURN_VOID();
	value = PG_GETARG_TEXT_PP(1);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(2), TEXTOID, -1, false, TYPALIGN_INT, &known, &nulls, &n);
	initStringInfo(&list);
	for (int i = 0; i < n; i++)
	{
		text	   *one;

		if (nulls[i])
			continue;
		one = DatumGetTextPP(known[i]);
		if (VARSIZE_ANY_EXHDR(one) == VARSIZE_ANY_EXHDR(value) &&
			memcmp(VARDATA_ANY(one), VARDATA_ANY(value), VARSIZE_ANY_EXHDR(one)) == 0)
			PG_RETURN_VOID();
		appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "", text_to_cstring(one));
	}
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown %s \"%.*s\"", name,
					pg_mbcharcliplen(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value), MAX_SHOWN), VARDATA_ANY(value)),
			 errdetail_internal("%s", field(name)),
			 errhint("Known: %s.", list.data)));
}
