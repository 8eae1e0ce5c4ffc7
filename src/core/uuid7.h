/*
 * UUIDs of version 7 (RFC 9562): 48 bits of milliseconds, 12 bits of their
 * fraction, 62 random bits. They sort by time, so the tables that grow are
 * indexed at the right edge and partitioned by range of their id. Made from
 * the server's real clock, never from the replaceable one.
 */
#ifndef MV_UUID7_H
#define MV_UUID7_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/uuid.h"

/* Fills out with a new id, greater than the one this process made before. */
extern void mv_uuid7(pg_uuid_t *out);

/* The smallest id of a moment: the bound of a partition. */
extern void mv_uuid7_bound(TimestampTz at, pg_uuid_t *out);

/* The moment in an id, to the millisecond. */
extern TimestampTz mv_uuid7_time(const pg_uuid_t *id);

/* The 36 characters and a closing NUL. */
extern void mv_uuid_text(const pg_uuid_t *id, char out[37]);

#endif							/* MV_UUID7_H */
