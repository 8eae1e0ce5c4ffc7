/*
 * The identifiers as SQL functions: X_is_valid() judges the stored form,
 * normalize_X() makes it of what people write, _require_X() is the check of
 * the domains, which says what is wrong. No locks.
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "distribution/identifiers.h"

static _Noreturn void
refuse(MvIdentifier kind, int sqlstate, text *value)
{
	char	   *given = text_to_cstring(value);

	if (strlen(given) > MV_IDENTIFIER_MAX)
		given = psprintf("%.*s…", pg_mbcliplen(given, strlen(given), MV_IDENTIFIER_MAX), given);
	ereport(ERROR,
			errcode(sqlstate),
			errmsg("\"%s\" is no valid %s", given, mv_identifier_name(kind)),
			errhint("%s", mv_identifier_hint(kind)));
}

static bool
is_valid(MvIdentifier kind, text *value)
{
	return mv_identifier_is_valid(kind, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

static Datum
require(MvIdentifier kind, text *value)
{
	if (!is_valid(kind, value))
		refuse(kind, ERRCODE_CHECK_VIOLATION, value);
	PG_RETURN_BOOL(true);
}

static Datum
normalize(MvIdentifier kind, text *value)
{
	char		stored[MV_IDENTIFIER_MAX];
	size_t		len = mv_identifier_normalize(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value), stored);

	if (!mv_identifier_is_valid(kind, stored, len))
		refuse(kind, ERRCODE_INVALID_PARAMETER_VALUE, value);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(stored, len));
}

#define IDENTIFIER(name, kind) \
PG_FUNCTION_INFO_V1(musicverse_##name##_is_valid); \
PG_FUNCTION_INFO_V1(musicverse_require_##name); \
PG_FUNCTION_INFO_V1(musicverse_normalize_##name); \
\
Datum \
musicverse_##name##_is_valid(PG_FUNCTION_ARGS) \
{ \
	PG_RETURN_BOOL(is_valid(kind, PG_GETARG_TEXT_PP(0))); \
} \
\
Datum \
musicverse_require_##name(PG_FUNCTION_ARGS) \
{ \
	return require(kind, PG_GETARG_TEXT_PP(0)); \
} \
\
Datum \
musicverse_normalize_##name(PG_FUNCTION_ARGS) \
{ \
	return normalize(kind, PG_GETARG_TEXT_PP(0)); \
}

IDENTIFIER(isrc, MV_ISRC)
IDENTIFIER(gtin, MV_GTIN)
IDENTIFIER(iswc, MV_ISWC)
IDENTIFIER(isni, MV_ISNI)
IDENTIFIER(grid, MV_GRID)
IDENTIFIER(dpid, MV_DPID)

PG_FUNCTION_INFO_V1(musicverse_gtin_check_digit);

/* _gtin_check_digit(text): of the digits before it */
Datum
musicverse_gtin_check_digit(PG_FUNCTION_ARGS)
{
	text	   *digits = PG_GETARG_TEXT_PP(0);
	char		digit = mv_gtin_check_digit(VARDATA_ANY(digits), VARSIZE_ANY_EXHDR(digits));

	if (digit < '0' || digit > '9')
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"%s\" are no digits", text_to_cstring(digits)));
	PG_RETURN_TEXT_P(cstring_to_text_with_len(&digit, 1));
}
