/*
 * Sets up the room: settings, shared memory and callbacks of its parts.
 */
#include "postgres.h"

#include "keys/bucket.h"
#include "keys/cache.h"
#include "keys/keys.h"
#include "keys/pre_request.h"
#include "keys/quota.h"
#include "keys/signature.h"
#include "keys/usage.h"
#include "keys/verdict.h"

void
mv_keys_init(void)
{
	mv_bucket_init();
	mv_cache_init();
	mv_verdict_init();
	mv_quota_init();
	mv_usage_init();
	mv_signature_init();
	mv_pre_request_init();
}
