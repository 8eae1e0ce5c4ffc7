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

static JsonLexContext *
make_lexer(const char *json, bool unescape)
{
#if PG_VERSION_NUM >= 170000
	return makeJsonLexContextCstringLen(NULL, json, strlen(json), GetDatabaseEncoding(), unescape);
#else
	return makeJsonLexContextCstringLen(unconstify(char *, json), strlen(json), GetDatabaseEncoding(), unescape);
#endif
}

static inline bool
lex(JsonLexContext *lexer, JsonTokenType type)
{
	return json_lex(lexer) == JSON_SUCCESS && lexer->token_type == type;
}

/* Which of the names the string is that was just read; -1 for none */
static inline int
find_name(const JsonLexContext *lexer, const char *const names[], int n)
{
	const char *name = lexer->token_start + 1;
	int			len = lexer->token_terminator - lexer->token_start - 2;

	for (int i = 0; i < n; i++)
		if (name[0] == names[i][0] && strncmp(name, names[i], len) == 0 && names[i][len] == '\0')
			return i;
	return -1;
}

/*
 * Most objects are flat, of strings without a backslash: reads such a one
 * without unescaping everything. False when it is another one, which may be
 * good or bad.
 */
static bool
read_flat(const char *json, const char *const names[], int n, char *values[])
{
	JsonLexContext *lexer;

	if (strchr(json, '\\') != NULL)
		return false;
	lexer = make_lexer(json, false);
	if (!lex(lexer, JSON_TOKEN_OBJECT_START))
		return false;
	do
	{
		int			i;

		if (!lex(lexer, JSON_TOKEN_STRING))
			return false;
		i = find_name(lexer, names, n);
		if (!lex(lexer, JSON_TOKEN_COLON) || !lex(lexer, JSON_TOKEN_STRING))
			return false;
		if (i >= 0)
			values[i] = pnstrdup(lexer->token_start + 1, lexer->token_terminator - lexer->token_start - 2);
		if (json_lex(lexer) != JSON_SUCCESS)
			return false;
	} while (lexer->token_type == JSON_TOKEN_COMMA);
	return lexer->token_type == JSON_TOKEN_OBJECT_END && lex(lexer, JSON_TOKEN_END);
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

	memset(values, 0, n * sizeof(char *));
	if (read_flat(json, names, n, values))
		return true;
	memset(values, 0, n * sizeof(char *));
	reader.lex = make_lexer(json, true);
	return pg_parse_json(reader.lex, &actions) == JSON_SUCCESS && !reader.failed;
}
