/*
 * The verdict on a call: who it is, what it may do, how much is left.
 *
 * What costs least comes first, and what refuses takes nothing: the form, the
 * cache, then the tables, and the limits last. A wrong key costs a look-up in
 * the tables, so an address that shows many of them isn't looked up any more
 * for a while, unless its key is in the cache.
 *
 * Locks: none of its own; see bucket.h, cache.h and quota.h.
 */
#include "postgres.h"

#include <sys/socket.h>

#include "core/clock.h"
#include "core/shared.h"
#include "keys/bucket.h"
#include "keys/cache.h"
#include "keys/key_text.h"
#include "keys/keys.h"
#include "keys/quota.h"
#include "keys/rate.h"
#include "keys/signature.h"
#include "keys/verdict.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

static int	anonymous_burst = 20;
static double anonymous_refill = 1.0;
static int	wrong_key_burst = 20;
static double wrong_key_refill = 0.2;

static const struct
{
	const char *name;
	int			status;
	const char *message;
}			reasons[] = {
	[MV_ALLOWED] = {NULL, 200, NULL},
	[MV_MALFORMED] = {"malformed", 401, "this is no API key: its form or checksum is wrong"},
	[MV_UNKNOWN] = {"unknown", 401, "no such API key"},
	[MV_REVOKED] = {"revoked", 401, "the API key was revoked"},
	[MV_EXPIRED] = {"expired", 401, "the API key has expired"},
	[MV_SIGNATURE] = {"signature", 401, "the API key needs signed requests"},
	[MV_SCOPE] = {"scope", 403, "the API key lacks the scope"},
	[MV_IP] = {"ip", 403, "the API key may not be used from this address"},
	[MV_RATE_LIMITED] = {"rate_limited", 429, "too many requests"},
	[MV_QUOTA_EXCEEDED] = {"quota_exceeded", 429, "the quota is used up"},
};

const char *
mv_reason_name(MvReason reason)
{
	return reasons[reason].name;
}

const char *
mv_reason_message(const MvVerdict *verdict, const MvCall *call)
{
	if (verdict->reason == MV_SCOPE && call != NULL && call->scope != NULL)
		return psprintf("%s \"%.*s\"", reasons[MV_SCOPE].message, pg_mbcliplen(call->scope, call->scope_len, 64), call->scope);
	if (verdict->reason == MV_SIGNATURE && call != NULL && call->request != NULL)
		return "the signature is wrong, too old, or was used already";
	if (verdict->retry_us < 0)
		return "the cost of the request is above the limit";
	return reasons[verdict->reason].message;
}

static void
refuse(MvVerdict *verdict, MvReason reason)
{
	verdict->allowed = false;
	verdict->reason = reason;
	verdict->status = reasons[reason].status;
}

/* In shadow mode a limit only tells that it would refuse. */
static void
refuse_by_limit(MvVerdict *verdict, MvReason reason)
{
	if (mv_rate_limit_shadow)
	{
		verdict->reason = reason;
		mv_bucket_note_shadow();
	}
	else
		refuse(verdict, reason);
}

static void
begin(MvVerdict *verdict)
{
	verdict->allowed = true;
	verdict->status = 200;
	verdict->reason = MV_ALLOWED;
	verdict->identified = verdict->has_key = false;
	verdict->policy = NULL;
	verdict->limit = -1;
	verdict->remaining = verdict->reset_us = verdict->window_us = verdict->retry_us = 0;
	verdict->judged_at = 0;
}

static void
report(MvVerdict *verdict, const char *policy, int64 limit, int64 remaining, int64 reset_us, int64 window_us)
{
	verdict->policy = policy;
	verdict->limit = limit;
	verdict->remaining = remaining;
	verdict->reset_us = reset_us;
	verdict->window_us = window_us;
	if (verdict->judged_at == 0)
		verdict->judged_at = mv_now();
}

static void
report_bucket(MvVerdict *verdict, const char *policy, int64 capacity, double ns_per_token, const MvBucketAnswer *answer)
{
	report(verdict, policy, capacity, answer->remaining, MV_NS_TO_US(answer->reset_ns),
		   (int64) (capacity * ns_per_token / 1000));
	verdict->retry_us = answer->retry_ns < 0 ? -1 : MV_NS_TO_US(answer->retry_ns);
}

/* Of the quotas that hold, reports the one that refused or has less left than what is reported. */
static void
report_quota(MvVerdict *verdict, const int64 limits[MV_PERIODS], const MvQuotaAnswer *answer, int cost, TimestampTz now)
{
	static const char *const names[] = {[MV_DAY] = "day", [MV_MONTH] = "month"};

	for (int p = 0; p < MV_PERIODS; p++)
	{
		int64		left = Max(limits[p] - answer->used[p], 0);
		int64		until = Max(answer->resets_at[p] - now, 0);

		if (limits[p] < 0 ||
			(answer->allowed ? verdict->limit >= 0 && left >= verdict->remaining : answer->violated != p))
			continue;
		report(verdict, names[p], limits[p], left, until, p == MV_DAY ? USECS_PER_DAY : 30 * USECS_PER_DAY);
		if (!answer->allowed)
			verdict->retry_us = cost > limits[p] ? -1 : until;
	}
}

/* The limits of a key or a user, the last thing that is asked. */
static void
take(MvVerdict *verdict, const MvKey *key, int cost, TimestampTz now)
{
	MvBucketAnswer bucket;
	MvQuotaAnswer quota;

	verdict->judged_at = now;
	mv_bucket_take(key->bucket, cost, key->burst, key->ns_per_token, &bucket);
	report_bucket(verdict, "burst", key->burst, key->ns_per_token, &bucket);
	if (!bucket.allowed)
	{
		refuse_by_limit(verdict, MV_RATE_LIMITED);
		return;
	}
	mv_quota_take(&key->user_id, cost, key->quota, now, &quota);
	report_quota(verdict, key->quota, &quota, cost, now);
	if (!quota.allowed)
	{
		if (!bucket.no_room)
			mv_bucket_give_back(key->bucket, cost, key->ns_per_token);
		refuse_by_limit(verdict, MV_QUOTA_EXCEEDED);
	}
}

/* An address as its bucket is named: IPv6 by its network of 64 bits, as one host has all of it. */
typedef struct Address
{
	unsigned char family;
	unsigned char addr[16];
} Address;

static void
canonical(const inet *client_ip, Address *address)
{
	static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

	memset(address, 0, sizeof(*address));
	address->family = ip_family(client_ip);
	memcpy(address->addr, ip_addr(client_ip), ip_addrsize(client_ip));
	if (address->family == PGSQL_AF_INET6 && memcmp(address->addr, mapped, sizeof(mapped)) == 0)
	{
		address->family = PGSQL_AF_INET;
		memmove(address->addr, address->addr + 12, 4);
		memset(address->addr + 4, 0, 12);
	}
}

static MvBucketId
address_bucket(MvBucketKind kind, const inet *client_ip)
{
	Address		address;

	canonical(client_ip, &address);
	return mv_bucket_id(kind, &address, address.family == PGSQL_AF_INET ? 1 + 4 : 1 + 8);
}

static bool
address_allowed(const MvKey *key, const inet *client_ip)
{
	Address		address;

	if (key->ncidrs < 0)
		return true;
	if (client_ip == NULL)
		return false;
	canonical(client_ip, &address);
	for (int i = 0; i < key->ncidrs; i++)
		if (key->cidrs[i].family == address.family &&
			bitncmp(key->cidrs[i].addr, address.addr, key->cidrs[i].bits) == 0)
			return true;
	return false;
}

static bool
scope_allowed(const MvKey *key, const char *scope, int len)
{
	if (key->scopes_len == 0 || scope == NULL)
		return true;
	for (int at = 0; at < key->scopes_len;)
	{
		int			n = strnlen(key->scopes + at, key->scopes_len - at);

		if (n == len && memcmp(key->scopes + at, scope, len) == 0)
			return true;
		at += n + 1;
	}
	return false;
}

/* A signature that is there must be good, also when the key needs none. */
static bool
signature_allowed(const MvKey *key, const MvCall *call)
{
	if (call->request != NULL)
		return mv_signature_verify(call->key, call->key_len, call->signatures, call->signatures_len, call->request,
								   mv_signature_tolerance);
	return call->is_signed || !key->needs_signature;
}

/*
 * Takes the tokens of a wrong key, or only looks whether so many are left.
 * False when not, and then tells so.
 */
static bool
wrong_key(const inet *client_ip, int cost, bool look, MvVerdict *verdict)
{
	MvBucketAnswer answer;

	if (client_ip == NULL || wrong_key_burst == 0)
		return true;
	cost = Min(cost, wrong_key_burst);
	mv_bucket_take(address_bucket(MV_BUCKET_WRONG, client_ip), look ? 0 : cost, wrong_key_burst, 1e9 / wrong_key_refill, &answer);
	if (look ? answer.remaining >= cost : answer.allowed)
		return true;
	refuse(verdict, MV_RATE_LIMITED);
	report_bucket(verdict, "address", wrong_key_burst, 1e9 / wrong_key_refill, &answer);
	verdict->retry_us = (int64) ((cost - answer.remaining) * 1e6 / wrong_key_refill);
	return false;
}

/* Finds the key; refuses and returns false when there is none, or nobody looks for it. */
static bool
identify(const MvCall *call, MvVerdict *verdict, MvKey *key, MvKeySlot **slot)
{
	unsigned char hash[MV_HASH_LEN];

	mv_key_hash(call->key, call->key_len, hash);
	if (mv_cache_find(hash, key, slot))
		return true;
	if (!wrong_key(call->client_ip, 1, true, verdict))
		return false;
	if (mv_cache_read(hash, key, slot))
		return true;
	wrong_key(call->client_ip, 1, false, verdict);
	refuse(verdict, MV_UNKNOWN);
	return false;
}

/* A good key that may not do this: takes nothing, but is told what is left of its limit. */
static void
refuse_known(MvVerdict *verdict, MvReason reason, const MvKey *key)
{
	MvBucketAnswer bucket;

	mv_bucket_take(key->bucket, 0, key->burst, key->ns_per_token, &bucket);
	report_bucket(verdict, "burst", key->burst, key->ns_per_token, &bucket);
	verdict->retry_us = 0;
	refuse(verdict, reason);
}

void
mv_verdict_key(const MvCall *call, MvVerdict *verdict)
{
	MvKey		key;
	MvKeySlot  *slot;
	TimestampTz now;

	begin(verdict);
	if (!mv_key_is_formed(call->key, call->key_len))
	{
		refuse(verdict, MV_MALFORMED);
		return;
	}
	if (!identify(call, verdict, &key, &slot))
		return;
	verdict->identified = verdict->has_key = true;
	verdict->key_id = key.key_id;
	verdict->user_id = key.user_id;
	strlcpy(verdict->tier, key.tier, sizeof(verdict->tier));

	mv_bucket_prefetch(key.bucket);
	mv_quota_prefetch(&key.user_id);
	now = mv_now();
	if (key.revoked_at <= now)
		refuse(verdict, MV_REVOKED);
	else if (key.expires_at <= now)
		refuse(verdict, MV_EXPIRED);
	else if (!signature_allowed(&key, call))
		refuse(verdict, MV_SIGNATURE);
	else if (!address_allowed(&key, call->client_ip))
		refuse_known(verdict, MV_IP, &key);
	else if (!scope_allowed(&key, call->scope, call->scope_len))
		refuse_known(verdict, MV_SCOPE, &key);
	else
	{
		mv_cache_note_use(slot, &key, now, call->client_ip);
		take(verdict, &key, call->cost, now);
	}
}

void
mv_verdict_user(const pg_uuid_t *user_id, int cost, MvVerdict *verdict)
{
	MvKey		key;

	begin(verdict);
	mv_cache_find_user(user_id, &key);
	verdict->identified = true;
	verdict->user_id = key.user_id;
	strlcpy(verdict->tier, key.tier, sizeof(verdict->tier));
	take(verdict, &key, cost, mv_now());
}

void
mv_verdict_address(const inet *client_ip, int cost, MvVerdict *verdict)
{
	MvBucketAnswer answer;
	double		ns_per_token = 1e9 / anonymous_refill;

	begin(verdict);
	if (client_ip == NULL || anonymous_burst == 0)
		return;
	mv_bucket_take(address_bucket(MV_BUCKET_ADDRESS, client_ip), cost, anonymous_burst, ns_per_token, &answer);
	report_bucket(verdict, "address", anonymous_burst, ns_per_token, &answer);
	if (!answer.allowed)
		refuse_by_limit(verdict, MV_RATE_LIMITED);
}

void
mv_verdict_proof(const inet *client_ip, int cost, MvVerdict *verdict)
{
	begin(verdict);
	wrong_key(client_ip, cost, true, verdict);
}

void
mv_false_proof(const inet *client_ip, int cost)
{
	MvVerdict	unused;

	wrong_key(client_ip, cost, false, &unused);
}

void
mv_verdict_init(void)
{
	DefineCustomIntVariable("musicverse.anonymous_burst", "Calls without a key that one address may make at once.",
							"IPv6 addresses count by their network of 64 bits. 0 = any number.",
							&anonymous_burst, 20, 0, 1000000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("musicverse.anonymous_refill", "Calls a second without a key that one address may make in the long run.",
							 NULL, &anonymous_refill, 1.0, 0.001, 1e6, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.wrong_key_burst", "Unknown keys that one address may show before it is not looked up any more.",
							"0 = any number.", &wrong_key_burst, 20, 0, 1000000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("musicverse.wrong_key_refill", "Unknown keys a second that one address may show in the long run.",
							 NULL, &wrong_key_refill, 0.2, 0.001, 1e6, PGC_SIGHUP, 0, NULL, NULL, NULL);
}
