/*
 * The door of this room: recording an event in the transaction in which it
 * happened. Used by the triggers, by emit_event() and by other rooms.
 */
#ifndef MV_EVENT_H
#define MV_EVENT_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/uuid.h"

/* Callbacks, hooks and settings of the recording side. Called from _PG_init. */
extern void mv_event_init(void);

/*
 * Records an event of the user with the data given as JSON text, and queues a
 * delivery for each webhook of the user that wants it. Both are rolled back
 * with the transaction, and visible to it from the end of the statement on.
 * Returns the event's id in *id.
 *
 * Raises 54000 when the event is larger than musicverse.max_event_size, 0A000
 * in a transaction that can't write. Takes RowExclusiveLock on the tables
 * written when the statement ends.
 */
extern void mv_emit(const pg_uuid_t *user_id, const char *type, const char *data, int data_len,
					pg_uuid_t *id);

/* Writes what was recorded and not yet written. */
extern void mv_flush_events(void);

/*
 * True while pg_restore or a dump's script fills the tables, whose triggers
 * must then stay silent.
 */
extern bool mv_is_restoring(void);

#endif							/* MV_EVENT_H */
