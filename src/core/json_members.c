/*
 * Members of a JSON object, by the server's own parser. See json_members.h.
 */
#include "postgres.h"

#include "common/jsonapi.h"
#include "core/json_members.h"
#include "mb/pg_wchar.h"

/* 16 lets actions return an error; 17 takes the lexer's place from the caller */
#if PG_VERSION_NUM < 160000
typedef void ActionResult;
#define DONE
#define FAIL(reader) do { (reader)->failed = true; return; } while (0)
#else
typedef JsonParseErrorType ActionResult;
#define DONE JSON_SUCCESS
#define FAIL(reader) do { (reader)->failed = true; return JSON_SEM_ACTION_FAILED; } while (0)
#endif

typedef struct Reader
{
	JsonLexContext *lex;
	const char *const *names;
	int			n;
	char	  **values;
	int			wanted;			/* whose value comes next, or -1 */
	bool		failed;
} Reader;

static ActionResult
field_start(void *state, char *name, bool isnull)
{
	Reader	   *reader = state;

	if (reader->lex->lex_level == 1)
	{
		reader->wanted = -1;
		for (int i = 0; i < reader->n; i++)
			if (name[0] == reader->names[i][0] && strcmp(name, reader->names[i]) == 0)
				reader->wanted = i;
	}
	return DONE;
}

static ActionResult
scalar(void *state, char *token, JsonTokenType type)
{
	Reader	   *reader = state;

	if (reader->lex->lex_level == 0)
		FAIL(reader);
	if (reader->wanted >= 0)
	{
		if (type != JSON_TOKEN_STRING && type != JSON_TOKEN_NULL)
			FAIL(reader);
		reader->values[reader->wanted] = type == JSON_TOKEN_STRING ? token : NULL;
		reader->wanted = -1;
	}
	return DONE;
}

/* An array, or an object as a wanted value */
static ActionResult
nested(void *state)
{
	Reader	   *reader = state;

	if (reader->wanted >= 0)
		FAIL(reader);
	return DONE;
}

static ActionResult
array_start(void *state)
{
	Reader	   *reader = state;

	if (reader->lex->lex_level == 0)
		FAIL(reader);
	return nested(state);
}

bool
mv_json_members(const char *json, const char *const names[], int n, char *values[])
{
	Reader		reader = {.names = names, .n = n, .values = values, .wanted = -1};
	JsonSemAction actions = {
		.semstate = &reader,
		.object_start = nested,
		.array_start = array_start,
		.object_field_start = field_start,
		.scalar = scalar,
	};

	for (int i = 0; i < n; i++)
		values[i] = NULL;
#if PG_VERSION_NUM >= 170000
	reader.lex = makeJsonLexContextCstringLen(NULL, json, strlen(json), GetDatabaseEncoding(), true);
#else
	reader.lex = makeJsonLexContextCstringLen(unconstify(char *, json), strlen(json), GetDatabaseEncoding(), true);
#endif
	return pg_parse_json(reader.lex, &actions) == JSON_SUCCESS && !reader.failed;
}
