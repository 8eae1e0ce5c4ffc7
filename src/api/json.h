/*
 * JSON of others: parsed by the server's own parser, without raising.
 */
#ifndef MV_API_JSON_H
#define MV_API_JSON_H

#include "postgres.h"

#include "utils/jsonb.h"

#define MV_MAX_JSON_DEPTH	32

typedef struct MvJsonError
{
	const char *message;		/* a sentence */
	int			line;			/* from 1 */
	int			column;			/* in characters, from 1 */
	const char *duplicate;		/* the key that occurs twice, or NULL */
} MvJsonError;

/*
 * Parses len bytes, which a NUL must follow. NULL when they aren't valid in
 * the database's encoding, aren't JSON, are nested deeper than
 * MV_MAX_JSON_DEPTH, have a key twice in one object, hold \u0000 or a number
 * beyond reason. Raises only without memory.
 */
extern Jsonb *mv_json_parse(const char *text, Size len, MvJsonError *error);

/*
 * How many of len bytes are valid text that came from outside, which is UTF-8.
 * In a database of another encoding only ASCII is taken, as a conversion may
 * fail. Stops at a NUL.
 */
extern Size mv_valid_text(const char *text, Size len);

/*
 * The string that an object has at its top under a name: NULL when there is
 * none or it isn't a string. Of JSON that is valid.
 */
extern char *mv_json_top_string(const char *text, Size len, const char *name);

/* A value of an object by its name; NULL when there is none. */
extern JsonbValue *mv_json_member(JsonbContainer *object, const char *name, JsonbValue *buffer);

extern bool mv_json_is(const JsonbValue *value, const char *text);

#endif							/* MV_API_JSON_H */
