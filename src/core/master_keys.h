/*
 * The file of master keys: what secrets are sealed under. For seal.c alone.
 *
 * Look-ups don't raise: they return NULL and fill in a problem, which the
 * caller raises or hands on. A key is valid until the next look-up.
 */
#ifndef MV_MASTER_KEYS_H
#define MV_MASTER_KEYS_H

#include "postgres.h"

#define MV_MASTER_KEY_LEN 32

typedef struct MvMasterKey
{
	uint32		id;
	uint8		key[MV_MASTER_KEY_LEN];
} MvMasterKey;

/* A failure that the caller raises or hands on */
typedef struct MvProblem
{
	int			sqlstate;
	const char *message;
	const char *hint;			/* or NULL */
	bool		no_file;		/* the key file does not exist */
} MvProblem;

/* Defines musicverse.master_key_file. */
extern void mv_master_keys_init(void);

/* The key that seals, as the file has it now; makes the file when there is none. */
extern const MvMasterKey *mv_master_key_current(MvProblem *problem);

/* The key with this id; reads the file again when this process doesn't know it. */
extern const MvMasterKey *mv_master_key_find(uint32 id, MvProblem *problem);

/* Appends a new key, which seals from now on. */
extern bool mv_master_key_add(uint32 *id, MvProblem *problem);

extern void mv_problem_set(MvProblem *problem, int sqlstate, const char *message, const char *hint);
extern _Noreturn void mv_problem_report(const MvProblem *problem);

/* Raises when the operating system gives none. */
extern void mv_random_bytes(void *out, size_t len);

#endif							/* MV_MASTER_KEYS_H */
