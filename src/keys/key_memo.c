/*
 * Hashes of keys, remembered. See key_memo.h.
 *
 * A process is asked about the same keys again and again, and SHA-256 with
 * what OpenSSL does around it is half of a verdict. What is remembered tells
 * no key: an entry is known by 128 bits of SipHash-2-4 (Aumasson and
 * Bernstein, 2012) of its key's random part, under a secret that each process
 * draws for itself. Without it nobody can make another text that has the same
 * 128 bits. Whether the key is still good is asked each time, by its hash.
 */
#include "postgres.h"

#include "keys/key_memo.h"
#include "keys/key_text.h"

#define ENTRIES 256

typedef struct Tag
{
	uint64		lo;
	uint64		hi;
} Tag;

typedef struct Entry
{
	Tag			tag;
	unsigned char hash[MV_HASH_LEN];
} Entry;

static Entry entries[ENTRIES];
static uint64 secret[2];
static bool has_secret = false;

#define ROTATED(x, n) ((x) << (n) | (x) >> (64 - (n)))

static inline void
rounds(uint64 v[4], int n)
{
	for (int i = 0; i < n; i++)
	{
		v[0] += v[1];
		v[1] = ROTATED(v[1], 13) ^ v[0];
		v[0] = ROTATED(v[0], 32);
		v[2] += v[3];
		v[3] = ROTATED(v[3], 16) ^ v[2];
		v[0] += v[3];
		v[3] = ROTATED(v[3], 21) ^ v[0];
		v[2] += v[1];
		v[1] = ROTATED(v[1], 17) ^ v[2];
		v[2] = ROTATED(v[2], 32);
	}
}

static inline void
take_in(uint64 v[4], uint64 word)
{
	v[3] ^= word;
	rounds(v, 2);
	v[0] ^= word;
}

/* Of the random part; the checksum follows from it */
static Tag
tag_of(const char *key)
{
	uint64		v[4] = {
		secret[0] ^ UINT64CONST(0x736f6d6570736575), secret[1] ^ UINT64CONST(0x646f72616e646f6d) ^ 0xee,
		secret[0] ^ UINT64CONST(0x6c7967656e657261), secret[1] ^ UINT64CONST(0x7465646279746573)
	};
	uint64		words[MV_KEY_RANDOM_LEN / sizeof(uint64)];
	Tag			tag;

	memcpy(words, key + MV_KEY_PREFIX_LEN, sizeof(words));
	for (int i = 0; i < lengthof(words); i++)
		take_in(v, words[i]);
	take_in(v, (uint64) MV_KEY_RANDOM_LEN << 56);
	v[2] ^= 0xee;
	rounds(v, 4);
	tag.lo = v[0] ^ v[1] ^ v[2] ^ v[3];
	v[1] ^= 0xdd;
	rounds(v, 4);
	tag.hi = v[0] ^ v[1] ^ v[2] ^ v[3];
	return tag;
}

StaticAssertDecl(MV_KEY_RANDOM_LEN % sizeof(uint64) == 0, "the random part is not made of whole words");

bool
mv_key_recall(const char *key, unsigned char hash[MV_HASH_LEN])
{
	Tag			tag;
	const Entry *entry;

	if (!has_secret)
		return false;
	tag = tag_of(key);
	entry = &entries[tag.lo % ENTRIES];
	if (((entry->tag.lo ^ tag.lo) | (entry->tag.hi ^ tag.hi)) != 0)
		return false;
	memcpy(hash, entry->hash, MV_HASH_LEN);
	return true;
}

void
mv_key_remember(const char *key, const unsigned char hash[MV_HASH_LEN])
{
	Tag			tag;
	Entry	   *entry;

	if (!has_secret && !pg_strong_random(secret, sizeof(secret)))
		return;
	has_secret = true;
	tag = tag_of(key);
	entry = &entries[tag.lo % ENTRIES];
	entry->tag = tag;
	memcpy(entry->hash, hash, MV_HASH_LEN);
}
