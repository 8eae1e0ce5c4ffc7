/*
 * Values of a jsonb at a path of members, such as "tracks.0.title". Nothing
 * here needs a transaction.
 */
#ifndef MV_JSON_PATH_H
#define MV_JSON_PATH_H

#include "postgres.h"

#include "utils/jsonb.h"

/*
 * As text: NULL when there is none, or null. Objects and arrays come as their
 * JSON.
 */
extern char *mv_json_text(Jsonb *json, const char *path);
extern Jsonb *mv_json_at(Jsonb *json, const char *path);
extern int	mv_json_int(Jsonb *json, const char *path, int otherwise);
extern int	mv_json_length(Jsonb *json, const char *path);	/* of an array, 0 when it is none */
extern char *mv_json_print(Jsonb *json);

#endif							/* MV_JSON_PATH_H */
