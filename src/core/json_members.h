/*
 * Members of a JSON object whose values are strings, such as headers, without
 * making a jsonb of it.
 */
#ifndef MV_JSON_MEMBERS_H
#define MV_JSON_MEMBERS_H

#include "postgres.h"

/*
 * Looks for the names among the members of the object. values[i] becomes the
 * unescaped text of names[i], palloc'd, the last one should there be several;
 * NULL when it isn't there or is null. False when the text is no JSON object,
 * or the value of one of the names is neither a string nor null. Raises only
 * for nesting that is too deep for the stack.
 */
extern bool mv_json_members(const char *json, const char *const names[], int n, char *values[]);

#endif							/* MV_JSON_MEMBERS_H */
