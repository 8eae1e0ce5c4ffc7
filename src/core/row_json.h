/*
 * Rows as JSON objects, as row_to_json() makes them but for two things: the
 * look-ups of types and output functions are done once a statement, and times
 * with a zone are written in UTC, whatever the session's zone is.
 */
#ifndef MV_ROW_JSON_H
#define MV_ROW_JSON_H

#include "postgres.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"

typedef struct MvRowFormat MvRowFormat;

/* Prepares for rows of the descriptor. Allocated in the context given. */
extern MvRowFormat *mv_row_format(TupleDesc desc, MemoryContext context);

/* Appends the object to out. Allocates in the current context. */
extern void mv_row_json(MvRowFormat *format, HeapTuple tuple, TupleDesc desc, StringInfo out);

/*
 * Appends a string of the database's encoding, quoted and escaped. What needs
 * no escape, nearly all there is, is copied in one piece.
 */
extern void mv_append_json_string(StringInfo out, const char *string, size_t len);

/* Appends "2026-11-22T22:31:23.123456Z" with its quotes. */
extern void mv_append_json_time(StringInfo out, TimestampTz at);

#endif							/* MV_ROW_JSON_H */
