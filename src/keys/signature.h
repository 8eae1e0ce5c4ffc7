/*
 * Signed requests: HMAC over method, path, moment and body, each of which can
 * be verified once within the tolerance, as shared memory remembers it.
 */
#ifndef MV_SIGNATURE_H
#define MV_SIGNATURE_H

#include "postgres.h"

extern void mv_signature_init(void);

#endif							/* MV_SIGNATURE_H */
