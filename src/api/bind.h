/*
 * What a request says, as the arguments of the route's function.
 */
#ifndef MV_BIND_H
#define MV_BIND_H

#include "postgres.h"

#include "api/call.h"

/*
 * Fills in given, values and nulls. Refuses what is unknown, given twice,
 * missing or of the wrong type: all faults at once. Raises only without
 * memory and on cancel.
 */
extern bool mv_bind(MvApiCall *call);

/*
 * One value for an argument, or for an element of an array. False with a
 * phrase such as "must be a UUID" when it isn't one.
 */
extern bool mv_convert_text(const MvArgument *arg, const char *text, Datum *value, const char **message);
extern bool mv_convert_json(const MvArgument *arg, const JsonbValue *json, Datum *value, const char **message);

/* The same for all that a query has under the argument's name: an array takes values with commas, or several. */
extern bool mv_convert_list(const MvArgument *arg, List *texts, Datum *value, const char **message);

/* All headers as an object; those that came several times are joined by commas. */
extern Jsonb *mv_headers_json(const MvApiRequest *request);

#endif							/* MV_BIND_H */
