/*
 * Sealed secrets; see seal.h for the form of a sealed value.
 *
 * AES-256-GCM with a random nonce; version, key id and the caller's context
 * are authenticated, so a value that was changed, or copied from another row,
 * doesn't open. The keys come from master_keys.c. No locks here; plaintext
 * that failed to authenticate is wiped and never handed out.
 */
#include "postgres.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "core/master_keys.h"
#include "core/seal.h"

#define SEAL_VERSION 1
#define NONCE_LEN 12
#define TAG_LEN 16

typedef struct SealHeader
{
	uint8		version;
	uint8		key_id[4];		/* big endian */
	uint8		nonce[NONCE_LEN];
	uint8		tag[TAG_LEN];
} SealHeader;

/* The header's leading bytes that are authenticated before the context */
#define AUTHENTICATED_LEN offsetof(SealHeader, nonce)

static EVP_CIPHER *cipher;		/* fetched once a process */

PG_FUNCTION_INFO_V1(musicverse_seal);
PG_FUNCTION_INFO_V1(musicverse_unseal);
PG_FUNCTION_INFO_V1(musicverse_reseal);
PG_FUNCTION_INFO_V1(musicverse_add_master_key);

static char *open_sealed(const bytea *sealed, const char *context, size_t *len, MvProblem *problem);
static const char *crypt_gcm(bool encrypt, const MvMasterKey *key, SealHeader *header, const char *context,
							 const uint8 *in, size_t len, uint8 *out);
static uint32 key_id_of(const bytea *sealed);
static text *unseal_text(const bytea *sealed, const char *context);

void
mv_seal_init(void)
{
	mv_master_keys_init();
}

void
mv_seal_load_keys(void)
{
	MvProblem	problem;

	/* the administrator brings the old cluster's file before the first start */
	if (IsBinaryUpgrade)
		return;
	if (mv_master_key_current(&problem) == NULL)
		mv_problem_report(&problem);
}

bytea *
mv_seal(const char *plain, size_t len, const char *context)
{
	SealHeader	header;
	MvProblem	problem;
	const MvMasterKey *key;
	const char *failure;
	bytea	   *sealed;
	uint32		id;

	if (len > MaxAllocSize - VARHDRSZ - sizeof(header))
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("secret of %zu bytes is too long to be sealed", len));

	sealed = palloc(VARHDRSZ + sizeof(header) + len);
	SET_VARSIZE(sealed, VARHDRSZ + sizeof(header) + len);

	key = mv_master_key_current(&problem);
	if (key == NULL)
		mv_problem_report(&problem);

	header.version = SEAL_VERSION;
	id = pg_hton32(key->id);
	memcpy(header.key_id, &id, sizeof(id));
	mv_random_bytes(header.nonce, NONCE_LEN);
	failure = crypt_gcm(true, key, &header, context, (const uint8 *) plain, len,
						(uint8 *) VARDATA(sealed) + sizeof(header));
	if (failure != NULL)
		ereport(ERROR,
				errcode(ERRCODE_INTERNAL_ERROR),
				errmsg("could not seal a secret: %s", failure));
	memcpy(VARDATA(sealed), &header, sizeof(header));
	return sealed;
}

char *
mv_unseal(const bytea *sealed, const char *context, size_t *len)
{
	MvProblem	problem;
	char	   *plain = open_sealed(sealed, context, len, &problem);

	if (plain == NULL)
		mv_problem_report(&problem);
	return plain;
}

char *
mv_unseal_noerror(const bytea *sealed, const char *context, size_t *len, const char **why)
{
	MvProblem	problem;
	char	   *plain = open_sealed(sealed, context, len, &problem);

	if (plain == NULL)
		*why = problem.message;
	return plain;
}

/* Secrets are sealed in UTF-8, so they survive a move to another encoding. */
Datum
musicverse_seal(PG_FUNCTION_ARGS)
{
	char	   *secret = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *utf8 = pg_server_to_any(secret, strlen(secret), PG_UTF8);
	bytea	   *sealed = mv_seal(utf8, strlen(utf8), text_to_cstring(PG_GETARG_TEXT_PP(1)));

	explicit_bzero(utf8, strlen(utf8));
	explicit_bzero(secret, strlen(secret));
	PG_RETURN_BYTEA_P(sealed);
}

Datum
musicverse_unseal(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(unseal_text(PG_GETARG_BYTEA_PP(0), text_to_cstring(PG_GETARG_TEXT_PP(1))));
}

Datum
musicverse_reseal(PG_FUNCTION_ARGS)
{
	bytea	   *sealed = PG_GETARG_BYTEA_PP(0);
	char	   *context = text_to_cstring(PG_GETARG_TEXT_PP(1));
	size_t		len;
	char	   *plain = mv_unseal(sealed, context, &len);
	MvProblem	problem;
	const MvMasterKey *key = mv_master_key_current(&problem);

	if (key == NULL)
		mv_problem_report(&problem);
	if (key->id != key_id_of(sealed))
		sealed = mv_seal(plain, len, context);
	explicit_bzero(plain, len);
	PG_RETURN_BYTEA_P(sealed);
}

Datum
musicverse_add_master_key(PG_FUNCTION_ARGS)
{
	MvProblem	problem;
	uint32		id;

	/* the key must be where the rows are written that it will seal */
	PreventCommandDuringRecovery("_add_master_key()");

	if (!mv_master_key_add(&id, &problem))
		mv_problem_report(&problem);
	PG_RETURN_INT64(id);
}

static char *
open_sealed(const bytea *sealed, const char *context, size_t *len, MvProblem *problem)
{
	const bytea *whole = (const bytea *) PG_DETOAST_DATUM_PACKED(PointerGetDatum(sealed));
	SealHeader	header;
	const MvMasterKey *key;
	const char *failure = NULL;
	char	   *plain;

	if (VARSIZE_ANY_EXHDR(whole) < sizeof(header))
	{
		mv_problem_set(problem, ERRCODE_DATA_CORRUPTED, "sealed value is too short to be one",
					   "Set the secret anew.");
		return NULL;
	}
	memcpy(&header, VARDATA_ANY(whole), sizeof(header));
	if (header.version != SEAL_VERSION)
	{
		mv_problem_set(problem, ERRCODE_DATA_CORRUPTED,
					   psprintf("sealed value has version %u, only version %d is known", header.version, SEAL_VERSION),
					   "It was changed after it was sealed, or sealed by a newer version of musicverse.");
		return NULL;
	}

	*len = VARSIZE_ANY_EXHDR(whole) - sizeof(header);
	plain = palloc(*len + 1);
	key = mv_master_key_find(key_id_of(whole), problem);
	if (key != NULL)
	{
		failure = crypt_gcm(false, key, &header, context,
							(const uint8 *) VARDATA_ANY(whole) + sizeof(header), *len, (uint8 *) plain);
		if (failure == NULL)
		{
			plain[*len] = '\0';
			return plain;
		}
		mv_problem_set(problem, ERRCODE_DATA_CORRUPTED, psprintf("could not open a sealed value: %s", failure),
					   "It was changed after it was sealed, or copied from another row. Set the secret anew.");
	}
	pfree(plain);
	return NULL;
}

/*
 * AES-256-GCM in one direction; encrypting fills the header's tag, decrypting
 * compares it. Returns NULL, or what went wrong (out is then wiped). Never
 * raises.
 */
static const char *
crypt_gcm(bool encrypt, const MvMasterKey *key, SealHeader *header, const char *context,
		  const uint8 *in, size_t len, uint8 *out)
{
	EVP_CIPHER_CTX *ctx;
	const char *failure = NULL;
	size_t		context_len = strlen(context);
	int			n;

	if (cipher == NULL)
		cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	if (cipher == NULL)
	{
		ERR_clear_error();
		return "OpenSSL offers no AES-256-GCM";
	}

	ctx = EVP_CIPHER_CTX_new();
	if (ctx == NULL ||
		EVP_CipherInit_ex2(ctx, cipher, key->key, header->nonce, encrypt, NULL) != 1 ||
		EVP_CipherUpdate(ctx, NULL, &n, (const uint8 *) header, AUTHENTICATED_LEN) != 1 ||
		(context_len > 0 && EVP_CipherUpdate(ctx, NULL, &n, (const uint8 *) context, context_len) != 1) ||
		(len > 0 && EVP_CipherUpdate(ctx, out, &n, in, len) != 1) ||
		(!encrypt && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, header->tag) != 1))
		failure = "OpenSSL failed";
	else if (EVP_CipherFinal_ex(ctx, out + len, &n) != 1)
		failure = encrypt ? "OpenSSL failed" : "it is corrupted or belongs to something else";
	else if (encrypt && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, header->tag) != 1)
		failure = "OpenSSL failed";
	EVP_CIPHER_CTX_free(ctx);	/* wipes its state */

	if (failure != NULL)
	{
		ERR_clear_error();
		explicit_bzero(out, len);
	}
	return failure;
}

static uint32
key_id_of(const bytea *sealed)
{
	uint32		id;

	memcpy(&id, VARDATA_ANY(sealed) + offsetof(SealHeader, key_id), sizeof(id));
	return pg_ntoh32(id);
}

static text *
unseal_text(const bytea *sealed, const char *context)
{
	size_t		len;
	char	   *utf8 = mv_unseal(sealed, context, &len);
	char	   *server = pg_any_to_server(utf8, len, PG_UTF8);
	text	   *result = cstring_to_text_with_len(server, server == utf8 ? len : strlen(server));

	if (server != utf8)
		explicit_bzero(server, strlen(server));
	explicit_bzero(utf8, len);
	return result;
}
