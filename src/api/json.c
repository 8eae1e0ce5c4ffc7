/*
 * JSON of others. See json.h.
 *
 * The parser raises when the stack runs out, and jsonb's input function when a
 * number has too many digits: both are looked for before.
 */
#include "postgres.h"

#include "api/json.h"
#include "common/jsonapi.h"
#include "core/compat.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/fmgrprotos.h"
#include "utils/builtins.h"

#define MAX_NUMBER_LEN	400
#define MAX_EXPONENT	400
#define MAX_TOKEN_SHOWN	40

/* The keys of an object that isn't closed yet */
typedef struct Keys
{
	int			n;
	int			room;
	char	  **names;
} Keys;

typedef struct State
{
	JsonLexContext *lex;
	int			depth;			/* of objects */
	Keys		keys[MV_MAX_JSON_DEPTH];
	const char *duplicate;
	const char *bad_number;		/* where it is */
} State;

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

#if PG_VERSION_NUM >= 160000
#define ACTION static JsonParseErrorType
#define DONE return JSON_SUCCESS
#else
#define ACTION static void
#define DONE return
#endif

ACTION
object_start(void *arg)
{
	State	   *state = arg;

	state->keys[state->depth++].n = 0;
	DONE;
}

ACTION
object_end(void *arg)
{
	State	   *state = arg;
	Keys	   *keys = &state->keys[--state->depth];

	if (keys->n > 1 && state->duplicate == NULL)
	{
		qsort(keys->names, keys->n, sizeof(char *), by_name);
		for (int i = 1; i < keys->n && state->duplicate == NULL; i++)
			if (strcmp(keys->names[i - 1], keys->names[i]) == 0)
				state->duplicate = keys->names[i];
	}
	DONE;
}

ACTION
field_start(void *arg, char *name, bool isnull)
{
	State	   *state = arg;
	Keys	   *keys = &state->keys[state->depth - 1];

	if (keys->n == keys->room)
	{
		keys->room = Max(16, keys->room * 2);
		keys->names = keys->names == NULL ? palloc(keys->room * sizeof(char *)) :
			repalloc_huge(keys->names, keys->room * sizeof(char *));
	}
	keys->names[keys->n++] = name;
	DONE;
}

ACTION
scalar(void *arg, char *token, JsonTokenType type)
{
	State	   *state = arg;
	const char *exponent;
	long		power;

	if (type != JSON_TOKEN_NUMBER || state->bad_number != NULL)
		DONE;
	exponent = strpbrk(token, "eE");
	power = exponent == NULL ? 0 : strtol(exponent + 1, NULL, 10);
	if (strlen(token) > MAX_NUMBER_LEN || power > MAX_EXPONENT || power < -MAX_EXPONENT)
		state->bad_number = state->lex->prev_token_terminator == NULL ? state->lex->token_start :
			state->lex->prev_token_terminator - strlen(token);
	DONE;
}

/* Line and column of a place */
static void
locate(const char *text, const char *place, MvJsonError *error)
{
	const char *line = text;

	error->line = 1;
	for (const char *at = text; at < place; at++)
		if (*at == '\n')
		{
			error->line++;
			line = at + 1;
		}
	error->column = pg_mbstrlen_with_len(line, place - line) + 1;
}

static Jsonb *
refuse(const char *text, const char *place, MvJsonError *error, const char *message)
{
	locate(text, place, error);
	error->message = message;
	return NULL;
}

/* The first place that is nested too deeply; NULL when there is none. */
static const char *
too_deep(const char *text, Size len)
{
	int			depth = 0;
	bool		in_string = false;

	for (const char *at = text; at < text + len; at++)
	{
		if (in_string)
		{
			if (*at == '\\')
				at++;
			else if (*at == '"')
				in_string = false;
		}
		else if (*at == '"')
			in_string = true;
		else if (*at == '{' || *at == '[')
		{
			if (++depth > MV_MAX_JSON_DEPTH)
				return at;
		}
		else if (*at == '}' || *at == ']')
			depth--;
	}
	return NULL;
}

static JsonLexContext *
lexer(const char *text, Size len)
{
#if PG_VERSION_NUM >= 170000
	return makeJsonLexContextCstringLen(NULL, text, len, GetDatabaseEncoding(), true);
#else
	return makeJsonLexContextCstringLen(unconstify(char *, text), len, GetDatabaseEncoding(), true);
#endif
}

Size
mv_valid_text(const char *text, Size len)
{
	Size		n = 0;

	if (GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII)
		return pg_encoding_verifymbstr(PG_UTF8, text, len);
	while (n < len && text[n] != '\0' && !IS_HIGHBIT_SET(text[n]))
		n++;
	return n;
}

Jsonb *
mv_json_parse(const char *text, Size len, MvJsonError *error)
{
	State		state = {0};
	JsonSemAction actions = {&state, object_start, object_end, NULL, NULL, field_start, NULL, NULL, NULL, scalar};
	JsonParseErrorType result;
	const char *place;
	Size		valid = mv_valid_text(text, len);

	error->duplicate = NULL;
	if (valid != len)
		return refuse(text, text + valid, error, text[valid] == '\0' ? "There is a NUL." : "It is not valid UTF-8.");
	place = too_deep(text, len);
	if (place != NULL)
		return refuse(text, place, error, psprintf("It is nested deeper than %d levels.", MV_MAX_JSON_DEPTH));

	state.lex = lexer(text, len);
	result = pg_parse_json(state.lex, &actions);
	if (result != JSON_SUCCESS)
	{
		const char *message;

		if (state.lex->token_start == NULL)
			return refuse(text, text + len, error, "It ends too early.");
		/* what is shown of a token is all of it */
		if (state.lex->token_terminator != NULL && state.lex->token_terminator - state.lex->token_start > MAX_TOKEN_SHOWN)
			state.lex->token_terminator = state.lex->token_start +
				pg_mbcliplen(state.lex->token_start, state.lex->token_terminator - state.lex->token_start, MAX_TOKEN_SHOWN);
		message = json_errdetail(result, state.lex);
		return refuse(text, Min(state.lex->token_start, text + len), error, message);
	}
	if (state.duplicate != NULL)
	{
		error->duplicate = state.duplicate;
		return refuse(text, text, error, "A key occurs twice in one object.");
	}
	if (state.bad_number != NULL)
		return refuse(text, state.bad_number, error, "The number has too many digits or too large an exponent.");
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
}

/* --- one string of the top ------------------------------------------------- */

typedef struct Sought
{
	JsonLexContext *lex;
	const char *name;
	bool		is_next;
	char	   *found;
} Sought;

ACTION
sought_field(void *arg, char *name, bool isnull)
{
	Sought	   *sought = arg;

	sought->is_next = sought->lex->lex_level == 1 && !isnull && strcmp(name, sought->name) == 0;
	DONE;
}

ACTION
sought_scalar(void *arg, char *token, JsonTokenType type)
{
	Sought	   *sought = arg;

	if (sought->is_next && sought->lex->lex_level == 1 && type == JSON_TOKEN_STRING)
		sought->found = token;
	sought->is_next = false;
	DONE;
}

static const char *
skip_back(const char *text, const char *end)
{
	while (end > text && (end[-1] == ' ' || end[-1] == '\n'))
		end--;
	return end;
}

/*
 * Looks at the last member only, which is where a list has its cursor: from
 * the end on, without reading what is before. True when the member has the
 * name and a value that is null or a string without escapes.
 */
static bool
last_member(const char *text, Size len, const char *name, char **found)
{
	const char *end = skip_back(text, text + len);
	Size		name_len = strlen(name);
	const char *value;

	if (end == text || end[-1] != '}')
		return false;
	end = skip_back(text, end - 1);
	if (end - text > 4 && memcmp(end - 4, "null", 4) == 0)
	{
		*found = NULL;
		value = end - 4;
	}
	else if (end - text > 2 && end[-1] == '"')
	{
		const char *close = --end;

		while (end > text && (isalnum((unsigned char) end[-1]) || end[-1] == '-' || end[-1] == '_'))
			end--;
		if (end == text || end[-1] != '"')
			return false;
		*found = pnstrdup(end, close - end);
		value = end - 1;
	}
	else
		return false;

	end = skip_back(text, value);
	if (end == text || end[-1] != ':')
		return false;
	end = skip_back(text, end - 1);
	if (end - text < name_len + 3 || end[-1] != '"' || memcmp(end - 1 - name_len, name, name_len) != 0)
		return false;
	end -= name_len + 2;
	/* not the end of a longer name, which would have its quote escaped */
	return end[0] == '"' && (end[-1] == ' ' || end[-1] == ',' || end[-1] == '{');
}

char *
mv_json_top_string(const char *text, Size len, const char *name)
{
	Sought		sought = {.name = name};
	JsonSemAction actions = {.semstate = &sought, .object_field_start = sought_field, .scalar = sought_scalar};
	char	   *found;

	if (last_member(text, len, name, &found))
		return found;
	sought.lex = lexer(text, len);
	if (pg_parse_json(sought.lex, &actions) != JSON_SUCCESS)
		return NULL;
	return sought.found;
}

JsonbValue *
mv_json_member(JsonbContainer *object, const char *name, JsonbValue *buffer)
{
	return getKeyJsonValueFromContainer(object, name, strlen(name), buffer);
}

bool
mv_json_is(const JsonbValue *value, const char *text)
{
	return value->type == jbvString && value->val.string.len == strlen(text) &&
		memcmp(value->val.string.val, text, value->val.string.len) == 0;
}
