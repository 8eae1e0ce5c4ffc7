/*
 * Rows as JSON objects, see row_json.h. Values whose JSON form isn't simply
 * their text (arrays, composites, types with a cast to json) are left to the
 * server's to_json(), under settings that are the same for every session.
 *
 * The type json takes what jsonb and text can't: such text is mended, as
 * everybody who reads an event's body reads it as jsonb.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "core/row_json.h"
#include "core/uuid7.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/float.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

typedef enum ColumnKind
{
	COLUMN_DROPPED,
	COLUMN_BOOL,
	COLUMN_NUMBER,
	COLUMN_JSON,				/* its text is JSON */
	COLUMN_TIME,
	COLUMN_TEXT,				/* varlena text: no output function needed */
	COLUMN_UUID,
	COLUMN_QUOTED,				/* its text, quoted */
	COLUMN_TO_JSON
} ColumnKind;

typedef struct Column
{
	ColumnKind	kind;
	char	   *key;			/* "name": with what stands before and behind */
	int			key_len;
	Oid			type;
	FmgrInfo	output;			/* or to_json() */
} Column;

struct MvRowFormat
{
	bool		by_settings;	/* the text of some column depends on the session's settings */
	int			natts;
	Datum	   *values;			/* of the row at hand */
	bool	   *nulls;
	Column		columns[FLEXIBLE_ARRAY_MEMBER];
};

static ColumnKind
kind_of(Oid type)
{
	switch (type)
	{
		case BOOLOID:
			return COLUMN_BOOL;
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return COLUMN_NUMBER;
		case JSONOID:
		case JSONBOID:
			return COLUMN_JSON;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return COLUMN_TIME;
		case TEXTOID:
		case VARCHAROID:
			return COLUMN_TEXT;
		case UUIDOID:
			return COLUMN_UUID;
		default:
			break;
	}
	if (OidIsValid(get_element_type(type)) || type == RECORDOID || type == RECORDARRAYOID ||
		get_typtype(type) == TYPTYPE_COMPOSITE || type >= FirstNormalObjectId)
		return COLUMN_TO_JSON;
	return COLUMN_QUOTED;
}

MvRowFormat *
mv_row_format(TupleDesc desc, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	MvRowFormat *format = palloc0(offsetof(MvRowFormat, columns) + sizeof(Column) * desc->natts);
	const char *separator = "{";

	format->natts = desc->natts;
	format->values = palloc(sizeof(Datum) * desc->natts);
	format->nulls = palloc(sizeof(bool) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		Column	   *column = &format->columns[i];
		StringInfoData key;
		Oid			function;
		bool		varlena;

		if (attribute->attisdropped)
			continue;
		initStringInfo(&key);
		appendStringInfoString(&key, separator);
		escape_json(&key, NameStr(attribute->attname));
		appendStringInfoChar(&key, ':');
		separator = ",";
		column->key = key.data;
		column->key_len = key.len;
		column->type = getBaseType(attribute->atttypid);
		column->kind = kind_of(column->type);
		if (column->type == FLOAT4OID || column->type == FLOAT8OID || column->kind == COLUMN_TO_JSON ||
			(column->kind == COLUMN_QUOTED && column->type != BPCHAROID))
			format->by_settings = true;
		switch (column->kind)
		{
			case COLUMN_NUMBER:
			case COLUMN_JSON:
			case COLUMN_QUOTED:
				getTypeOutputInfo(column->type, &function, &varlena);
				fmgr_info_cxt(function, &column->output, context);
				break;
			case COLUMN_TO_JSON:
				fmgr_info_cxt(F_TO_JSON, &column->output, context);
				fmgr_info_set_expr((Node *) makeFuncExpr(F_TO_JSON, JSONOID,
														 list_make1(makeNullConst(attribute->atttypid, -1, InvalidOid)),
														 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL),
								   &column->output);
				break;
			default:
				break;
		}
	}
	MemoryContextSwitchTo(old);
	return format;
}

/*
 * Settings under which types are written the same way in every session, until
 * AtEOXact_GUC() with the level returned; 0 when the session's are these.
 */
static int
same_settings(void)
{
	static const char *const settings[][2] = {
		{"datestyle", "ISO, YMD"}, {"intervalstyle", "postgres"}, {"timezone", "UTC"},
		{"extra_float_digits", "1"}, {"bytea_output", "hex"}
	};
	int			level;

	if (DateStyle == USE_ISO_DATES && IntervalStyle == INTSTYLE_POSTGRES && extra_float_digits >= 1 &&
		bytea_output == BYTEA_OUTPUT_HEX && strcmp(pg_get_timezone_name(session_timezone), "UTC") == 0)
		return 0;
	level = NewGUCNestLevel();
	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	return level;
}

/* The code of an escape: backslash, u, four digits. -1 for anything else */
static int
unicode_escape(const char *p, const char *end)
{
	int			code = 0;

	if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
		return -1;
	for (int i = 2; i < 6; i++)
		code = code * 16 + (p[i] <= '9' ? p[i] - '0' : (p[i] | 0x20) - 'a' + 10);
	return code;
}

/*
 * Appends valid JSON that jsonb can read as well. Escapes of characters that
 * aren't any, or that the database's encoding lacks, are replaced; numbers
 * beyond every range become strings.
 */
static void
append_json(StringInfo out, const char *p, int len)
{
	const char *end = p + len;
	const char *replacement = GetDatabaseEncoding() == PG_UTF8 ? "\\ufffd" : "?";
	int			largest = GetDatabaseEncoding() == PG_UTF8 ? 0xffff : GetDatabaseEncoding() == PG_LATIN1 ? 0xff : 0x7f;
	bool		in_string = false;

	while (p < end)
	{
		const char *from = p;

		if (*p == '"')
			in_string = !in_string;
		if (in_string && *p == '\\')
		{
			int			code = unicode_escape(p, end);
			bool		pair = code >= 0xd800 && code < 0xdc00 &&
				(unicode_escape(p + 6, end) & ~0x3ff) == 0xdc00;

			p += code < 0 ? 2 : pair ? 12 : 6;
			if (code == 0 || code > largest || (code >= 0xd800 && code < 0xe000 && !(pair && largest == 0xffff)))
				appendStringInfoString(out, replacement);
			else
				appendBinaryStringInfo(out, from, p - from);
		}
		else if (!in_string && (*p == '-' || isdigit((unsigned char) *p)))
		{
			const char *exponent = NULL;
			bool		wild;

			for (; p < end && strchr("+-.0123456789eE", *p) != NULL; p++)
				if (*p == 'e' || *p == 'E')
					exponent = p + 1;
			wild = p - from > 6000 || (exponent != NULL && p - exponent > 5);
			if (wild)
				appendStringInfoChar(out, '"');
			appendBinaryStringInfo(out, from, p - from);
			if (wild)
				appendStringInfoChar(out, '"');
		}
		else
			appendStringInfoChar(out, *p++);
	}
}

#define EACH_BYTE(c)	(UINT64CONST(0x0101010101010101) * (c))

/* Of eight characters at once: is any below c, which is at most 0x80, or c itself? Not which one. */
#define HAS_BELOW(x, c) (((x) - EACH_BYTE(c)) & ~(x) & EACH_BYTE(0x80))
#define HAS(x, c)		HAS_BELOW((x) ^ EACH_BYTE(c), 1)

/* How many characters need no escape, from the first on */
static size_t
plain_characters(const char *string, size_t len)
{
	size_t		n = 0;

	for (uint64 eight; n + sizeof(eight) <= len; n += sizeof(eight))
	{
		memcpy(&eight, string + n, sizeof(eight));
		if (HAS_BELOW(eight, ' ') | HAS(eight, '"') | HAS(eight, '\\'))
			break;
	}
	while (n < len && (unsigned char) string[n] >= ' ' && string[n] != '"' && string[n] != '\\')
		n++;
	return n;
}

void
mv_append_json_string(StringInfo out, const char *string, size_t len)
{
	if (plain_characters(string, len) < len)
	{
		escape_json(out, pnstrdup(string, len));
		return;
	}
	enlargeStringInfo(out, len + 2);
	out->data[out->len] = '"';
	memcpy(out->data + out->len + 1, string, len);
	out->data[out->len + len + 1] = '"';
	out->len += len + 2;
	out->data[out->len] = '\0';
}

static void
append_value(Column *column, Datum value, StringInfo out)
{
	char		buffer[MAXDATELEN + 1];
	char	   *string;
	int			utc = 0;

	switch (column->kind)
	{
		case COLUMN_DROPPED:
			break;
		case COLUMN_BOOL:
			appendStringInfoString(out, DatumGetBool(value) ? "true" : "false");
			break;
		case COLUMN_NUMBER:
			string = OutputFunctionCall(&column->output, value);
			/* NaN and Infinity are no JSON numbers */
			if (*string == '-' ? isdigit((unsigned char) string[1]) : isdigit((unsigned char) string[0]))
				appendStringInfoString(out, string);
			else
				escape_json(out, string);
			break;
		case COLUMN_JSON:
			string = OutputFunctionCall(&column->output, value);
			if (column->type == JSONBOID)
				appendStringInfoString(out, string);
			else
				append_json(out, string, strlen(string));
			break;
		case COLUMN_TIME:
			if (column->type == TIMESTAMPTZOID)
			{
				mv_append_json_time(out, DatumGetTimestampTz(value));
				break;
			}
			JsonEncodeDateTime(buffer, value, column->type, &utc);
			appendStringInfoChar(out, '"');
			appendStringInfoString(out, buffer);
			appendStringInfoChar(out, '"');
			break;
		case COLUMN_TEXT:
			{
				text	   *plain = DatumGetTextPP(value);

				mv_append_json_string(out, VARDATA_ANY(plain), VARSIZE_ANY_EXHDR(plain));
				break;
			}
		case COLUMN_UUID:
			mv_uuid_text(DatumGetUUIDP(value), buffer);
			mv_append_json_string(out, buffer, 36);
			break;
		case COLUMN_QUOTED:
			escape_json(out, OutputFunctionCall(&column->output, value));
			break;
		case COLUMN_TO_JSON:
			{
				text	   *json = DatumGetTextPP(FunctionCall1(&column->output, value));

				append_json(out, VARDATA_ANY(json), VARSIZE_ANY_EXHDR(json));
				break;
			}
	}
}

void
mv_row_json(MvRowFormat *format, HeapTuple tuple, TupleDesc desc, StringInfo out)
{
	int			start = out->len;
	int			level = format->by_settings ? same_settings() : 0;

	heap_deform_tuple(tuple, desc, format->values, format->nulls);
	for (int i = 0; i < format->natts; i++)
	{
		Column	   *column = &format->columns[i];

		if (column->kind == COLUMN_DROPPED)
			continue;
		appendBinaryStringInfo(out, column->key, column->key_len);
		if (format->nulls[i])
			appendBinaryStringInfo(out, "null", 4);
		else
			append_value(column, format->values[i], out);
	}
	appendStringInfoString(out, out->len == start ? "{}" : "}");
	if (level > 0)
		AtEOXact_GUC(true, level);
}

void
mv_append_json_time(StringInfo out, TimestampTz at)
{
	char		buffer[MAXDATELEN + 1];
	int			utc = 0;
	size_t		len;

	JsonEncodeDateTime(buffer, TimestampTzGetDatum(at), TIMESTAMPTZOID, &utc);
	len = strlen(buffer);
	if (len > 6 && strcmp(buffer + len - 6, "+00:00") == 0)
		strcpy(buffer + len - 6, "Z");
	appendStringInfoChar(out, '"');
	appendStringInfoString(out, buffer);
	appendStringInfoChar(out, '"');
}
