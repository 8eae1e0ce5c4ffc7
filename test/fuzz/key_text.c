/* The text of keys: what is one, and that nothing near it is. */
#include "../../src/keys/key_text.c"

#include "fuzz.h"

static void
run_key_text(const char *data, size_t len)
{
	unsigned char hash[MV_HASH_LEN];
	unsigned char again[MV_HASH_LEN];
	char	   *key = malloc(MV_KEY_LEN);

	if (mv_key_is_formed(data, len))
		must(len == MV_KEY_LEN);
	mv_key_hash(data, len, hash);
	mv_key_hash(data, len, again);
	must(memcmp(hash, again, MV_HASH_LEN) == 0);

	/* a key of these bytes, and the same with one of them changed */
	memcpy(key, MV_KEY_PREFIX, MV_KEY_PREFIX_LEN);
	for (size_t i = 0; i < MV_KEY_RANDOM_LEN; i++)
		key[MV_KEY_PREFIX_LEN + i] = base62[i < len ? (unsigned char) data[i] % 62 : 0];
	checksum(key + MV_KEY_PREFIX_LEN, key + MV_KEY_PREFIX_LEN + MV_KEY_RANDOM_LEN);
	must(mv_key_is_formed(key, MV_KEY_LEN));
	if (len >= 2)
	{
		char	   *at = key + (unsigned char) data[0] % MV_KEY_LEN;

		if (*at != data[1])
		{
			*at = data[1];
			must(!mv_key_is_formed(key, MV_KEY_LEN));
		}
	}
	free(key);
}

static const char *const words[] = {
	"mvai_", "mvai_00000000000000000000000000000000", "000000", "zzzzzz", "MVAI_", "0123456789ABCDEFGHIJKLMNOPQRSTUV", "\xc3\xa4", " ", "\n", NULL
};

const FuzzTarget key_text_targets[] = {
	{"key_text", run_key_text, words},
	{0}
};
