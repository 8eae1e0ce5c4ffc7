/*
 * Signed requests. See signature.h.
 *
 * What is signed is five lines: "v1", the method in capitals, the path with
 * its query string, the moment, and the SHA-256 of the body in hex. None of
 * them can contain a line's end, so two requests never have the same lines.
 *
 * A signature that was found good stands in one of WAYS places of a set until
 * its moment is further away than the tolerance it was verified with, and then
 * until its place is needed. When all places of a set are needed the signature
 * is refused: a replay must not pass because there was no room.
 *
 * What is no longer remembered is told by one number, not_before: nothing
 * signed before is good. It grows with each signature that loses its place, so
 * that neither a clock that is set back nor a larger tolerance makes one good
 * again. A clean restart keeps all of it by the state file. After a crash
 * signatures made before the server started are refused.
 *
 * Locks: the partition's, exclusive, for a look at one set.
 */
#include "postgres.h"

#include <ctype.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "common/hashfn.h"
#include "core/clock.h"
#include "core/shared.h"
#include "core/state.h"
#include "fmgr.h"
#include "keys/key_text.h"
#include "keys/signature.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(musicverse_request_signature);
PG_FUNCTION_INFO_V1(musicverse_verify_request_signature);

#define WAYS			8
#define PARTITIONS		32
#define VERSION			"v1="
#define VERSION_LEN		3
#define MAC_LEN			32
#define SIGNATURE_LEN	(VERSION_LEN + 2 * MAC_LEN)
#define MAX_SIGNATURES	8
#define MAX_TOLERANCE_S 3600

typedef struct Seen
{
	unsigned char mac[16];		/* its first half suffices to tell signatures apart */
	Oid			database;		/* InvalidOid = free */
	int64		ts;				/* its moment, in seconds since 1970 */
	int64		until;			/* its place is needed */
} Seen;

typedef struct Signatures
{
	uint64		nsets;
	pg_atomic_uint64 not_before;	/* what was signed before can't be known to be new */
	pg_atomic_uint64 no_room;
} Signatures;

int			mv_signature_tolerance = 300;

static int	signature_memory = 65536;
static Signatures *signatures = NULL;
static Seen *seen;
static LWLockPadded *locks;

static uint64
number_of_sets(void)
{
	return (uint64) signature_memory * 3 / 2 / WAYS + 1;
}

static Size
signatures_size(void)
{
	return add_size(MAXALIGN(sizeof(Signatures)), mul_size(number_of_sets() * WAYS, sizeof(Seen)));
}

static int64
seconds_now(void)
{
	return (mv_now() + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY) / USECS_PER_SEC;
}

static void
signatures_start(void *memory, LWLockPadded *tranche, bool fresh)
{
	signatures = memory;
	seen = (Seen *) ((char *) memory + MAXALIGN(sizeof(Signatures)));
	locks = tranche;
	if (!fresh)
		return;
	signatures->nsets = number_of_sets();
	pg_atomic_init_u64(&signatures->not_before, (uint64) (seconds_now() + 1));
	pg_atomic_init_u64(&signatures->no_room, 0);
}

static Seen *
set_of(const unsigned char *mac, int *partition)
{
	uint64		hash;
	uint64		set;

	memcpy(&hash, mac, sizeof(hash));
	set = (uint64) (((unsigned __int128) hash * signatures->nsets) >> 64);
	*partition = set % PARTITIONS;
	return &seen[set * WAYS];
}

static inline int64
not_before(void)
{
	return (int64) pg_atomic_read_u64(&signatures->not_before);
}

/* A signature of this moment isn't remembered any more. */
static void
forget(int64 ts)
{
	uint64		before = pg_atomic_read_u64(&signatures->not_before);

	while ((int64) before <= ts &&
		   !pg_atomic_compare_exchange_u64(&signatures->not_before, &before, (uint64) ts + 1))
		;
}

/* The place of a set for another signature: a free one, or the one needed least long; NULL for none. */
static Seen *
make_room(Seen *set, int64 now)
{
	Seen	   *room = NULL;

	for (int i = 0; i < WAYS; i++)
	{
		if (!OidIsValid(set[i].database))
			return &set[i];
		if (set[i].until < now && (room == NULL || set[i].until < room->until))
			room = &set[i];
	}
	if (room != NULL)
		forget(room->ts);
	return room;
}

static bool
is_known(const Seen *set, const unsigned char *mac)
{
	for (int i = 0; i < WAYS; i++)
		if (set[i].database == MyDatabaseId && memcmp(set[i].mac, mac, sizeof(set[i].mac)) == 0)
			return true;
	return false;
}

/* Remembers a signature. False when it was there, may have been, or there is no room. */
static bool
is_new(const unsigned char *mac, int64 ts, int64 until, int64 now)
{
	int			partition;
	Seen	   *set = set_of(mac, &partition);
	Seen	   *room = NULL;
	bool		refused;

	LWLockAcquire(&locks[partition].lock, LW_EXCLUSIVE);
	refused = is_known(set, mac) || ts < not_before();
	if (!refused)
		room = make_room(set, now);
	if (room != NULL)
	{
		memcpy(room->mac, mac, sizeof(room->mac));
		room->ts = ts;
		room->until = until;
		room->database = MyDatabaseId;
	}
	LWLockRelease(&locks[partition].lock);
	if (!refused && room == NULL && pg_atomic_fetch_add_u64(&signatures->no_room, 1) == 0)
		ereport(LOG,
				(errmsg("signed requests are refused as there is no room to remember them"),
				 errhint("Raise musicverse.signature_memory and restart the server.")));
	return room != NULL;
}

/* The lines' rule: what a method and a path may consist of. */
static bool
is_line(const char *text, int len, bool method)
{
	for (int i = 0; i < len; i++)
	{
		unsigned char c = text[i];

		if (method ? !isalpha(c) || c >= 0x80 : c <= ' ' || c == 0x7f)
			return false;
	}
	return len > 0;
}

static void
compute(const char *secret, int secret_len, const MvRequest *request, unsigned char mac[MAC_LEN])
{
	StringInfoData lines;
	unsigned char hash[MV_HASH_LEN];
	char		hex[2 * MV_HASH_LEN];
	unsigned int len;

	initStringInfo(&lines);
	appendStringInfoString(&lines, "v1\n");
	for (int i = 0; i < request->method_len; i++)
		appendStringInfoChar(&lines, pg_ascii_toupper((unsigned char) request->method[i]));
	appendStringInfoChar(&lines, '\n');
	appendBinaryStringInfo(&lines, request->path, request->path_len);
	appendStringInfo(&lines, "\n" INT64_FORMAT "\n", request->ts);
	mv_key_hash(request->body, request->body_len, hash);
	hex_encode((char *) hash, MV_HASH_LEN, hex);
	appendBinaryStringInfo(&lines, hex, sizeof(hex));
	if (HMAC(EVP_sha256(), secret, secret_len, (unsigned char *) lines.data, lines.len, mac, &len) == NULL || len != MAC_LEN)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not compute HMAC")));
	pfree(lines.data);
}

bool
mv_signature_verify(const char *secret, int secret_len, const char *text, int text_len,
					const MvRequest *request, int64 tolerance_s)
{
	unsigned char mac[MAC_LEN];
	char		expected[2 * MAC_LEN];
	int64		now;
	int			given = 0;
	bool		good = false;

	if (signatures == NULL)
		mv_shared_require("verifying of signed requests");
	now = seconds_now();
	if (request->ts < now - tolerance_s || request->ts > now + tolerance_s || request->ts < not_before() ||
		!is_line(request->method, request->method_len, true) || !is_line(request->path, request->path_len, false))
		return false;
	compute(secret, secret_len, request, mac);
	hex_encode((char *) mac, MAC_LEN, expected);
	for (int at = 0; at < text_len && given < MAX_SIGNATURES; given++)
	{
		int			end = at;

		while (end < text_len && text[end] != ' ')
			end++;
		if (end - at == SIGNATURE_LEN && memcmp(text + at, VERSION, VERSION_LEN) == 0)
			good |= CRYPTO_memcmp(text + at + VERSION_LEN, expected, sizeof(expected)) == 0;
		at = end + 1;
	}
	return good && is_new(mac, request->ts, request->ts + tolerance_s, now);
}

void
mv_signature_counts(int64 *room, int64 *used, int64 *no_room)
{
	int64		now = seconds_now();

	*room = signature_memory;
	*used = *no_room = 0;
	if (signatures == NULL)
		return;
	for (uint64 i = 0; i < signatures->nsets * WAYS; i++)
		if (OidIsValid(seen[i].database) && seen[i].until >= now)
			(*used)++;
	*no_room = pg_atomic_read_u64(&signatures->no_room);
}

static void
request_argument(FunctionCallInfo fcinfo, int arg, const char *name, const char **data, int *len)
{
	text	   *value;

	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	value = PG_GETARG_TEXT_PP(arg);
	*data = VARDATA_ANY(value);
	*len = VARSIZE_ANY_EXHDR(value);
}

/* method, path, ts and body from an argument on; a body of NULL is an empty one. */
static void
request_arguments(FunctionCallInfo fcinfo, int from, MvRequest *request)
{
	request_argument(fcinfo, from, "method", &request->method, &request->method_len);
	request_argument(fcinfo, from + 1, "path", &request->path, &request->path_len);
	if (PG_ARGISNULL(from + 2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("ts must not be null")));
	request->ts = PG_GETARG_INT64(from + 2);
	request->body = "";
	request->body_len = 0;
	if (!PG_ARGISNULL(from + 3))
		request_argument(fcinfo, from + 3, "body", &request->body, &request->body_len);
}

static void
secret_argument(FunctionCallInfo fcinfo, const char **secret, int *len)
{
	request_argument(fcinfo, 0, "secret", secret, len);
	if (*len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("secret must not be empty"),
				 errhint("Requests of an API key are signed with its text.")));
}

/* request_signature(secret text, method text, path text, ts bigint, body text) */
Datum
musicverse_request_signature(PG_FUNCTION_ARGS)
{
	const char *secret;
	int			secret_len;
	MvRequest	request;
	unsigned char mac[MAC_LEN];
	char		result[SIGNATURE_LEN];

	secret_argument(fcinfo, &secret, &secret_len);
	request_arguments(fcinfo, 1, &request);
	if (!is_line(request.method, request.method_len, true))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%.*s\" is no method of HTTP", pg_mbcliplen(request.method, request.method_len, 32), request.method)));
	if (!is_line(request.path, request.path_len, false))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("path must not be empty or contain blanks or control characters"),
				 errhint("Sign it as it is sent: percent-encoded, with the query string.")));
	compute(secret, secret_len, &request, mac);
	memcpy(result, VERSION, VERSION_LEN);
	hex_encode((char *) mac, MAC_LEN, result + VERSION_LEN);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(result, SIGNATURE_LEN));
}

/* verify_request_signature(secret text, signature text, method text, path text, ts bigint, body text, tolerance interval) */
Datum
musicverse_verify_request_signature(PG_FUNCTION_ARGS)
{
	const char *secret;
	int			secret_len;
	MvRequest	request;
	const char *given;
	int			given_len;
	Interval   *tolerance;
	int64		us;

	mv_shared_require("verify_request_signature()");
	secret_argument(fcinfo, &secret, &secret_len);
	if (PG_ARGISNULL(6))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("tolerance must not be null")));
	tolerance = PG_GETARG_INTERVAL_P(6);
	us = tolerance->day != 0 || tolerance->month != 0 ? PG_INT64_MAX : tolerance->time;
	if (us < USECS_PER_SEC || us > MAX_TOLERANCE_S * USECS_PER_SEC)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tolerance must be between 1 second and 1 hour")));
	/* what a caller got from its client may be missing: that is no signature */
	for (int i = 1; i <= 4; i++)
		if (PG_ARGISNULL(i))
			PG_RETURN_BOOL(false);
	request_argument(fcinfo, 1, "signature", &given, &given_len);
	request_arguments(fcinfo, 2, &request);
	PG_RETURN_BOOL(mv_signature_verify(secret, secret_len, given, given_len, &request, us / USECS_PER_SEC));
}

/* What needs no place any more, or finds none, is not kept; not_before says so then. */
static void
save_signatures(StringInfo out)
{
	int64		now = seconds_now();
	int64		earliest = not_before();
	int			head = out->len;

	appendBinaryStringInfo(out, (char *) &earliest, sizeof(earliest));
	for (uint64 i = 0; i < signatures->nsets * WAYS; i++)
	{
		Seen		saved = seen[i];

		if (!OidIsValid(saved.database))
			continue;
		if (saved.until >= now && mv_state_has_room(out, sizeof(saved)))
			appendBinaryStringInfo(out, (char *) &saved, sizeof(saved));
		else
			earliest = Max(earliest, saved.ts + 1);
	}
	memcpy(out->data + head, &earliest, sizeof(earliest));
}

/* What save_signatures() can have written */
static bool
is_sound(const Seen *saved)
{
	return OidIsValid(saved->database) && saved->ts >= 0 && saved->ts < PG_INT64_MAX / 2 &&
		saved->until >= saved->ts && saved->until - saved->ts <= MAX_TOLERANCE_S;
}

static void
load_signatures(const char *data, Size len, int64 age_us, bool clean)
{
	int64		earliest;
	bool		complete = true;

	if (!clean || len < sizeof(earliest))
		return;
	memcpy(&earliest, data, sizeof(earliest));
	for (Size at = sizeof(earliest); at + sizeof(Seen) <= len; at += sizeof(Seen))
	{
		Seen		saved;
		int			partition;
		Seen	   *set;
		int			i = 0;

		memcpy(&saved, data + at, sizeof(saved));
		set = set_of(saved.mac, &partition);
		while (i < WAYS && OidIsValid(set[i].database))
			i++;
		if (i < WAYS && is_sound(&saved))
			set[i] = saved;
		else
			complete = false;
	}
	/* nothing was verified since: what was new then is new now */
	if (complete)
		pg_atomic_write_u64(&signatures->not_before, (uint64) earliest);
}

void
mv_signature_init(void)
{
	static const MvSharedPart part = {"musicverse signatures", PARTITIONS, signatures_size, signatures_start};
	static const MvStateSection section = {"signatures", 2, save_signatures, load_signatures};

	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable("musicverse.signature_memory", "Signatures of requests that are remembered at once.",
								"Each until its tolerance is over; more are refused. Each takes 60 bytes.",
								&signature_memory, 65536, 128, 64 * 1024 * 1024, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.signature_tolerance", "How far the moment of a signed request may be away.",
							NULL, &mv_signature_tolerance, 300, 1, MAX_TOLERANCE_S, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	mv_shared_add(&part);
	mv_state_add(&section);
}
