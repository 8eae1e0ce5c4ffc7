/*
 * A body against the JSON Schema of its route.
 */
#ifndef MV_SCHEMA_H
#define MV_SCHEMA_H

#include "postgres.h"

#include "api/call.h"

/*
 * Adds each fault of the body to the errors of the call, with its JSON
 * pointer. Heeds type, enum, const, minLength, maxLength, minimum, maximum,
 * exclusiveMinimum, exclusiveMaximum, items, minItems, maxItems, properties,
 * required and additionalProperties: false; anything else is the operation's
 * affair. Never raises for what a schema looks like.
 */
extern void mv_schema_check(MvApiCall *call, Jsonb *body, Jsonb *schema);

/* The faults that an operation's DETAIL tells: {"field": …} or an array of them. */
extern void mv_errors_of_detail(MvApiCall *call, const char *detail, const char *message);

/* Appends a key to a JSON pointer (RFC 6901). palloc'd. */
extern char *mv_json_pointer(const char *parent, const char *key, int len);

#endif							/* MV_SCHEMA_H */
