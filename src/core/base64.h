/*
 * Base64 (RFC 4648, the standard alphabet) for keys and signatures.
 *
 * The server's own functions changed their types between the versions, skip
 * white space and insist on padding; secrets arrive in both forms.
 */
#ifndef MV_BASE64_H
#define MV_BASE64_H

#include "postgres.h"

/* Characters that len bytes take, without the closing NUL */
#define MV_BASE64_LEN(len) (((len) + 2) / 3 * 4)

/* Writes the padded form and a NUL; returns its length. */
extern size_t mv_base64_encode(const void *src, size_t len, char *dst);

/*
 * Decodes padded or unpadded text into at most max bytes. Returns how many, or
 * -1 when a character is foreign, the length impossible, or max too small.
 * When canonical is set, left-over bits must be zero, so that no two texts
 * stand for the same bytes (padding aside). Never raises.
 */
extern int	mv_base64_decode(const char *src, size_t len, void *dst, size_t max, bool canonical);

#endif							/* MV_BASE64_H */
