/*
 * The text of a key: mvai_, 32 random characters of base62, 6 of a checksum.
 */
#ifndef MV_KEY_TEXT_H
#define MV_KEY_TEXT_H

#include "postgres.h"

#include "keys/cache.h"

#define MV_KEY_PREFIX		"mvai_"
#define MV_KEY_PREFIX_LEN	5
#define MV_KEY_RANDOM_LEN	32
#define MV_KEY_SUM_LEN		6
#define MV_KEY_LEN			(MV_KEY_PREFIX_LEN + MV_KEY_RANDOM_LEN + MV_KEY_SUM_LEN)

/* Is it formed as a key, with the right checksum? Looks at no more than MV_KEY_LEN bytes. */
extern bool mv_key_is_formed(const char *key, int len);

/* SHA-256 of a text. Raises when OpenSSL fails. */
extern void mv_key_hash(const char *key, int len, unsigned char hash[MV_HASH_LEN]);

#endif							/* MV_KEY_TEXT_H */
