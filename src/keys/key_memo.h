/*
 * The hashes of keys that this process was asked about lately.
 */
#ifndef MV_KEY_MEMO_H
#define MV_KEY_MEMO_H

#include "postgres.h"

#include "keys/cache.h"

/* Of a text that is formed as a key: false when its hash isn't remembered. */
extern bool mv_key_recall(const char *key, unsigned char hash[MV_HASH_LEN]);

/* Remembers it, of a key that there is. */
extern void mv_key_remember(const char *key, const unsigned char hash[MV_HASH_LEN]);

#endif							/* MV_KEY_MEMO_H */
