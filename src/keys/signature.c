/*
 * Signed requests. See signature.h.
 */
#include "postgres.h"

#include "keys/signature.h"

void
mv_signature_init(void)
{
}
