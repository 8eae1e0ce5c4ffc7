/*
 * A small validator of JSON Schema over jsonb. See schema.h.
 */
#include "postgres.h"

#include "api/json.h"
#include "api/problem.h"
#include "api/schema.h"
#include "catalog/pg_collation.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#define MAX_SHOWN	200

static void check(MvApiCall *call, const JsonbValue *value, JsonbContainer *schema, const char *pointer);

/* A body may have very many members: the pointer of one without fault is let go. */
static void
check_member(MvApiCall *call, const JsonbValue *value, JsonbContainer *schema, char *pointer)
{
	int			before = list_length(call->errors);

	check(call, value, schema, pointer);
	if (list_length(call->errors) == before)
		pfree(pointer);
}

char *
mv_json_pointer(const char *parent, const char *key, int len)
{
	StringInfoData pointer;

	initStringInfo(&pointer);
	appendStringInfo(&pointer, "%s/", parent);
	for (int i = 0; i < len; i++)
		if (key[i] == '~')
			appendStringInfoString(&pointer, "~0");
		else if (key[i] == '/')
			appendStringInfoString(&pointer, "~1");
		else
			appendStringInfoChar(&pointer, key[i]);
	return pointer.data;
}

static void
fault(MvApiCall *call, const char *pointer, char *message)
{
	mv_field_error(call, "field", pointer, message);
}

static bool
is_object(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data);
}

static bool
is_array(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data) && !JsonContainerIsScalar(value->val.binary.data);
}

static bool
is_integer(const JsonbValue *value)
{
	Numeric		number = value->val.numeric;

	return DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(number),
											DirectFunctionCall2(numeric_trunc, NumericGetDatum(number), Int32GetDatum(0))));
}

static bool
has_type(const JsonbValue *value, const JsonbValue *type)
{
	if (mv_json_is(type, "string"))
		return value->type == jbvString;
	if (mv_json_is(type, "number"))
		return value->type == jbvNumeric;
	if (mv_json_is(type, "integer"))
		return value->type == jbvNumeric && is_integer(value);
	if (mv_json_is(type, "boolean"))
		return value->type == jbvBool;
	if (mv_json_is(type, "null"))
		return value->type == jbvNull;
	if (mv_json_is(type, "object"))
		return is_object(value);
	if (mv_json_is(type, "array"))
		return is_array(value);
	return true;
}

/* Heeds type, which is a name or an array of them. */
static bool
check_type(MvApiCall *call, const JsonbValue *value, const JsonbValue *type, const char *pointer)
{
	StringInfoData names;
	JsonbIterator *it;
	JsonbValue	element;

	if (type->type == jbvString)
	{
		if (has_type(value, type))
			return true;
		fault(call, pointer, mv_json_is(type, "null") ? pstrdup("must be null") :
			  psprintf("must be %s %.*s", strchr("aio", type->val.string.val[0]) != NULL ? "an" : "a",
					   type->val.string.len, type->val.string.val));
		return false;
	}
	if (!is_array(type))
		return true;
	initStringInfo(&names);
	it = JsonbIteratorInit(type->val.binary.data);
	JsonbIteratorNext(&it, &element, true);
	while (JsonbIteratorNext(&it, &element, true) == WJB_ELEM)
	{
		if (element.type != jbvString || has_type(value, &element))
			return true;
		appendStringInfo(&names, "%s%.*s", names.len > 0 ? " or " : "", element.val.string.len, element.val.string.val);
	}
	fault(call, pointer, psprintf("must be of type %s", names.data));
	return false;
}

static char *
shown(const JsonbValue *value)
{
	JsonbValue	copy = *value;
	Jsonb	   *jb = JsonbValueToJsonb(&copy);
	char	   *text = JsonbToCString(NULL, &jb->root, VARSIZE(jb));

	if (strlen(text) > MAX_SHOWN)
		text[pg_mbcliplen(text, strlen(text), MAX_SHOWN)] = '\0';
	return text;
}

static bool
are_equal(const JsonbValue *a, const JsonbValue *b)
{
	JsonbValue	one = *a;
	JsonbValue	other = *b;

	return compareJsonbContainers(&JsonbValueToJsonb(&one)->root, &JsonbValueToJsonb(&other)->root) == 0;
}

static void
check_enum(MvApiCall *call, const JsonbValue *value, const JsonbValue *allowed, const char *pointer)
{
	StringInfoData list;
	JsonbIterator *it;
	JsonbValue	element;

	if (!is_array(allowed))
		return;
	initStringInfo(&list);
	it = JsonbIteratorInit(allowed->val.binary.data);
	JsonbIteratorNext(&it, &element, true);
	while (JsonbIteratorNext(&it, &element, true) == WJB_ELEM)
	{
		if (are_equal(value, &element))
			return;
		if (list.len < MAX_SHOWN)
			appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "", shown(&element));
	}
	fault(call, pointer, psprintf("must be one of %s", list.data));
}

/* A whole number of a schema, such as maxLength; false when there is none. */
static bool
count_of(JsonbContainer *schema, const char *name, int64 *count)
{
	JsonbValue	buffer;
	JsonbValue *value = mv_json_member(schema, name, &buffer);
	double		number;

	if (value == NULL || value->type != jbvNumeric)
		return false;
	number = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric)));
	if (!(number >= 0 && number < 9e15))
		return false;
	*count = (int64) number;
	return true;
}

static void
check_string(MvApiCall *call, const JsonbValue *value, JsonbContainer *schema, const char *pointer)
{
	int64		least;
	int64		most;
	int64		len;
	bool		has_least = count_of(schema, "minLength", &least);
	bool		has_most = count_of(schema, "maxLength", &most);

	if (!has_least && !has_most)
		return;
	len = pg_mbstrlen_with_len(value->val.string.val, value->val.string.len);
	if (has_least && len < least)
		fault(call, pointer, least == 1 ? pstrdup("must not be empty") : psprintf("must have at least %lld characters", (long long) least));
	if (has_most && len > most)
		fault(call, pointer, psprintf("must have at most %lld characters, has %lld", (long long) most, (long long) len));
}

static void
check_bound(MvApiCall *call, const JsonbValue *value, JsonbContainer *schema, const char *name, PGFunction holds, const char *words,
			const char *pointer)
{
	JsonbValue	buffer;
	JsonbValue *bound = mv_json_member(schema, name, &buffer);

	if (bound != NULL && bound->type == jbvNumeric &&
		!DatumGetBool(DirectFunctionCall2(holds, NumericGetDatum(value->val.numeric), NumericGetDatum(bound->val.numeric))))
		fault(call, pointer, psprintf("must be %s %s", words, shown(bound)));
}

static void
check_array(MvApiCall *call, const JsonbValue *value, JsonbContainer *schema, const char *pointer)
{
	JsonbContainer *array = value->val.binary.data;
	int64		n = JsonContainerSize(array);
	int64		bound;
	JsonbValue	buffer;
	JsonbValue *items;
	JsonbIterator *it;
	JsonbValue	element;
	int			i = 0;

	if (count_of(schema, "minItems", &bound) && n < bound)
		fault(call, pointer, bound == 1 ? pstrdup("must not be empty") : psprintf("must have at least %lld elements", (long long) bound));
	if (count_of(schema, "maxItems", &bound) && n > bound)
	{
		fault(call, pointer, psprintf("must have at most %lld elements, has %lld", (long long) bound, (long long) n));
		return;
	}
	items = mv_json_member(schema, "items", &buffer);
	if (items == NULL || !is_object(items))
		return;
	it = JsonbIteratorInit(array);
	JsonbIteratorNext(&it, &element, true);
	while (JsonbIteratorNext(&it, &element, true) == WJB_ELEM && list_length(call->errors) < MV_MAX_ERRORS)
		check_member(call, &element, items->val.binary.data, psprintf("%s/%d", pointer, i++));
}

static void
check_required(MvApiCall *call, JsonbContainer *object, JsonbContainer *schema, const char *pointer)
{
	JsonbValue	buffer;
	JsonbValue *required = mv_json_member(schema, "required", &buffer);
	JsonbIterator *it;
	JsonbValue	name;

	if (required == NULL || !is_array(required))
		return;
	it = JsonbIteratorInit(required->val.binary.data);
	JsonbIteratorNext(&it, &name, true);
	while (JsonbIteratorNext(&it, &name, true) == WJB_ELEM)
	{
		JsonbValue	found;

		if (name.type == jbvString &&
			getKeyJsonValueFromContainer(object, name.val.string.val, name.val.string.len, &found) == NULL)
			fault(call, mv_json_pointer(pointer, name.val.string.val, name.val.string.len), "is required");
	}
}

/* "known are a, b" */
static char *
known_names(JsonbContainer *properties)
{
	StringInfoData list;
	JsonbIterator *it = JsonbIteratorInit(properties);
	JsonbValue	name;
	JsonbIteratorToken token;

	initStringInfo(&list);
	JsonbIteratorNext(&it, &name, true);
	while ((token = JsonbIteratorNext(&it, &name, true)) != WJB_END_OBJECT && token != WJB_DONE)
		if (token == WJB_KEY && list.len < 4 * MAX_SHOWN)
			appendStringInfo(&list, "%s%.*s", list.len > 0 ? ", " : "", name.val.string.len, name.val.string.val);
	return list.data;
}

static void
check_object(MvApiCall *call, const JsonbValue *value, JsonbContainer *schema, const char *pointer)
{
	JsonbContainer *object = value->val.binary.data;
	JsonbValue	buffer;
	JsonbValue	other;
	JsonbValue *properties = mv_json_member(schema, "properties", &buffer);
	JsonbValue *additional = mv_json_member(schema, "additionalProperties", &other);
	bool		is_closed = additional != NULL && additional->type == jbvBool && !additional->val.boolean;
	JsonbIterator *it;
	JsonbValue	key;
	JsonbValue	member;

	check_required(call, object, schema, pointer);
	if (properties != NULL && !is_object(properties))
		properties = NULL;
	if (properties == NULL && !is_closed)
		return;
	it = JsonbIteratorInit(object);
	JsonbIteratorNext(&it, &key, true);
	while (JsonbIteratorNext(&it, &key, true) == WJB_KEY && list_length(call->errors) < MV_MAX_ERRORS)
	{
		JsonbValue	found;
		JsonbValue *of = properties == NULL ? NULL :
			getKeyJsonValueFromContainer(properties->val.binary.data, key.val.string.val, key.val.string.len, &found);

		JsonbIteratorNext(&it, &member, true);
		if (of == NULL && is_closed)
			fault(call, mv_json_pointer(pointer, key.val.string.val, key.val.string.len),
				  properties == NULL ? pstrdup("is unknown") :
				  psprintf("is unknown; known are %s", known_names(properties->val.binary.data)));
		else if (of != NULL && is_object(of))
			check_member(call, &member, of->val.binary.data, mv_json_pointer(pointer, key.val.string.val, key.val.string.len));
	}
}

static void
check(MvApiCall *call, const JsonbValue *value, JsonbContainer *schema, const char *pointer)
{
	JsonbValue	buffer;
	JsonbValue *rule;

	if ((rule = mv_json_member(schema, "type", &buffer)) != NULL && !check_type(call, value, rule, pointer))
		return;
	if ((rule = mv_json_member(schema, "enum", &buffer)) != NULL)
		check_enum(call, value, rule, pointer);
	if ((rule = mv_json_member(schema, "const", &buffer)) != NULL && !are_equal(value, rule))
		fault(call, pointer, psprintf("must be %s", shown(rule)));
	if (value->type == jbvString)
		check_string(call, value, schema, pointer);
	else if (value->type == jbvNumeric)
	{
		check_bound(call, value, schema, "minimum", numeric_ge, "at least", pointer);
		check_bound(call, value, schema, "maximum", numeric_le, "at most", pointer);
		check_bound(call, value, schema, "exclusiveMinimum", numeric_gt, "above", pointer);
		check_bound(call, value, schema, "exclusiveMaximum", numeric_lt, "below", pointer);
	}
	else if (is_array(value))
		check_array(call, value, schema, pointer);
	else if (is_object(value))
		check_object(call, value, schema, pointer);
}

void
mv_schema_check(MvApiCall *call, Jsonb *body, Jsonb *schema)
{
	JsonbValue	root;

	root.type = jbvBinary;
	root.val.binary.data = &body->root;
	root.val.binary.len = VARSIZE(body) - VARHDRSZ;
	check(call, &root, &schema->root, "");
}

/* --- what an operation tells of fields ------------------------------------- */

/* An operation speaks of its arguments; where they come from is the route's affair. */
static bool
is_parameter(MvApiCall *call, const char *pointer)
{
	for (int i = 0; i < call->route->nargs && pointer[0] == '/'; i++)
		if (call->route->args[i].source == MV_FROM_QUERY && strcmp(call->route->args[i].name, pointer + 1) == 0)
			return true;
	return false;
}

static void
take_fault(MvApiCall *call, JsonbContainer *object, const char *message)
{
	JsonbValue	buffer;
	JsonbValue	other;
	JsonbValue *field = mv_json_member(object, "field", &buffer);
	JsonbValue *text = mv_json_member(object, "message", &other);

	char	   *name;

	if (field == NULL || field->type != jbvString)
		return;
	name = pnstrdup(field->val.string.val, field->val.string.len);
	mv_field_error(call, is_parameter(call, name) ? "parameter" : "field", is_parameter(call, name) ? name + 1 : name,
				   text != NULL && text->type == jbvString ? pnstrdup(text->val.string.val, text->val.string.len) : pstrdup(message));
}

void
mv_errors_of_detail(MvApiCall *call, const char *detail, const char *message)
{
	MvJsonError error;
	Jsonb	   *jb = mv_json_parse(detail, strlen(detail), &error);
	JsonbIterator *it;
	JsonbValue	element;

	if (jb == NULL)
		return;
	if (JB_ROOT_IS_OBJECT(jb))
	{
		take_fault(call, &jb->root, message);
		return;
	}
	if (!JB_ROOT_IS_ARRAY(jb) || JB_ROOT_IS_SCALAR(jb))
		return;
	it = JsonbIteratorInit(&jb->root);
	JsonbIteratorNext(&it, &element, true);
	while (JsonbIteratorNext(&it, &element, true) == WJB_ELEM)
		if (is_object(&element))
			take_fault(call, element.val.binary.data, message);
}
