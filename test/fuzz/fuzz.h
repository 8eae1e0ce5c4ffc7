/*
 * The parsers of foreign bytes, alone, outside of a server: each target is
 * called with inputs that main.c makes, in a program built with sanitizers.
 *
 * A target gets its input in a block of exactly that size with a NUL behind
 * it, so that reading one byte beyond is seen. What it allocates by palloc is
 * freed after each run; what comes from malloc it has to free. Errors end the
 * run, as they would end a statement.
 */
#ifndef MV_FUZZ_H
#define MV_FUZZ_H

#include "postgres.h"

#include "datatype/timestamp.h"

typedef struct FuzzTarget
{
	const char *name;
	void		(*run) (const char *data, size_t len);
	const char *const *words;	/* what inputs are made of besides random bytes; NULL at the end */
} FuzzTarget;

extern const FuzzTarget guard_targets[],
			response_targets[],
			sign_targets[],
			timestamp_targets[],
			schedule_targets[],
			url_targets[],
			attempt_targets[],
			key_text_targets[],
			request_targets[],
			state_buckets_targets[],
			state_usage_targets[],
			state_quotas_targets[],
			proxies_targets[],
			operation_targets[],
			identifiers_targets[],
			acknowledgement_targets[],
			audio_targets[];

/* server.c: runs the target; false when it raised */
extern bool fuzz_run(const FuzzTarget *target, const char *data, size_t len);

/* server.c: the clock of the server, which stands still unless a target moves it */
extern TimestampTz fuzz_now;

/* main.c: stops with the input shown unless the condition holds */
#define must(condition) ((condition) ? (void) 0 : fuzz_failed(#condition))
extern void fuzz_failed(const char *condition) pg_attribute_noreturn();

#endif							/* MV_FUZZ_H */
