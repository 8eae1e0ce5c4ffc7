/*
 * Signatures after Standard Webhooks 1.0: "v1," base64(HMAC-SHA256) for
 * secrets whsec_…, and "v1a," base64(Ed25519) for key pairs whsk_… / whpk_….
 *
 * A signer is a parsed key that can be used many times. It is malloc-based
 * (OpenSSL objects), so it outlives transactions and must be freed. Nothing
 * here takes a lock; only mv_signer_create raises.
 */
#ifndef MV_SIGN_H
#define MV_SIGN_H

#include "postgres.h"

#include <stdint.h>

typedef struct MvSigner MvSigner;

/* Room enough for any one signature with its "v1a," and the closing NUL */
#define MV_SIGNATURE_MAX 128

/*
 * Parses the key text (whsec_…, whsk_…, or whpk_… to verify only). Raises
 * 22023 naming what is wrong (never the secret itself).
 */
extern MvSigner *mv_signer_create(const char *key, size_t len);
extern void mv_signer_free(MvSigner *signer);

/*
 * Writes the signature of "id.ts.body" as NUL-terminated text to out and
 * returns its length, or 0 when the signer can't sign. Never raises: used
 * while transfers run. For HMAC at most ~1.5 microseconds for 1 KiB.
 */
extern size_t mv_sign(MvSigner *signer, const char *msg_id, int64 ts,
					  const char *body, size_t body_len, char out[MV_SIGNATURE_MAX]);

/*
 * True when one of the space-separated signatures in header matches, compared
 * in constant time. Unknown versions are passed over. Never raises.
 */
extern bool mv_verify(MvSigner *signer, const char *msg_id, int64 ts,
					  const char *body, size_t body_len, const char *header, size_t header_len);

#endif							/* MV_SIGN_H */
