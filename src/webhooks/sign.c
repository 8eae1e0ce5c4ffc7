/*
 * Standard Webhooks signatures; see sign.h.
 *
 * The hot path is mv_sign with an HMAC key: the delivery worker calls it once
 * an attempt while transfers run. So the keyed state is computed once, when
 * the signer is made, and each signature only starts again from it.
 *
 * Promises: no lock, no PostgreSQL memory except for error messages, nothing
 * raised after mv_signer_create; key material is wiped when it is dropped; the
 * time taken tells nothing about a key or an expected signature. Survives OpenSSL
 * running out of memory: signing then returns 0, verifying false.
 */
#include "postgres.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "core/base64.h"
#include "webhooks/sign.h"

#define HMAC_LEN 32
#define ED25519_KEY_LEN 32
#define ED25519_SIGNATURE_LEN 64
#define SECRET_MIN 16			/* the specification asks for 24 to 64 bytes; */
#define SECRET_MAX 128			/* senders out there are not that exact */

/* Each costs an Ed25519 verification: no header makes us do thousands */
#define MAX_SIGNATURES 64

struct MvSigner
{
	EVP_MAC_CTX *mac;			/* keyed, for v1; NULL for v1a */
	EVP_PKEY   *pkey;			/* for v1a */
	bool		can_sign;
};

static EVP_MAC *hmac;			/* fetched once a process */

static const char *parse_key(MvSigner *signer, const char *key, size_t len, const char **hint);
static const char *parse_hmac(MvSigner *signer, const uint8 *raw, int len);
static const char *parse_private(MvSigner *signer, const uint8 *raw, int len);
static const char *parse_public(MvSigner *signer, const uint8 *raw, int len);
static size_t print_timestamp(int64 ts, char *out);
static bool compute_hmac(MvSigner *signer, const char *msg_id, int64 ts,
						 const char *body, size_t body_len, uint8 out[HMAC_LEN]);
static char *signed_content(const char *msg_id, int64 ts, const char *body, size_t body_len, size_t *len);
static bool ed25519_sign(EVP_PKEY *pkey, const char *content, size_t len, uint8 *signature);
static bool ed25519_verify(EVP_PKEY *pkey, const char *content, size_t len, const uint8 *signature);

MvSigner *
mv_signer_create(const char *key, size_t len)
{
	MvSigner   *signer = calloc(1, sizeof(MvSigner));
	const char *problem;
	const char *hint = NULL;

	if (signer == NULL)
		ereport(ERROR,
				errcode(ERRCODE_OUT_OF_MEMORY),
				errmsg("out of memory"));

	problem = parse_key(signer, key, len, &hint);
	if (problem != NULL)
	{
		mv_signer_free(signer);
		ERR_clear_error();
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("invalid webhook secret: %s", problem),
				hint ? errhint("%s", hint) : 0);
	}
	return signer;
}

void
mv_signer_free(MvSigner *signer)
{
	if (signer == NULL)
		return;
	EVP_MAC_CTX_free(signer->mac);	/* wipes its state */
	EVP_PKEY_free(signer->pkey);
	free(signer);
}

size_t
mv_sign(MvSigner *signer, const char *msg_id, int64 ts,
		const char *body, size_t body_len, char out[MV_SIGNATURE_MAX])
{
	uint8		raw[ED25519_SIGNATURE_LEN];
	char	   *content;
	size_t		content_len;
	bool		ok;

	if (!signer->can_sign)
		return 0;

	if (signer->mac != NULL)
	{
		if (!compute_hmac(signer, msg_id, ts, body, body_len, raw))
			return 0;
		memcpy(out, "v1,", 3);
		return 3 + mv_base64_encode(raw, HMAC_LEN, out + 3);
	}

	content = signed_content(msg_id, ts, body, body_len, &content_len);
	if (content == NULL)
		return 0;
	ok = ed25519_sign(signer->pkey, content, content_len, raw);
	free(content);
	if (!ok)
		return 0;
	memcpy(out, "v1a,", 4);
	return 4 + mv_base64_encode(raw, ED25519_SIGNATURE_LEN, out + 4);
}

bool
mv_verify(MvSigner *signer, const char *msg_id, int64 ts,
		  const char *body, size_t body_len, const char *header, size_t header_len)
{
	const bool	symmetric = signer->mac != NULL;
	const char *version = symmetric ? "v1," : "v1a,";
	const size_t version_len = strlen(version);
	const int	raw_len = symmetric ? HMAC_LEN : ED25519_SIGNATURE_LEN;
	const char *end = header + header_len;
	uint8		expected[HMAC_LEN];
	uint8		given[ED25519_SIGNATURE_LEN];
	char	   *content = NULL;
	size_t		content_len = 0;
	bool		matched = false;
	int			tried = 0;

	if (symmetric)
	{
		if (!compute_hmac(signer, msg_id, ts, body, body_len, expected))
			return false;
	}
	else
	{
		content = signed_content(msg_id, ts, body, body_len, &content_len);
		if (content == NULL)
			return false;
	}

	while (header < end && tried < MAX_SIGNATURES)
	{
		const char *space = memchr(header, ' ', end - header);
		const char *stop = space ? space : end;

		if (stop - header > version_len && memcmp(header, version, version_len) == 0)
		{
			tried++;
			if (mv_base64_decode(header + version_len, stop - header - version_len,
								 given, raw_len, true) == raw_len)
			{
				/* which of several signatures matched is nobody's to measure */
				if (symmetric)
					matched |= CRYPTO_memcmp(given, expected, HMAC_LEN) == 0;
				else
					matched |= ed25519_verify(signer->pkey, content, content_len, given);
			}
		}
		header = stop + 1;
	}

	free(content);
	explicit_bzero(expected, sizeof(expected));
	return matched;
}

/* Fills the signer; returns NULL, or what is wrong with the key. */
static const char *
parse_key(MvSigner *signer, const char *key, size_t len, const char **hint)
{
	static const struct
	{
		const char *prefix;
		const char *(*parse) (MvSigner *signer, const uint8 *raw, int len);
	}			forms[] =
	{
		{"whsec_", parse_hmac},
		{"whsk_", parse_private},
		{"whpk_", parse_public},
	};

	for (int i = 0; i < lengthof(forms); i++)
	{
		size_t		prefix_len = strlen(forms[i].prefix);
		uint8		raw[SECRET_MAX + 1];
		int			raw_len;
		const char *problem;

		if (len < prefix_len || memcmp(key, forms[i].prefix, prefix_len) != 0)
			continue;
		key += prefix_len;
		len -= prefix_len;

		if (len > MV_BASE64_LEN(sizeof(raw)))
			raw_len = sizeof(raw);	/* too long whatever it says */
		else
			raw_len = mv_base64_decode(key, len, raw, sizeof(raw), false);

		if (raw_len < 0)
		{
			*hint = "What follows the prefix must be base64 with the characters A-Z, a-z, 0-9, + and /.";
			problem = "what follows its prefix is not base64";
		}
		else
			problem = forms[i].parse(signer, raw, raw_len);
		explicit_bzero(raw, sizeof(raw));
		return problem;
	}

	*hint = "A secret is whsec_, whsk_ (private key) or whpk_ (public key, to verify only), followed by base64.";
	return "its prefix is not known";
}

static const char *
parse_hmac(MvSigner *signer, const uint8 *raw, int len)
{
	OSSL_PARAM	params[2];
	char		digest[] = "SHA256";

	if (len < SECRET_MIN)
		return "it is shorter than 16 bytes";
	if (len > SECRET_MAX)
		return "it is longer than 128 bytes";

	if (hmac == NULL)
		hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	if (hmac == NULL)
		return "OpenSSL offers no HMAC";

	params[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0);
	params[1] = OSSL_PARAM_construct_end();
	signer->mac = EVP_MAC_CTX_new(hmac);
	if (signer->mac == NULL || EVP_MAC_init(signer->mac, raw, len, params) != 1)
		return "OpenSSL refused it";
	signer->can_sign = true;
	return NULL;
}

/* Either the seed alone or the seed followed by its public key. */
static const char *
parse_private(MvSigner *signer, const uint8 *raw, int len)
{
	uint8		public[ED25519_KEY_LEN];
	size_t		public_len = sizeof(public);

	if (len != ED25519_KEY_LEN && len != 2 * ED25519_KEY_LEN)
		return "a private key has 32 or 64 bytes";

	signer->pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, raw, ED25519_KEY_LEN);
	if (signer->pkey == NULL ||
		EVP_PKEY_get_raw_public_key(signer->pkey, public, &public_len) != 1)
		return "OpenSSL refused it";

	/* a receiver verifies with the second half: it must be the right one */
	if (len == 2 * ED25519_KEY_LEN &&
		CRYPTO_memcmp(public, raw + ED25519_KEY_LEN, ED25519_KEY_LEN) != 0)
		return "the public half of the private key doesn't belong to its seed";
	signer->can_sign = true;
	return NULL;
}

static const char *
parse_public(MvSigner *signer, const uint8 *raw, int len)
{
	if (len != ED25519_KEY_LEN)
		return "a public key has 32 bytes";
	signer->pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, raw, len);
	return signer->pkey != NULL ? NULL : "OpenSSL refused it";
}

/* Writes ".ts." (at most 22 characters); returns its length. */
static size_t
print_timestamp(int64 ts, char *out)
{
	char		digits[20];
	int			n = 0;
	size_t		len = 0;
	uint64		rest = ts < 0 ? -(uint64) ts : (uint64) ts;

	do
		digits[n++] = '0' + rest % 10;
	while ((rest /= 10) > 0);

	out[len++] = '.';
	if (ts < 0)
		out[len++] = '-';
	while (n > 0)
		out[len++] = digits[--n];
	out[len++] = '.';
	return len;
}

static bool
compute_hmac(MvSigner *signer, const char *msg_id, int64 ts,
			 const char *body, size_t body_len, uint8 out[HMAC_LEN])
{
	char		head[256];
	size_t		id_len = strlen(msg_id);
	char		stamp[24];
	size_t		stamp_len = print_timestamp(ts, stamp);
	size_t		out_len;
	bool		ok;

	/* without a key, starts again from the keyed state */
	ok = EVP_MAC_init(signer->mac, NULL, 0, NULL) == 1;

	/* one call for what comes before the body, when it fits */
	if (id_len + stamp_len <= sizeof(head))
	{
		memcpy(head, msg_id, id_len);
		memcpy(head + id_len, stamp, stamp_len);
		ok = ok && EVP_MAC_update(signer->mac, (uint8 *) head, id_len + stamp_len) == 1;
	}
	else
		ok = ok && EVP_MAC_update(signer->mac, (const uint8 *) msg_id, id_len) == 1 &&
			EVP_MAC_update(signer->mac, (uint8 *) stamp, stamp_len) == 1;

	ok = ok && EVP_MAC_update(signer->mac, (const uint8 *) body, body_len) == 1 &&
		EVP_MAC_final(signer->mac, out, &out_len, HMAC_LEN) == 1;
	if (!ok)
		ERR_clear_error();
	return ok;
}

/* "id.ts.body" in one malloc'd piece, as Ed25519 wants it; NULL without memory. */
static char *
signed_content(const char *msg_id, int64 ts, const char *body, size_t body_len, size_t *len)
{
	size_t		id_len = strlen(msg_id);
	char		stamp[24];
	size_t		stamp_len = print_timestamp(ts, stamp);
	char	   *content = malloc(id_len + stamp_len + body_len);

	if (content == NULL)
		return NULL;
	memcpy(content, msg_id, id_len);
	memcpy(content + id_len, stamp, stamp_len);
	memcpy(content + id_len + stamp_len, body, body_len);
	*len = id_len + stamp_len + body_len;
	return content;
}

static bool
ed25519_sign(EVP_PKEY *pkey, const char *content, size_t len, uint8 *signature)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t		signature_len = ED25519_SIGNATURE_LEN;
	bool		ok;

	ok = ctx != NULL &&
		EVP_DigestSignInit(ctx, NULL, NULL, NULL, pkey) == 1 &&
		EVP_DigestSign(ctx, signature, &signature_len, (const uint8 *) content, len) == 1 &&
		signature_len == ED25519_SIGNATURE_LEN;
	EVP_MD_CTX_free(ctx);
	if (!ok)
		ERR_clear_error();
	return ok;
}

static bool
ed25519_verify(EVP_PKEY *pkey, const char *content, size_t len, const uint8 *signature)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool		ok;

	ok = ctx != NULL &&
		EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) == 1 &&
		EVP_DigestVerify(ctx, signature, ED25519_SIGNATURE_LEN, (const uint8 *) content, len) == 1;
	EVP_MD_CTX_free(ctx);
	if (!ok)
		ERR_clear_error();
	return ok;
}
