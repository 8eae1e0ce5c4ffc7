/*
 * Sealed secrets: AES-256-GCM under a master key that lives in a file outside
 * the database, so that a dump or a replica of the tables opens nothing.
 *
 * A sealed value is: version byte (1), key id (4 bytes, big endian), nonce
 * (12), tag (16), ciphertext. The key id is authenticated as additional data
 * together with the caller's context string.
 *
 * None of these takes a lock; all raise on failure unless said otherwise.
 */
#ifndef MV_SEAL_H
#define MV_SEAL_H

#include "postgres.h"

/* Defines musicverse.master_key_file. Called from _PG_init. */
extern void mv_seal_init(void);

/*
 * Makes sure that the key file exists (created with mode 0600, flushed to
 * disk) and loads it. Called by the postmaster at start-up, and lazily by a
 * process that needs a key. Raises if the file is unreadable, malformed or
 * open to other users.
 */
extern void mv_seal_load_keys(void);

/* Returns a palloc'd bytea with the sealed form of the len bytes at plain. */
extern bytea *mv_seal(const char *plain, size_t len, const char *context);

/*
 * Opens a sealed value into palloc'd memory, NUL-terminated behind *len bytes.
 * Raises with a hint naming the missing key id when the key file lacks it.
 */
extern char *mv_unseal(const bytea *sealed, const char *context, size_t *len);

/* Same, but returns NULL and sets *why (static or palloc'd) instead of raising. */
extern char *mv_unseal_noerror(const bytea *sealed, const char *context, size_t *len, const char **why);

#endif							/* MV_SEAL_H */
