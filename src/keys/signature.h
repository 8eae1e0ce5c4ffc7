/*
 * Signed requests: HMAC-SHA256 over method, path, moment and body. Each
 * signature is good once within its tolerance, as shared memory remembers it.
 */
#ifndef MV_SIGNATURE_H
#define MV_SIGNATURE_H

#include "postgres.h"

/* Settings and shared memory. Called from _PG_init. */
extern void mv_signature_init(void);

/* musicverse.signature_tolerance, in seconds: how far from now a request's moment may be, where nobody says else */
extern int	mv_signature_tolerance;

/* A request as it is signed; nothing is NUL-terminated */
typedef struct MvRequest
{
	const char *method;
	int			method_len;
	const char *path;			/* with the query string, byte for byte */
	int			path_len;
	int64		ts;				/* seconds since 1970 */
	const char *body;
	int			body_len;
} MvRequest;

/*
 * Is one of the space-separated signatures the request's, made no longer ago or
 * ahead than the tolerance, and seen for the first time? A signature that was
 * found good is used up, whatever becomes of the transaction. The comparison
 * takes the same time however much agrees. Who may make up secrets, as the text
 * of a key that isn't known yet, must not get this far: see MvCall. Takes a partition's lock of the
 * memory of signatures. Raises 55000 without shared memory, XX000 when OpenSSL
 * fails; never for what the request or the signatures look like.
 */
extern bool mv_signature_verify(const char *secret, int secret_len, const char *signatures, int signatures_len,
								const MvRequest *request, int64 tolerance_s);

/* Signatures in memory: room, those that could still be replayed, and how many found no room and were refused. */
extern void mv_signature_counts(int64 *room, int64 *used, int64 *no_room);

#endif							/* MV_SIGNATURE_H */
