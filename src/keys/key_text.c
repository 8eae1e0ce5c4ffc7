/*
 * Makes, checks and hashes the text of keys. See key_text.h.
 */
#include "postgres.h"

#include <openssl/evp.h>

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "keys/key_text.h"
#include "utils/builtins.h"
#include "utils/pg_crc.h"

PG_FUNCTION_INFO_V1(musicverse_new_api_key);
PG_FUNCTION_INFO_V1(musicverse_hash_of_key);

static const char base62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static const bool is_base62[256] = {
	['0'] = true, ['1'] = true, ['2'] = true, ['3'] = true, ['4'] = true, ['5'] = true, ['6'] = true, ['7'] = true,
	['8'] = true, ['9'] = true,
	['A'] = true, ['B'] = true, ['C'] = true, ['D'] = true, ['E'] = true, ['F'] = true, ['G'] = true, ['H'] = true,
	['I'] = true, ['J'] = true, ['K'] = true, ['L'] = true, ['M'] = true, ['N'] = true, ['O'] = true, ['P'] = true,
	['Q'] = true, ['R'] = true, ['S'] = true, ['T'] = true, ['U'] = true, ['V'] = true, ['W'] = true, ['X'] = true,
	['Y'] = true, ['Z'] = true,
	['a'] = true, ['b'] = true, ['c'] = true, ['d'] = true, ['e'] = true, ['f'] = true, ['g'] = true, ['h'] = true,
	['i'] = true, ['j'] = true, ['k'] = true, ['l'] = true, ['m'] = true, ['n'] = true, ['o'] = true, ['p'] = true,
	['q'] = true, ['r'] = true, ['s'] = true, ['t'] = true, ['u'] = true, ['v'] = true, ['w'] = true, ['x'] = true,
	['y'] = true, ['z'] = true,
};

/* CRC-32 as zlib has it */
static inline pg_crc32
crc_of(const char *random)
{
	pg_crc32	crc;

	INIT_TRADITIONAL_CRC32(crc);
	COMP_TRADITIONAL_CRC32(crc, random, MV_KEY_RANDOM_LEN);
	FIN_TRADITIONAL_CRC32(crc);
	return crc;
}

/* Most significant digit first */
static void
checksum(const char *random, char sum[MV_KEY_SUM_LEN])
{
	pg_crc32	crc = crc_of(random);

	for (int i = MV_KEY_SUM_LEN - 1; i >= 0; i--)
	{
		sum[i] = base62[crc % 62];
		crc /= 62;
	}
}

bool
mv_key_is_formed(const char *key, int len)
{
	const char *sum = key + MV_KEY_PREFIX_LEN + MV_KEY_RANDOM_LEN;
	bool		well = true;
	pg_crc32	crc;

	if (len != MV_KEY_LEN || memcmp(key, MV_KEY_PREFIX, MV_KEY_PREFIX_LEN) != 0)
		return false;
	for (int i = MV_KEY_PREFIX_LEN; i < MV_KEY_LEN; i++)
		well &= is_base62[(unsigned char) key[i]];
	if (!well)
		return false;
	/* nearly every wrong one differs in the last digit already */
	crc = crc_of(key + MV_KEY_PREFIX_LEN);
	for (int i = MV_KEY_SUM_LEN - 1; i >= 0; i--)
	{
		if (sum[i] != base62[crc % 62])
			return false;
		crc /= 62;
	}
	return true;
}

/* The context and the algorithm are kept: looking them up costs more than the hashing. */
void
mv_key_hash(const char *key, int len, unsigned char hash[MV_HASH_LEN])
{
	static EVP_MD_CTX *context = NULL;

	if (context == NULL)
	{
		EVP_MD_CTX *made = EVP_MD_CTX_new();

		if (made == NULL || EVP_DigestInit_ex(made, EVP_sha256(), NULL) != 1)
		{
			EVP_MD_CTX_free(made);
			ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not set up SHA-256")));
		}
		context = made;
	}
	if (EVP_DigestInit_ex(context, NULL, NULL) != 1 ||
		EVP_DigestUpdate(context, key, len) != 1 ||
		EVP_DigestFinal_ex(context, hash, NULL) != 1)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not compute SHA-256")));
}

/* Characters drawn evenly: bytes above the largest multiple of 62 are thrown away. */
static void
draw(char *random)
{
	int			n = 0;

	while (n < MV_KEY_RANDOM_LEN)
	{
		unsigned char bytes[2 * MV_KEY_RANDOM_LEN];

		if (!pg_strong_random(bytes, sizeof(bytes)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not draw random numbers")));
		for (int i = 0; i < sizeof(bytes) && n < MV_KEY_RANDOM_LEN; i++)
			if (bytes[i] < 62 * 4)
				random[n++] = base62[bytes[i] % 62];
	}
}

static text *
hash_text(const char *key, int len)
{
	unsigned char hash[MV_HASH_LEN];
	char		hex[2 * MV_HASH_LEN];

	mv_key_hash(key, len, hash);
	hex_encode((char *) hash, MV_HASH_LEN, hex);
	return cstring_to_text_with_len(hex, sizeof(hex));
}

/* _new_api_key(OUT key text, OUT key_hash text) */
Datum
musicverse_new_api_key(PG_FUNCTION_ARGS)
{
	char		key[MV_KEY_LEN];
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	memcpy(key, MV_KEY_PREFIX, MV_KEY_PREFIX_LEN);
	draw(key + MV_KEY_PREFIX_LEN);
	checksum(key + MV_KEY_PREFIX_LEN, key + MV_KEY_PREFIX_LEN + MV_KEY_RANDOM_LEN);
	values[0] = PointerGetDatum(cstring_to_text_with_len(key, MV_KEY_LEN));
	values[1] = PointerGetDatum(hash_text(key, MV_KEY_LEN));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* _hash_of_key(key text): NULL for what is no key */
Datum
musicverse_hash_of_key(PG_FUNCTION_ARGS)
{
	text	   *key = PG_GETARG_TEXT_PP(0);

	if (!mv_key_is_formed(VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key)))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(hash_text(VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key)));
}
