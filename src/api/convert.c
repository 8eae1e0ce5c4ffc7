/*
 * Texts and JSON as values of SQL's types, without raising.
 *
 * The common types are read here. Others go through their input functions,
 * which raise until PostgreSQL 16: there within a subtransaction of its own.
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/bind.h"
#include "api/json.h"
#include "catalog/pg_type.h"
#include "core/compat.h"
#include "mb/pg_wchar.h"
#if PG_VERSION_NUM >= 160000
#include "nodes/miscnodes.h"
#endif
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#define MAX_ELEMENTS	1000

static const char *
phrase(const MvArgument *arg)
{
	switch (arg->element)
	{
		case UUIDOID:
			return "must be a UUID";
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return "must be a whole number";
		case NUMERICOID:
		case FLOAT4OID:
		case FLOAT8OID:
			return "must be a number";
		case BOOLOID:
			return "must be true or false";
		case TIMESTAMPTZOID:
			return "must be a time such as 2026-01-31T12:00:00Z";
		case DATEOID:
			return "must be a date such as 2026-01-31";
		case INETOID:
			return "must be an IP address";
		case CIDROID:
			return "must be a network such as 192.0.2.0/24";
		case JSONOID:
		case JSONBOID:
			return "must be JSON";
	}
	return psprintf("must be a valid %s", arg->type_name);
}

/* The type's input function. False when it refuses. */
static bool
soft_input(const MvArgument *arg, const char *text, Datum *value)
{
#if PG_VERSION_NUM >= 160000
	ErrorSaveContext refusal = {T_ErrorSaveContext};

	return InputFunctionCallSafe(unconstify(FmgrInfo *, &arg->input), unconstify(char *, text), arg->io_param, -1,
								 (fmNodePtr) &refusal, value);
#else
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool good = true;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		*value = InputFunctionCall(unconstify(FmgrInfo *, &arg->input), unconstify(char *, text), arg->io_param, -1);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		CurrentResourceOwner = owner;
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED || error->sqlerrcode == ERRCODE_OUT_OF_MEMORY)
			ReThrowError(error);
		good = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return good;
#endif
}

static bool
read_uuid(const char *text, Datum *value)
{
	pg_uuid_t  *id;
	int			n = 0;

	if (strlen(text) != 36)
		return false;
	id = palloc0(sizeof(pg_uuid_t));
	for (int i = 0; i < 36; i++)
	{
		unsigned char c = text[i];
		int			digit;

		if (i == 8 || i == 13 || i == 18 || i == 23)
		{
			if (c != '-')
				return false;
			continue;
		}
		if (c >= '0' && c <= '9')
			digit = c - '0';
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			digit = (c | 0x20) - 'a' + 10;
		else
			return false;
		id->data[n / 2] |= digit << (n % 2 == 0 ? 4 : 0);
		n++;
	}
	*value = UUIDPGetDatum(id);
	return true;
}

static bool
read_integer(const MvArgument *arg, const char *text, Datum *value, const char **message)
{
	char	   *end;
	long long	number;
	const char *digits = text + (text[0] == '-' || text[0] == '+');

	if (!isdigit((unsigned char) digits[0]))
		return false;
	errno = 0;
	number = strtoll(text, &end, 10);
	if (*end != '\0')
		return false;
	if (errno == ERANGE ||
		(arg->element == INT4OID && (number < PG_INT32_MIN || number > PG_INT32_MAX)) ||
		(arg->element == INT2OID && (number < PG_INT16_MIN || number > PG_INT16_MAX)))
	{
		*message = "is out of range";
		return false;
	}
	*value = arg->element == INT8OID ? Int64GetDatum(number) :
		arg->element == INT4OID ? Int32GetDatum((int32) number) : Int16GetDatum((int16) number);
	return true;
}

/* One element by its text */
static bool
element_of_text(const MvArgument *arg, const char *text, Datum *value, const char **message)
{
	MvJsonError error;

	*message = NULL;
	switch (arg->element)
	{
		case TEXTOID:
			*value = CStringGetTextDatum(text);
			return true;
		case UUIDOID:
			if (read_uuid(text, value))
				return true;
			break;
		case INT2OID:
		case INT4OID:
		case INT8OID:
			if (read_integer(arg, text, value, message))
				return true;
			break;
		case BOOLOID:
			*value = BoolGetDatum(strcmp(text, "true") == 0);
			if (DatumGetBool(*value) || strcmp(text, "false") == 0)
				return true;
			break;
		case JSONOID:
		case JSONBOID:
			{
				Jsonb	   *jb = mv_json_parse(text, strlen(text), &error);

				if (jb == NULL)
					break;
				*value = arg->element == JSONBOID ? JsonbPGetDatum(jb) : CStringGetTextDatum(text);
				return true;
			}
		default:
			if (soft_input(arg, text, value))
				return true;
	}
	if (*message == NULL)
		*message = phrase(arg);
	return false;
}

static Datum
make_array(const MvArgument *arg, Datum *elements, int n)
{
	int16		len;
	bool		by_value;
	char		align;

	get_typlenbyvalalign(arg->element, &len, &by_value, &align);
	return PointerGetDatum(construct_array(elements, n, arg->element, len, by_value, align));
}

static bool
too_many(int n, const char **message)
{
	if (n < MAX_ELEMENTS)
		return false;
	*message = psprintf("has more than %d elements", MAX_ELEMENTS);
	return true;
}

bool
mv_convert_text(const MvArgument *arg, const char *text, Datum *value, const char **message)
{
	return arg->is_array ? mv_convert_list(arg, list_make1(unconstify(char *, text)), value, message) :
		element_of_text(arg, text, value, message);
}

bool
mv_convert_list(const MvArgument *arg, List *texts, Datum *value, const char **message)
{
	Datum	   *elements;
	int			n = 0;
	ListCell   *cell;

	if (!arg->is_array)
	{
		if (list_length(texts) > 1)
		{
			*message = "is given more than once";
			return false;
		}
		return element_of_text(arg, linitial(texts), value, message);
	}
	elements = palloc(MAX_ELEMENTS * sizeof(Datum));
	foreach(cell, texts)
	{
		char	   *at = pstrdup(lfirst(cell));

		while (at != NULL && at[0] != '\0')
		{
			char	   *comma = strchr(at, ',');

			if (comma != NULL)
				*comma = '\0';
			if (too_many(n, message) || !element_of_text(arg, at, &elements[n], message))
				return false;
			n++;
			at = comma == NULL ? NULL : comma + 1;
		}
	}
	*value = make_array(arg, elements, n);
	return true;
}

static bool
wants_number(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID || type == NUMERICOID || type == FLOAT4OID || type == FLOAT8OID;
}

static bool
element_of_json(const MvArgument *arg, const JsonbValue *json, Datum *value, const char **message)
{
	char	   *text;
	char	   *point;

	if (arg->element == JSONBOID || arg->element == JSONOID)
	{
		JsonbValue	copy = *json;
		Jsonb	   *jb = JsonbValueToJsonb(&copy);

		*value = arg->element == JSONBOID ? JsonbPGetDatum(jb) : CStringGetTextDatum(JsonbToCString(NULL, &jb->root, VARSIZE(jb)));
		return true;
	}
	switch (json->type)
	{
		case jbvString:
			if (wants_number(arg->element) || arg->element == BOOLOID)
				break;
			text = pnstrdup(json->val.string.val, json->val.string.len);
			return element_of_text(arg, text, value, message);
		case jbvNumeric:
			if (!wants_number(arg->element))
				break;
			text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(json->val.numeric)));
			/* 60.0 is as whole a number as 60 */
			point = arg->element == NUMERICOID ? NULL : strchr(text, '.');
			if (point != NULL && point[1 + strspn(point + 1, "0")] == '\0')
				*point = '\0';
			return element_of_text(arg, text, value, message);
		case jbvBool:
			if (arg->element != BOOLOID)
				break;
			*value = BoolGetDatum(json->val.boolean);
			return true;
		default:
			break;
	}
	*message = arg->element == TEXTOID ? "must be a string" : phrase(arg);
	return false;
}

bool
mv_convert_json(const MvArgument *arg, const JsonbValue *json, Datum *value, const char **message)
{
	Datum	   *elements;
	JsonbIterator *it;
	JsonbValue	element;
	int			n = 0;

	if (!arg->is_array)
		return element_of_json(arg, json, value, message);
	if (json->type != jbvBinary || !JsonContainerIsArray(json->val.binary.data))
	{
		*message = "must be an array";
		return false;
	}
	elements = palloc(MAX_ELEMENTS * sizeof(Datum));
	it = JsonbIteratorInit(json->val.binary.data);
	JsonbIteratorNext(&it, &element, true);
	while (JsonbIteratorNext(&it, &element, true) == WJB_ELEM)
	{
		if (too_many(n, message))
			return false;
		if (!element_of_json(arg, &element, &elements[n], message))
		{
			*message = psprintf("element %d %s", n + 1, *message);
			return false;
		}
		n++;
	}
	*value = make_array(arg, elements, n);
	return true;
}
