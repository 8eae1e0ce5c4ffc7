/*
 * Members of the JSON that a message is made of, and what is wrong with them.
 *
 * Nothing is refused at once: what is wrong is noted under its name, such as
 * tracks[2].isrc, and told together. Text is cleaned of what XML 1.0 cannot
 * hold or a title should not: control characters and noncharacters go, runs of
 * white space become one space. Everything else, of any script, stays.
 */
#include "postgres.h"

#include <math.h>

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "distribution/ern_int.h"

#define MAX_PROBLEMS	50

void
ern_problem(ErnObject *object, const char *member, const char *format,...)
{
	StringInfo	problems = &object->reader->problems;

	if (++object->reader->nproblems > MAX_PROBLEMS)
		return;
	if (problems->len > 0)
		appendStringInfoChar(problems, '\n');
	appendStringInfo(problems, "%s%s%s ", object->name, *object->name && *member ? "." : "", member);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(problems, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(problems, needed);
	}
}

/* NULL when it isn't there, or is null */
static JsonbValue *
member_of(ErnObject *object, const char *member, JsonbValue *buffer)
{
	JsonbValue *value;

	if (object->json == NULL)
		return NULL;
	value = getKeyJsonValueFromContainer(object->json, member, strlen(member), buffer);
	return value == NULL || value->type == jbvNull ? NULL : value;
}

bool
ern_has(ErnObject *object, const char *member)
{
	JsonbValue	buffer;

	return member_of(object, member, &buffer) != NULL;
}

/* How many bytes at p are to go; 0 for none. Space of any kind is left. */
static inline int
unwanted(const unsigned char *p, size_t left)
{
	if (*p < 0x20)
		return *p == '\t' || *p == '\n' || *p == '\r' ? 0 : 1;
	if (*p == 0x7f)
		return 1;
	if (*p == 0xc2 && left > 1 && p[1] < 0xa0)
		return 2;
	if (*p == 0xef && left > 2 && p[1] == 0xbf && p[2] >= 0xbe)
		return 3;
	return 0;
}

/* Text of the database as XML may hold it; NULL when it isn't valid UTF-8 then. */
static const char *
clean(const char *given, int len)
{
	char	   *text = pnstrdup(given, len);
	char	   *utf8 = pg_server_to_any(text, len, PG_UTF8);
	size_t		size = utf8 == text ? len : strlen(utf8);
	char	   *to = utf8;
	bool		space = true;

	/* a database of SQL_ASCII holds anything */
	if (GetDatabaseEncoding() != PG_UTF8 && pg_encoding_verifymbstr(PG_UTF8, utf8, size) != size)
		return NULL;
	for (size_t i = 0; i < size;)
	{
		int			skip = unwanted((unsigned char *) utf8 + i, size - i);

		if (skip > 0)
		{
			i += skip;
			continue;
		}
		if (utf8[i] == ' ' || (utf8[i] >= '\t' && utf8[i] <= '\r'))
		{
			if (!space)
				*to++ = ' ';
			space = true;
		}
		else
		{
			*to++ = utf8[i];
			space = false;
		}
		i++;
	}
	if (to > utf8 && space)
		to--;
	*to = '\0';
	return utf8;
}

static const char *
text_of(ErnObject *object, const char *member, JsonbValue *value)
{
	const char *text;

	if (value->type != jbvString)
	{
		ern_problem(object, member, "must be a string");
		return NULL;
	}
	text = clean(value->val.string.val, value->val.string.len);
	if (text == NULL)
		ern_problem(object, member, "is no valid UTF-8");
	return text != NULL && *text == '\0' ? NULL : text;
}

/* An empty one is as good as none */
const char *
ern_text(ErnObject *object, const char *member, const char *otherwise)
{
	JsonbValue	buffer;
	JsonbValue *value = member_of(object, member, &buffer);
	const char *text = value == NULL ? NULL : text_of(object, member, value);

	return text == NULL ? otherwise : text;
}

const char *
ern_need_text(ErnObject *object, const char *member)
{
	int			before = object->reader->nproblems;
	const char *text = ern_text(object, member, NULL);

	if (text == NULL && object->reader->nproblems == before)
		ern_problem(object, member, "is missing");
	return text;
}

const char *
ern_choice(ErnObject *object, const char *member, const char *const choices[], const char *otherwise)
{
	const char *text = ern_text(object, member, otherwise);
	StringInfoData all;

	if (text == NULL)
		return NULL;
	for (int i = 0; choices[i] != NULL; i++)
		if (strcmp(text, choices[i]) == 0)
			return choices[i];
	initStringInfo(&all);
	for (int i = 0; choices[i] != NULL; i++)
		appendStringInfo(&all, "%s%s", i == 0 ? "" : choices[i + 1] == NULL ? " or " : ", ", choices[i]);
	ern_problem(object, member, "\"%s\" is not one of %s", text, all.data);
	return choices[0];
}

int64
ern_number(ErnObject *object, const char *member, int64 lowest, int64 highest, int64 otherwise)
{
	JsonbValue	buffer;
	JsonbValue *value = member_of(object, member, &buffer);
	double		number;

	if (value == NULL)
		return otherwise;
	if (value->type != jbvNumeric)
	{
		ern_problem(object, member, "must be a number");
		return lowest;
	}
	number = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric)));
	if (!(rint(number) >= lowest && rint(number) <= highest))
	{
		ern_problem(object, member, "%g is not one of " INT64_FORMAT " to " INT64_FORMAT, number, lowest, highest);
		return lowest;
	}
	return (int64) rint(number);
}

bool
ern_bool(ErnObject *object, const char *member, bool otherwise)
{
	JsonbValue	buffer;
	JsonbValue *value = member_of(object, member, &buffer);

	if (value == NULL)
		return otherwise;
	if (value->type != jbvBool)
	{
		ern_problem(object, member, "must be true or false");
		return otherwise;
	}
	return value->val.boolean;
}

/* The array of that name; NULL when there is none. */
static JsonbContainer *
array_of(ErnObject *object, const char *member, int max, int *n)
{
	JsonbValue	buffer;
	JsonbValue *value = member_of(object, member, &buffer);

	*n = 0;
	if (value == NULL)
		return NULL;
	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
	{
		ern_problem(object, member, "must be an array");
		return NULL;
	}
	*n = JsonContainerSize(value->val.binary.data);
	if (*n > max)
	{
		ern_problem(object, member, "has %d elements, more than %d", *n, max);
		*n = 0;
		return NULL;
	}
	return value->val.binary.data;
}

ErnStrings
ern_strings(ErnObject *object, const char *member)
{
	ErnStrings	all = {0};
	int			n;
	JsonbContainer *array = array_of(object, member, ERN_MAX_LIST, &n);

	if (array == NULL)
		return all;
	all.item = ern_array(const char *, n + 1);
	for (int i = 0; i < n; i++)
	{
		const char *text = text_of(object, member, getIthJsonbValueFromContainer(array, i));

		if (text != NULL)
			all.item[all.n++] = text;
	}
	return all;
}

ErnObject
ern_object(ErnObject *object, const char *member)
{
	ErnObject	inner = {object->reader, NULL, psprintf("%s%s%s", object->name, *object->name ? "." : "", member)};
	JsonbValue	buffer;
	JsonbValue *value = member_of(object, member, &buffer);

	if (value != NULL && value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data))
		inner.json = value->val.binary.data;
	else if (value != NULL)
		ern_problem(object, member, "must be an object");
	return inner;
}

ErnObject *
ern_objects(ErnObject *object, const char *member, int max, int *n)
{
	JsonbContainer *array = array_of(object, member, max, n);
	ErnObject  *all = ern_array(ErnObject, *n + 1);

	for (int i = 0; i < *n; i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(array, i);

		all[i].reader = object->reader;
		all[i].json = NULL;
		all[i].name = psprintf("%s%s%s[%d]", object->name, *object->name ? "." : "", member, i);
		if (value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data))
			all[i].json = value->val.binary.data;
		else
			ern_problem(&all[i], "", "must be an object");
	}
	return all;
}

/* ---- dates and times of XML Schema, in the part of it that DDEX uses ---- */

static bool
digits(const char **p, int n, int *number)
{
	*number = 0;
	for (; n > 0; n--, (*p)++)
	{
		if (**p < '0' || **p > '9')
			return false;
		*number = *number * 10 + (**p - '0');
	}
	return true;
}

static bool
literal(const char **p, char c)
{
	return **p == c ? ((*p)++, true) : false;
}

static bool
read_date(const char **p)
{
	int			year,
				month,
				day;

	return digits(p, 4, &year) && literal(p, '-') && digits(p, 2, &month) && literal(p, '-') && digits(p, 2, &day) &&
		year >= 1 && month >= 1 && month <= 12 && day >= 1 && day <= day_tab[isleap(year)][month - 1];
}

static bool
read_time(const char **p)
{
	int			hour,
				minute,
				second;

	if (!digits(p, 2, &hour) || !literal(p, ':') || !digits(p, 2, &minute) || !literal(p, ':') || !digits(p, 2, &second) ||
		hour > 23 || minute > 59 || second > 59)
		return false;
	if (literal(p, '.'))
	{
		if (**p < '0' || **p > '9')
			return false;
		*p += strspn(*p, "0123456789");
	}
	if (literal(p, 'Z') || **p == '\0')
		return true;
	return (literal(p, '+') || literal(p, '-')) && digits(p, 2, &hour) && literal(p, ':') && digits(p, 2, &minute) &&
		hour <= 14 && minute <= (hour == 14 ? 0 : 59);
}

void
ern_check_date(ErnObject *object, const char *member, const char *value)
{
	const char *p = value;

	if (value != NULL && !(read_date(&p) && *p == '\0'))
		ern_problem(object, member, "\"%s\" is no date such as 2026-03-06", value);
}

/* A date becomes its midnight, where the listener is */
const char *
ern_check_time(ErnObject *object, const char *member, const char *value)
{
	const char *p = value;

	if (value == NULL)
		return NULL;
	if (read_date(&p))
	{
		if (*p == '\0')
			return psprintf("%sT00:00:00", value);
		if (literal(&p, 'T') && read_time(&p) && *p == '\0')
			return value;
	}
	ern_problem(object, member, "\"%s\" is no date or time such as 2026-03-06 or 2026-03-06T00:00:00+01:00", value);
	return value;
}
