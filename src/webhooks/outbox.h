/*
 * The outbox of a transaction: events and deliveries on their way into the
 * tables. Private to the recording side of this room.
 */
#ifndef MV_OUTBOX_H
#define MV_OUTBOX_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/uuid.h"

typedef struct MvOutEvent
{
	pg_uuid_t	id;
	pg_uuid_t	user_id;
	TimestampTz at;
	text	   *type;
	text	   *payload;
} MvOutEvent;

/* Installs callbacks and the executor hook. Called once. */
extern void mv_outbox_init(void);

/* Where the texts of an event must be allocated. Lives until it is written. */
extern MemoryContext mv_outbox_context(void);

/* Adds an event, and a delivery of the event added last. */
extern void mv_outbox_add_event(const MvOutEvent *event);
extern void mv_outbox_add_delivery(const pg_uuid_t *webhook_id, int64 order_key);

/*
 * Bytes of texts that were added, so that a large batch is written in pieces.
 * Returns after writing when it was enough.
 */
extern void mv_outbox_written_bytes(Size bytes);

/*
 * Is the function called by the query that the executor runs? Then what it
 * records is written when that ends. An expression of PL/pgSQL, such as an
 * assignment, is no query, and the next statement is to see what it recorded.
 */
extern bool mv_outbox_is_batch(FmgrInfo *function);

/* Marks this transaction as taking delivery numbers; before the first one is taken. */
extern void mv_outbox_hold_deliveries(void);

/* Has the range told to the workers at commit. */
extern void mv_outbox_announce(int64 lo, int64 hi, int64 count, const pg_uuid_t *first_id,
							   const pg_uuid_t *webhook_id);

#endif							/* MV_OUTBOX_H */
