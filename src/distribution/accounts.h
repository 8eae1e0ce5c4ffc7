/*
 * Accounts of users at partners: tokens by OAuth 2.1, for whoever asks a
 * partner something in a user's name. The rules are SQL
 * (distribution_accounts.sql).
 *
 * Who needs a token takes it in the transaction in which it records its
 * request, and tells in the one that settles whether it was taken. When there
 * is none yet, refreshing is asked for at the same time, and whoever waits
 * looks again a little later. Nothing here waits for a row's lock.
 *
 * All of it runs within mv_worker_transaction().
 */
#ifndef MV_ACCOUNTS_H
#define MV_ACCOUNTS_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

struct MvPartner;

typedef struct MvAccount
{
	const char *state;			/* ready, later, login */
	Jsonb	   *tokens;			/* access_token; NULL unless it is ready */
	int64		generation;		/* of the tokens, for what follows */
} MvAccount;

/* The token of a user at a partner, which holds for another minute. */
extern void mv_account_use(const char *partner, const char *user_id, MvAccount *account);

/* The partner refused it (401): it is refreshed once, and then the user has to log in again. */
extern void mv_account_refused(const char *partner, const char *user_id, int64 generation);

/* The partner took it. */
extern void mv_account_worked(const char *partner, const char *user_id, int64 generation);

/*
 * For the worker: begins up to so many requests for accounts at a partner, as
 * mv_dist_claim() does for work. True when there may be more.
 */
extern bool mv_account_claim(struct MvPartner *partner, int slots, TimestampTz now);

/* The same for users who have disconnected, of whom the partner is told: sign_out.c. */
extern bool mv_sign_out_claim(struct MvPartner *partner, int slots, TimestampTz now);

/* For that: the request for new tokens, and what was answered */
struct MvDistExchange;
extern void mv_account_ask_for_tokens(struct MvDistExchange *exchange, Jsonb *secrets);
extern char *mv_account_token_of(Jsonb *json, const char *name);

#endif							/* MV_ACCOUNTS_H */
