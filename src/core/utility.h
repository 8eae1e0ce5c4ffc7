/*
 * Utility commands that concern the workers.
 */
#ifndef MV_UTILITY_H
#define MV_UTILITY_H

#include "postgres.h"

/* Installs the hook and the transaction callback. Called from _PG_init. */
extern void mv_utility_init(void);

/* At the commit of this transaction: wakes the launcher and the workers of this database. */
extern void mv_wake_at_commit(void);

/*
 * At the commit of this transaction: wakes one worker of this database, by its
 * place. For rows that it reads itself: the others need not look at anything.
 */
extern void mv_wake_place_at_commit(int place);

/* Called after every utility command and every executor run of this backend. */
extern void (*mv_statement_end) (void);

#endif							/* MV_UTILITY_H */
