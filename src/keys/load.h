/*
 * What the tables say of a key and of its user's limits, by a snapshot taken
 * for each call: what is committed, whatever the isolation level.
 */
#ifndef MV_LOAD_H
#define MV_LOAD_H

#include "postgres.h"

#include "keys/cache.h"

/* Fills in what api_keys holds. False when no key has the hash. AccessShareLock on api_keys. */
extern bool mv_load_key(const unsigned char hash[MV_HASH_LEN], MvKey *key);

/*
 * Fills in the user's tier and its limits; a user without an account has the
 * tier of a new account. AccessShareLock on accounts and tiers. Raises 55000
 * when that tier was deleted.
 */
extern void mv_load_limits(const pg_uuid_t *user_id, MvKey *key);

#endif							/* MV_LOAD_H */
