/*
 * The door of this room: API keys, limits and usage. One verdict a call, in
 * shared memory; nothing is written to a table by the caller.
 */
#ifndef MV_KEYS_H
#define MV_KEYS_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/inet.h"
#include "utils/uuid.h"

/* Settings, shared memory and callbacks of the room. Called from _PG_init. */
extern void mv_keys_init(void);

typedef enum MvReason
{
	MV_ALLOWED,
	MV_MALFORMED,				/* 401 */
	MV_UNKNOWN,
	MV_REVOKED,
	MV_EXPIRED,
	MV_SIGNATURE,				/* 401: the key wants signed requests, and this isn't one */
	MV_SCOPE,					/* 403 */
	MV_IP,
	MV_RATE_LIMITED,			/* 429 */
	MV_QUOTA_EXCEEDED
} MvReason;

#define MV_TIER_LEN 64

typedef struct MvVerdict
{
	bool		allowed;
	int			status;			/* of HTTP: 200, 401, 403, 429 */
	MvReason	reason;			/* in shadow mode allowed with the reason of what would have refused */
	bool		identified;		/* key_id, user_id and tier are set */
	bool		has_key;		/* false: judged as a user or an address */
	pg_uuid_t	key_id;
	pg_uuid_t	user_id;
	char		tier[MV_TIER_LEN];

	/* The limit that is closest to its end; limit < 0 when no limit was looked at */
	const char *policy;			/* "burst", "day", "month", "address" */
	int64		limit;
	int64		remaining;
	TimestampTz judged_at;		/* when limits were looked at */
	int64		reset_us;		/* from then until it is whole again */
	int64		window_us;		/* in which limit many are granted */
	int64		retry_us;		/* 0 when allowed; -1 = never, as the cost is above the limit */
} MvVerdict;

typedef struct MvCall
{
	const char *key;			/* not NUL-terminated */
	int			key_len;
	const char *scope;			/* NULL = none asked for */
	int			scope_len;
	const inet *client_ip;		/* NULL = not known */
	int			cost;			/* >= 0 */
	bool		is_signed;		/* its signature was verified */

	/*
	 * What is signed, or NULL: see is_signed. Verified once the key is known to
	 * be good, so that nobody fills the memory of signatures by made-up keys.
	 */
	const struct MvRequest *request;
	const char *signatures;		/* not NUL-terminated */
	int			signatures_len;
} MvCall;

/*
 * The verdict on a call with a key: form, checksum, hash, revocation, expiry,
 * signature, address, scope, burst, quota. Takes the tokens when it allows. Writes
 * nothing, so that it works in read-only transactions and in recovery; what it
 * took is not given back by a rollback. Never raises for a bad key. Needs a
 * transaction. May take AccessShareLock on api_keys, accounts and tiers.
 */
extern void mv_verdict_key(const MvCall *call, MvVerdict *verdict);

/* The same for a user who proved who it is by other means (a token). */
extern void mv_verdict_user(const pg_uuid_t *user_id, int cost, MvVerdict *verdict);

/* The same for a call without any identity, by its address; NULL is always allowed. */
extern void mv_verdict_address(const inet *client_ip, int cost, MvVerdict *verdict);

/*
 * For a call that proves itself by a signature of its own: looks whether its
 * address has the tokens for one more wrong key. Takes nothing, so that who is
 * right is never slowed down; a proof that failed takes them. NULL is always
 * allowed.
 */
extern void mv_verdict_proof(const inet *client_ip, int cost, MvVerdict *verdict);
extern void mv_false_proof(const inet *client_ip, int cost);

/* The reason as the contract writes it; NULL for MV_ALLOWED. */
extern const char *mv_reason_name(MvReason reason);

/* A sentence for people on why it was refused. palloc'd or constant. */
extern const char *mv_reason_message(const MvVerdict *verdict, const MvCall *call);

#endif							/* MV_KEYS_H */
