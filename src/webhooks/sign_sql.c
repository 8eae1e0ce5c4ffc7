/*
 * The signatures as SQL functions: sign_webhook() and verify_webhook() for
 * callers (the partners' callbacks come in through the second), and the
 * makers of new secrets.
 *
 * verify_webhook() answers false to whatever a stranger may have sent; it
 * raises only for what its caller controls: the secret and the tolerance. The
 * bytes that are signed are always UTF-8, as they are on the wire. No locks.
 */
#include "postgres.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#include "common/int.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "core/base64.h"
#include "core/clock.h"
#include "webhooks/sign.h"

#define SEED_LEN 32
#define TIMESTAMP_DIGITS 12		/* until the year 33658 */

PG_FUNCTION_INFO_V1(musicverse_sign_webhook);
PG_FUNCTION_INFO_V1(musicverse_verify_webhook);
PG_FUNCTION_INFO_V1(musicverse_new_webhook_secret);
PG_FUNCTION_INFO_V1(musicverse_new_webhook_keypair);

static MvSigner *signer_of(text *secret);
static char *to_utf8(text *value, size_t *len);
static char *header_value(Jsonb *headers, const char *name, size_t *len);
static bool parse_timestamp(const char *value, size_t len, int64 *ts);
static int64 interval_seconds(const Interval *interval);
static void random_bytes(void *out, size_t len);
static Datum key_text(const char *prefix, const uint8 *raw, size_t len);

Datum
musicverse_sign_webhook(PG_FUNCTION_ARGS)
{
	int64		ts = PG_GETARG_INT64(2);
	size_t		id_len;
	size_t		body_len;
	char	   *msg_id = to_utf8(PG_GETARG_TEXT_PP(1), &id_len);
	char	   *body = to_utf8(PG_GETARG_TEXT_PP(3), &body_len);
	MvSigner   *signer;
	char		signature[MV_SIGNATURE_MAX];
	size_t		len;

	/* a full stop could move the border between id, timestamp and body */
	if (id_len == 0 || memchr(msg_id, '.', id_len) != NULL)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("invalid message id \"%s\"", text_to_cstring(PG_GETARG_TEXT_PP(1))),
				errhint("A message id is not empty and contains no full stop."));
	if (ts < 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("invalid timestamp %lld", (long long) ts),
				errhint("Give the seconds since 1970, as in extract(epoch from now())::bigint."));

	signer = signer_of(PG_GETARG_TEXT_PP(0));
	len = mv_sign(signer, msg_id, ts, body, body_len, signature);
	mv_signer_free(signer);
	if (len == 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("the secret given cannot sign"),
				errhint("A public key (whpk_) only verifies: sign with the private key (whsk_)."));
	PG_RETURN_TEXT_P(cstring_to_text_with_len(signature, len));
}

Datum
musicverse_verify_webhook(PG_FUNCTION_ARGS)
{
	Jsonb	   *headers = PG_GETARG_JSONB_P(1);
	int64		tolerance = interval_seconds(PG_GETARG_INTERVAL_P(3));
	MvSigner   *signer;
	char	   *msg_id;
	char	   *timestamp;
	char	   *signatures;
	char	   *body;
	size_t		id_len;
	size_t		timestamp_len;
	size_t		signatures_len;
	size_t		body_len;
	int64		ts;
	int64		now;
	int64		off;
	bool		ok;

	if (tolerance < 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("invalid tolerance: it is negative"),
				errhint("Give how far the timestamp may be off in either direction, as in interval '5 minutes'."));

	/* all that may raise comes before the signer, which nobody would free */
	msg_id = header_value(headers, "webhook-id", &id_len);
	timestamp = header_value(headers, "webhook-timestamp", &timestamp_len);
	signatures = header_value(headers, "webhook-signature", &signatures_len);
	body = to_utf8(PG_GETARG_TEXT_PP(2), &body_len);
	signer = signer_of(PG_GETARG_TEXT_PP(0));

	/* the header counts whole seconds, so does the comparison */
	now = mv_now() / USECS_PER_SEC +
		(int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;

	ok = msg_id != NULL && timestamp != NULL && signatures != NULL &&
		id_len > 0 && memchr(msg_id, '.', id_len) == NULL &&
		parse_timestamp(timestamp, timestamp_len, &ts);
	if (ok)
	{
		off = now > ts ? now - ts : ts - now;
		ok = off <= tolerance &&
			mv_verify(signer, msg_id, ts, body, body_len, signatures, signatures_len);
	}
	mv_signer_free(signer);
	PG_RETURN_BOOL(ok);
}

Datum
musicverse_new_webhook_secret(PG_FUNCTION_ARGS)
{
	uint8		raw[32];
	Datum		result;

	random_bytes(raw, sizeof(raw));
	result = key_text("whsec_", raw, sizeof(raw));
	explicit_bzero(raw, sizeof(raw));
	return result;
}

Datum
musicverse_new_webhook_keypair(PG_FUNCTION_ARGS)
{
	uint8		raw[2 * SEED_LEN];	/* seed, public key */
	size_t		public_len = SEED_LEN;
	EVP_PKEY   *pkey;
	bool		ok;
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	random_bytes(raw, SEED_LEN);
	pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, raw, SEED_LEN);
	ok = pkey != NULL && EVP_PKEY_get_raw_public_key(pkey, raw + SEED_LEN, &public_len) == 1;
	EVP_PKEY_free(pkey);
	if (!ok)
	{
		ERR_clear_error();
		explicit_bzero(raw, sizeof(raw));
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("OpenSSL could not make an Ed25519 key"),
				errhint("Sign with HMAC, or let OpenSSL's configuration allow Ed25519."));
	}

	values[0] = key_text("whsk_", raw, sizeof(raw));
	values[1] = key_text("whpk_", raw + SEED_LEN, SEED_LEN);
	explicit_bzero(raw, sizeof(raw));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

static MvSigner *
signer_of(text *secret)
{
	return mv_signer_create(VARDATA_ANY(secret), VARSIZE_ANY_EXHDR(secret));
}

/* The bytes that go over the wire, NUL-terminated behind *len. */
static char *
to_utf8(text *value, size_t *len)
{
	char	   *server = text_to_cstring(value);
	char	   *utf8 = pg_server_to_any(server, strlen(server), PG_UTF8);

	*len = strlen(utf8);
	return utf8;
}

/*
 * The header in UTF-8, its name compared without regard to case: a string or
 * the first of an array of strings. NULL when it is missing or something else.
 */
static char *
header_value(Jsonb *headers, const char *name, size_t *len)
{
	size_t		name_len = strlen(name);
	JsonbIterator *it;
	JsonbValue	v;
	char	   *found = NULL;

	if (!JB_ROOT_IS_OBJECT(headers))
		return NULL;

	it = JsonbIteratorInit(&headers->root);
	JsonbIteratorNext(&it, &v, false);	/* into the object */
	while (found == NULL && JsonbIteratorNext(&it, &v, true) == WJB_KEY)
	{
		bool		wanted = v.val.string.len == name_len &&
			pg_strncasecmp(v.val.string.val, name, name_len) == 0;

		JsonbIteratorNext(&it, &v, true);
		if (!wanted)
			continue;

		if (v.type == jbvBinary && JsonContainerIsArray(v.val.binary.data) &&
			JsonContainerSize(v.val.binary.data) > 0)
			v = *getIthJsonbValueFromContainer(v.val.binary.data, 0);
		if (v.type != jbvString)
			return NULL;
		found = pnstrdup(v.val.string.val, v.val.string.len);
	}
	if (found == NULL)
		return NULL;
	found = pg_server_to_any(found, strlen(found), PG_UTF8);
	*len = strlen(found);
	return found;
}

/* Decimal digits as a sender prints them: no sign, no leading zero. */
static bool
parse_timestamp(const char *value, size_t len, int64 *ts)
{
	if (len == 0 || len > TIMESTAMP_DIGITS || (value[0] == '0' && len > 1))
		return false;
	*ts = 0;
	for (size_t i = 0; i < len; i++)
	{
		if (value[i] < '0' || value[i] > '9')
			return false;
		*ts = *ts * 10 + (value[i] - '0');
	}
	return true;
}

/* A month counts 30 days; what is too long for that counts as for ever. */
static int64
interval_seconds(const Interval *interval)
{
	int64		days = (int64) interval->month * DAYS_PER_MONTH + interval->day;
	int64		total;

	if (pg_mul_s64_overflow(days, USECS_PER_DAY, &total) ||
		pg_add_s64_overflow(total, interval->time, &total))
		return days < 0 ? -1 : PG_INT64_MAX;
	return total < 0 ? -1 : total / USECS_PER_SEC;
}

static void
random_bytes(void *out, size_t len)
{
	if (!pg_strong_random(out, len))
		ereport(ERROR,
				errcode(ERRCODE_INTERNAL_ERROR),
				errmsg("could not generate random bytes"));
}

static Datum
key_text(const char *prefix, const uint8 *raw, size_t len)
{
	char		buffer[MV_SIGNATURE_MAX];
	size_t		prefix_len = strlen(prefix);
	Datum		result;

	memcpy(buffer, prefix, prefix_len);
	mv_base64_encode(raw, len, buffer + prefix_len);
	result = CStringGetTextDatum(buffer);
	explicit_bzero(buffer, sizeof(buffer));
	return result;
}
