/*
 * The cache of keys. See cache.h for what it promises.
 *
 * An entry is written under an odd version and read without a lock: a reader
 * copies it and believes the copy when the version was even and is the same
 * after it. It holds the generations that its key, its user and everything had
 * before the tables were read, and is good as long as they still have them.
 *
 * Generations: one for all, and of keys and of users GENERATIONS each, shared
 * by hash. The low 16 bits of each count the transactions that are about to
 * commit a change (in doubt), the rest grows with every end of one. An entry
 * is made only of generations without doubt, so equality suffices.
 *
 * Each key has two sets of WAYS places where it may stand.
 *
 * In recovery nothing tells of changes, so the cache isn't used there.
 *
 * Locks: none but an entry's spinlock for the note of its last use. A
 * transaction that changed keys can't be prepared, as its end might come in
 * another process.
 */
#include "postgres.h"

#include <openssl/crypto.h>
#include <sys/socket.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "core/catalog.h"
#include "core/shared.h"
#include "fmgr.h"
#include "keys/cache.h"
#include "keys/load.h"
#include "miscadmin.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(musicverse_keys_changed);

#define WAYS			8
#define GENERATIONS		4096
#define IN_DOUBT		1
#define ENDED			((UINT64CONST(1) << 16) - IN_DOUBT)
#define DOUBT_MASK		UINT64CONST(0xffff)
#define USE_INTERVAL	USECS_PER_SEC
#define LINE			64		/* of the processor's caches, or a part of one */

enum
{
	OF_ALL,
	OF_KEY,
	OF_USER,
	KINDS
};

struct MvKeySlot
{
	pg_atomic_uint32 version;	/* odd while it is written */
	Oid			database;
	Oid			relation;		/* of api_keys: another one when the extension was created anew */
	unsigned char hash[MV_HASH_LEN];
	uint64		generation[KINDS];
	uint32		user;			/* which generation of users is the key's */
	pg_atomic_uint64 used_at;	/* TimestampTz */
	MvKey		key;

	slock_t		mutex;			/* for the note below, which outlives the entry */
	bool		use_is_new;
	Oid			use_database;
	MvUse		use;
};

typedef struct Cache
{
	pg_atomic_uint64 all;
	pg_atomic_uint64 of_key[GENERATIONS];
	pg_atomic_uint64 of_user[GENERATIONS];
	uint64		nsets;
} Cache;

static int	key_cache_size = 16384;
static Cache *cache = NULL;
static pg_atomic_uint64 *tags;	/* WAYS a set: the first 8 bytes of the hash, 0 = free */
static MvKeySlot *slots;

/* What this transaction has changed */
static bool pending = false;
static bool in_doubt = false;
static bool pending_all = false;
static uint64 pending_key[GENERATIONS / 64];
static uint64 pending_user[GENERATIONS / 64];

static uint64
number_of_sets(void)
{
	return (key_cache_size + WAYS - 1) / WAYS;
}

static Size
cache_size(void)
{
	Size		size = CACHELINEALIGN(sizeof(Cache)) + PG_CACHE_LINE_SIZE;

	size = add_size(size, mul_size(number_of_sets(), WAYS * sizeof(pg_atomic_uint64)));
	return add_size(size, mul_size(number_of_sets(), WAYS * sizeof(MvKeySlot)));
}

static void
cache_start(void *memory, LWLockPadded *locks, bool fresh)
{
	cache = memory;
	tags = (pg_atomic_uint64 *) CACHELINEALIGN((char *) memory + sizeof(Cache));
	slots = (MvKeySlot *) (tags + number_of_sets() * WAYS);
	if (!fresh)
		return;
	cache->nsets = number_of_sets();
	pg_atomic_init_u64(&cache->all, 0);
	for (int i = 0; i < GENERATIONS; i++)
	{
		pg_atomic_init_u64(&cache->of_key[i], 0);
		pg_atomic_init_u64(&cache->of_user[i], 0);
	}
	for (uint64 i = 0; i < cache->nsets * WAYS; i++)
	{
		pg_atomic_init_u64(&tags[i], 0);
		pg_atomic_init_u32(&slots[i].version, 0);
		pg_atomic_init_u64(&slots[i].used_at, 0);
		SpinLockInit(&slots[i].mutex);
	}
}

/* By bytes of the hash that tags don't hold */
static inline int
key_generation(const unsigned char hash[MV_HASH_LEN])
{
	return (hash[8] << 8 | hash[9]) % GENERATIONS;
}

static inline int
user_generation(const pg_uuid_t *user_id)
{
	return hash_bytes(user_id->data, UUID_LEN) % GENERATIONS;
}

static inline uint64
tag_of(const unsigned char hash[MV_HASH_LEN])
{
	uint64		tag;

	memcpy(&tag, hash, sizeof(tag));
	return tag | 1;
}

/* Where a tag may stand: the first places of two sets, so that none is full long before all are. */
static inline void
both_sets(uint64 tag, uint64 first[2])
{
	uint64		a = (uint64) (((unsigned __int128) tag * cache->nsets) >> 64);
	uint64		b = (uint64) (((unsigned __int128) (tag * UINT64CONST(0x9e3779b97f4a7c15)) * cache->nsets) >> 64);

	if (b == a)
		b = a + 1 < cache->nsets ? a + 1 : 0;
	first[0] = a * WAYS;
	first[1] = b * WAYS;
}

static inline bool
usable(void)
{
	return cache != NULL && !pending && !RecoveryInProgress();
}

/* Asks for what will be read of an entry, all at once: one after the other they would each wait for memory. */
static inline void
prefetch(const MvKeySlot *slot)
{
	for (Size at = 0; at <= offsetof(MvKeySlot, key.cidrs); at += LINE)
		__builtin_prefetch((const char *) slot + at);
	__builtin_prefetch(slot->key.scopes);
}

/* Copies what is used of a key; what a writer leaves half done may be anything. */
static inline void
copy_key(MvKey *to, const MvKey *from)
{
	memcpy(to, from, offsetof(MvKey, cidrs));
	if (to->ncidrs > 0)
		memcpy(to->cidrs, from->cidrs, Min(to->ncidrs, MV_MAX_CIDRS) * sizeof(MvCidr));
	if (to->scopes_len > 0)
		memcpy(to->scopes, from->scopes, Min(to->scopes_len, MV_SCOPES_LEN));
}

static inline bool
is_current(const uint64 generation[KINDS], uint32 user, const unsigned char hash[MV_HASH_LEN], const MvKey *key)
{
	return pg_atomic_read_u64(&cache->all) == generation[OF_ALL] &&
		(key->is_user || pg_atomic_read_u64(&cache->of_key[key_generation(hash)]) == generation[OF_KEY]) &&
		pg_atomic_read_u64(&cache->of_user[user % GENERATIONS]) == generation[OF_USER];
}

/* Reads an entry; false when it is another's, out of date or being written. */
static bool
read_slot(MvKeySlot *slot, Oid relation, const unsigned char hash[MV_HASH_LEN], MvKey *key)
{
	uint32		version = pg_atomic_read_u32(&slot->version);
	uint64		generation[KINDS];
	uint32		user;

	if (version & 1)
		return false;
	pg_read_barrier();
	if (slot->database != MyDatabaseId || slot->relation != relation ||
		CRYPTO_memcmp(slot->hash, hash, MV_HASH_LEN) != 0)
		return false;
	memcpy(generation, slot->generation, sizeof(generation));
	user = slot->user;
	copy_key(key, &slot->key);
	pg_read_barrier();
	return pg_atomic_read_u32(&slot->version) == version && is_current(generation, user, hash, key);
}

bool
mv_cache_find(const unsigned char hash[MV_HASH_LEN], MvKey *key, MvKeySlot **slot)
{
	Oid			relation;
	uint64		tag;
	uint64		first[2];

	if (!usable())
		return false;
	relation = mv_catalog()->api_keys;
	tag = tag_of(hash);
	both_sets(tag, first);
	__builtin_prefetch(&tags[first[1]]);
	for (int s = 0; s < 2; s++)
		for (uint64 i = first[s]; i < first[s] + WAYS; i++)
			if (pg_atomic_read_u64(&tags[i]) == tag)
			{
				prefetch(&slots[i]);
				if (!read_slot(&slots[i], relation, hash, key))
					continue;
				*slot = &slots[i];
				return true;
			}
	return false;
}

/* The entry to write: the same key's, a free one of the emptier set, or the one longest unused. */
static uint64
choose(uint64 tag)
{
	uint64		first[2];
	uint64		best;
	uint64		oldest = PG_UINT64_MAX;
	int			most = 0;

	both_sets(tag, first);
	best = first[0];
	for (int s = 0; s < 2; s++)
	{
		int			room = 0;
		uint64		last = 0;

		for (uint64 i = first[s]; i < first[s] + WAYS; i++)
		{
			uint64		held = pg_atomic_read_u64(&tags[i]);

			if (held == tag)
				return i;
			if (held == 0)
			{
				room++;
				last = i;
			}
			else if (most == 0 && pg_atomic_read_u64(&slots[i].used_at) < oldest)
			{
				oldest = pg_atomic_read_u64(&slots[i].used_at);
				best = i;
			}
		}
		if (room > most)
		{
			most = room;
			best = last;
		}
	}
	return best;
}

static MvKeySlot *
write_slot(const unsigned char hash[MV_HASH_LEN], const uint64 generation[KINDS], const MvKey *key)
{
	Oid			relation = mv_catalog()->api_keys;
	uint64		tag = tag_of(hash);
	uint64		i = choose(tag);
	MvKeySlot  *slot = &slots[i];
	uint32		version = pg_atomic_read_u32(&slot->version);

	if ((version & 1) || !pg_atomic_compare_exchange_u32(&slot->version, &version, version + 1))
		return NULL;
	slot->database = MyDatabaseId;
	slot->relation = relation;
	memcpy(slot->hash, hash, MV_HASH_LEN);
	memcpy(slot->generation, generation, sizeof(slot->generation));
	slot->user = user_generation(&key->user_id);
	copy_key(&slot->key, key);
	pg_atomic_write_u64(&slot->used_at, 0);
	pg_atomic_write_u64(&tags[i], tag);
	pg_write_barrier();
	pg_atomic_write_u32(&slot->version, version + 2);
	return slot;
}

static bool
doubtful(const uint64 generation[KINDS])
{
	return ((generation[OF_ALL] | generation[OF_KEY] | generation[OF_USER]) & DOUBT_MASK) != 0;
}

/* Whose bucket it is, with its limits: after a change of tier a new one begins, as large as the new tier has it. */
typedef struct BucketName
{
	pg_uuid_t	owner;
	double		ns_per_token;
	int64		burst;
} BucketName;

static void
name_bucket(MvKey *key)
{
	bool		by_user = key->is_user || key->by_user;
	BucketName	name = {by_user ? key->user_id : key->key_id, key->ns_per_token, key->burst};

	key->bucket = mv_bucket_id(by_user ? MV_BUCKET_USER : MV_BUCKET_KEY, &name, sizeof(name));
}

/* Reads the limits, after the generation on which they depend, and caches what is sound. */
static MvKeySlot *
complete(const unsigned char hash[MV_HASH_LEN], uint64 generation[KINDS], bool may_cache, MvKey *key)
{
	if (may_cache)
	{
		generation[OF_USER] = pg_atomic_read_u64(&cache->of_user[user_generation(&key->user_id)]);
		pg_memory_barrier();
	}
	mv_load_limits(&key->user_id, key);
	name_bucket(key);
	if (!may_cache || doubtful(generation))
		return NULL;
	return write_slot(hash, generation, key);
}

bool
mv_cache_read(const unsigned char hash[MV_HASH_LEN], MvKey *key, MvKeySlot **slot)
{
	uint64		generation[KINDS] = {0};
	bool		may_cache = usable();

	*slot = NULL;
	if (may_cache)
	{
		generation[OF_ALL] = pg_atomic_read_u64(&cache->all);
		generation[OF_KEY] = pg_atomic_read_u64(&cache->of_key[key_generation(hash)]);
		pg_memory_barrier();
	}
	if (!mv_load_key(hash, key))
		return false;
	*slot = complete(hash, generation, may_cache, key);
	return true;
}

bool
mv_cache_find_user(const pg_uuid_t *user_id, MvKey *key)
{
	unsigned char name[MV_HASH_LEN] = {0};
	uint64		generation[KINDS] = {0};
	bool		may_cache = usable();
	MvKeySlot  *slot;

	/* no hash has that many zeros */
	memcpy(name, user_id->data, UUID_LEN);
	if (mv_cache_find(name, key, &slot))
		return true;
	if (may_cache)
	{
		generation[OF_ALL] = pg_atomic_read_u64(&cache->all);
		pg_memory_barrier();
	}
	memset(key, 0, offsetof(MvKey, cidrs));
	key->is_user = true;
	key->user_id = *user_id;
	key->revoked_at = key->expires_at = DT_NOEND;
	key->ncidrs = -1;
	complete(name, generation, may_cache, key);
	return true;
}

void
mv_cache_note_use(MvKeySlot *slot, const MvKey *key, TimestampTz at, const inet *client_ip)
{
	MvUse		use = {0};
	uint64		last;

	if (slot == NULL)
		return;
	last = pg_atomic_read_u64(&slot->used_at);
	if ((uint64) at - last < USE_INTERVAL ||
		!pg_atomic_compare_exchange_u64(&slot->used_at, &last, (uint64) at))
		return;
	use.key_id = key->key_id;
	use.at = at;
	if (client_ip != NULL)
	{
		use.family = ip_family(client_ip);
		memcpy(use.address, ip_addr(client_ip), ip_addrsize(client_ip));
	}
	SpinLockAcquire(&slot->mutex);
	slot->use_is_new = true;
	slot->use_database = MyDatabaseId;
	slot->use = use;
	SpinLockRelease(&slot->mutex);
}

int
mv_cache_take_uses(MvUse *uses, int n, uint64 *from)
{
	int			taken = 0;

	for (; cache != NULL && *from < cache->nsets * WAYS && taken < n; (*from)++)
	{
		MvKeySlot  *slot = &slots[*from];

		if (!slot->use_is_new || slot->use_database != MyDatabaseId)
			continue;
		SpinLockAcquire(&slot->mutex);
		/* meanwhile it may have become another database's */
		if (slot->use_is_new && slot->use_database == MyDatabaseId)
		{
			uses[taken++] = slot->use;
			slot->use_is_new = false;
		}
		SpinLockRelease(&slot->mutex);
	}
	return taken;
}

static void
add_to_marked(const uint64 *marks, pg_atomic_uint64 *generations, uint64 value)
{
	for (int w = 0; w < GENERATIONS / 64; w++)
		for (uint64 left = marks[w]; left != 0; left &= left - 1)
			pg_atomic_fetch_add_u64(&generations[w * 64 + pg_rightmost_one_pos64(left)], value);
}

static void
add_to_pending(uint64 value)
{
	if (pending_all)
		pg_atomic_fetch_add_u64(&cache->all, value);
	add_to_marked(pending_key, cache->of_key, value);
	add_to_marked(pending_user, cache->of_user, value);
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (!pending)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			if (cache != NULL)
			{
				add_to_pending(IN_DOUBT);
				in_doubt = true;
			}
			break;
		case XACT_EVENT_PRE_PREPARE:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot prepare a transaction that changed API keys, tiers or accounts' tiers"),
					 errhint("Commit it in one phase.")));
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
			if (in_doubt)
				add_to_pending(ENDED);
			pending = in_doubt = pending_all = false;
			memset(pending_key, 0, sizeof(pending_key));
			memset(pending_user, 0, sizeof(pending_user));
			break;
		default:
			break;
	}
}

/* Marks the key or the user of a row that was or is there. */
static void
note_row(HeapTuple tuple, TupleDesc desc, bool of_key)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, mv_attnum(desc, of_key ? "key_hash" : "user_id"), desc, &isnull);
	int			place;

	if (isnull)
		return;
	if (of_key)
	{
		unsigned char hash[MV_HASH_LEN] = {0};
		text	   *hex = DatumGetTextPP(value);

		if (VARSIZE_ANY_EXHDR(hex) != 2 * MV_HASH_LEN)
			return;
		hex_decode(VARDATA_ANY(hex), 2 * MV_HASH_LEN, (char *) hash);
		place = key_generation(hash);
		pending_key[place / 64] |= UINT64CONST(1) << place % 64;
	}
	else
	{
		place = user_generation(DatumGetUUIDP(value));
		pending_user[place / 64] |= UINT64CONST(1) << place % 64;
	}
}

/* The trigger on all that verdicts depend on; its argument: key, user or all. */
Datum
musicverse_keys_changed(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	bool		of_key;

	if (!CALLED_AS_TRIGGER(fcinfo) || data->tg_trigger->tgnargs != 1)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("_keys_changed() is a trigger function")));
	pending = true;
	if (!TRIGGER_FIRED_FOR_ROW(data->tg_event) || strcmp(data->tg_trigger->tgargs[0], "all") == 0)
		pending_all = true;
	else
	{
		desc = RelationGetDescr(data->tg_relation);
		of_key = strcmp(data->tg_trigger->tgargs[0], "key") == 0;
		note_row(data->tg_trigtuple, desc, of_key);
		if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
			note_row(data->tg_newtuple, desc, of_key);
	}
	return PointerGetDatum(NULL);
}

void
mv_cache_init(void)
{
	static const MvSharedPart part = {"musicverse keys", 0, cache_size, cache_start};

	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable("musicverse.key_cache_size", "API keys and users that are kept in shared memory.",
								"Others are read from the tables at each call. Each takes 1.1 kB.",
								&key_cache_size, 16384, 64, 16 * 1024 * 1024, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	RegisterXactCallback(xact_callback, NULL);
	mv_shared_add(&part);
}
