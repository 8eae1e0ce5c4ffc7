/*
 * Rows as JSON objects, see row_json.h. Values whose JSON form isn't simply
 * their text (arrays, composites, types with a cast to json) are left to the
 * server's to_json().
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "core/row_json.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
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
	int			natts;
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
			appendStringInfoString(out, OutputFunctionCall(&column->output, value));
			break;
		case COLUMN_TIME:
			JsonEncodeDateTime(buffer, value, column->type, &utc);
			appendStringInfoChar(out, '"');
			appendStringInfoString(out, buffer);
			appendStringInfoChar(out, '"');
			break;
		case COLUMN_TEXT:
			escape_json(out, TextDatumGetCString(value));
			break;
		case COLUMN_QUOTED:
			escape_json(out, OutputFunctionCall(&column->output, value));
			break;
		case COLUMN_TO_JSON:
			{
				text	   *json = DatumGetTextPP(FunctionCall1(&column->output, value));

				appendBinaryStringInfo(out, VARDATA_ANY(json), VARSIZE_ANY_EXHDR(json));
				break;
			}
	}
}

void
mv_row_json(MvRowFormat *format, HeapTuple tuple, TupleDesc desc, StringInfo out)
{
	int			start = out->len;

	for (int i = 0; i < format->natts; i++)
	{
		Column	   *column = &format->columns[i];
		bool		isnull;
		Datum		value;

		if (column->kind == COLUMN_DROPPED)
			continue;
		value = heap_getattr(tuple, i + 1, desc, &isnull);
		appendBinaryStringInfo(out, column->key, column->key_len);
		if (isnull)
			appendBinaryStringInfo(out, "null", 4);
		else
			append_value(column, value, out);
	}
	appendStringInfoString(out, out->len == start ? "{}" : "}");
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
