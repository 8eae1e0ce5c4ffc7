/*
 * Which webhooks of a user want an event.
 */
#ifndef MV_MATCH_H
#define MV_MATCH_H

#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/jsonpath.h"
#include "utils/uuid.h"

typedef struct MvPattern
{
	char	   *text;
	int			len;			/* of what must be equal: without the '*' of a prefix */
	bool		prefix;
} MvPattern;

typedef struct MvSubscription
{
	pg_uuid_t	webhook_id;
	MvPattern  *patterns;
	int			npatterns;
	JsonPath   *filter;			/* NULL = none */
	JsonPath   *ordering_key;	/* NULL = none */
} MvSubscription;

typedef struct MvSubscriptions
{
	pg_uuid_t	user_id;		/* hash key */
	MvSubscription *list;
	int			count;
	char		status;			/* for the hash table */
} MvSubscriptions;

/*
 * The webhooks of a user, from a cache of this backend that follows commits
 * and this transaction's own changes. Valid until the next call. Reads the
 * table on a miss with the latest snapshot.
 */
extern const MvSubscriptions *mv_subscriptions(const pg_uuid_t *user_id);

/* "*", "prefix.*" or the exact name. */
extern MvPattern mv_pattern(char *text, int len);
extern bool mv_pattern_matches(const MvPattern *pattern, const char *type, int type_len);

/*
 * A filter holds when its path yields true or, being no predicate, anything
 * but null. An error within the path counts as not holding.
 */
extern bool mv_filter_matches(JsonPath *filter, Jsonb *body);

/* Hash of what the path yields; 0 = no key. */
extern int64 mv_ordering_hash(JsonPath *path, Jsonb *body);

#endif							/* MV_MATCH_H */
