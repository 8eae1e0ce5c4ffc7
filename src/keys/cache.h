/*
 * The cache of keys in shared memory: what a verdict needs to know of a key,
 * correct at commit. Changes in a transaction are made known in two steps:
 * before the commit the places concerned are put in doubt (readers go to the
 * tables), after it their generation grows and what was cached before is void.
 */
#ifndef MV_CACHE_H
#define MV_CACHE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "keys/bucket.h"
#include "keys/keys.h"
#include "utils/inet.h"
#include "utils/uuid.h"

#define MV_HASH_LEN		32
#define MV_MAX_CIDRS	16		/* the table's constraints promise that no key has more */
#define MV_SCOPES_LEN	512		/* names with a NUL behind each */

typedef struct MvCidr
{
	unsigned char family;		/* PGSQL_AF_INET or PGSQL_AF_INET6 */
	unsigned char bits;
	unsigned char addr[16];
} MvCidr;

/* What is known of a key, and of its user's tier */
typedef struct MvKey
{
	bool		is_user;		/* no key: a user's own limits, see mv_verdict_user */
	pg_uuid_t	key_id;
	pg_uuid_t	user_id;
	char		tier[MV_TIER_LEN];
	TimestampTz revoked_at;		/* to come, after a rotation; DT_NOBEGIN = at once, DT_NOEND = never */
	TimestampTz expires_at;		/* DT_NOEND = never */
	bool		needs_signature;
	bool		by_user;		/* all keys of the user share the bucket */
	int32		burst;
	double		ns_per_token;
	MvBucketId	bucket;			/* of these limits */
	int64		quota[2];		/* MvPeriod; < 0 = none */
	int			ncidrs;			/* -1 = any address */
	int			scopes_len;		/* 0 = every scope */
	MvCidr		cidrs[MV_MAX_CIDRS];	/* from here on only what is used is copied */
	char		scopes[MV_SCOPES_LEN];
} MvKey;

/* Which place of the cache a key was read from, to note its use there */
typedef struct MvKeySlot MvKeySlot;

extern void mv_cache_init(void);

/*
 * Finds a key by the hash of its text, in the cache only. False when it isn't
 * there, or when this transaction must not rely on the cache.
 */
extern bool mv_cache_find(const unsigned char hash[MV_HASH_LEN], MvKey *key, MvKeySlot **slot);

/*
 * Finds a key in the tables by a fresh snapshot, and caches it where that is
 * sound (*slot is NULL otherwise). False when there is none.
 */
extern bool mv_cache_read(const unsigned char hash[MV_HASH_LEN], MvKey *key, MvKeySlot **slot);

/* The same for the limits of a user who calls without a key. */
extern bool mv_cache_find_user(const pg_uuid_t *user_id, MvKey *key);

/* Notes that the key was just used; the usage worker writes it down. Cheap. */
extern void mv_cache_note_use(MvKeySlot *slot, const MvKey *key, TimestampTz at, const inet *client_ip);

/* A use of a key that is to be written down */
typedef struct MvUse
{
	pg_uuid_t	key_id;
	TimestampTz at;
	unsigned char family;		/* 0 = no address */
	unsigned char address[16];
} MvUse;

/*
 * Takes up to n uses that are noted for this database, from place *from on,
 * which is moved. Returns how many. For the usage worker.
 */
extern int	mv_cache_take_uses(MvUse *uses, int n, uint64 *from);

#endif							/* MV_CACHE_H */
