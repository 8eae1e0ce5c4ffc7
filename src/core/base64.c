/*
 * Base64 for keys and signatures; see base64.h.
 *
 * Holds no state, takes no lock, never raises. The value of a character is
 * computed, not looked up, so that decoding a secret leaves no trace of it in
 * the cache.
 */
#include "postgres.h"

#include "core/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t
mv_base64_encode(const void *src, size_t len, char *dst)
{
	const uint8 *in = src;
	char	   *out = dst;

	for (; len >= 3; len -= 3, in += 3)
	{
		uint32		bits = (uint32) in[0] << 16 | (uint32) in[1] << 8 | in[2];

		*out++ = alphabet[bits >> 18];
		*out++ = alphabet[bits >> 12 & 63];
		*out++ = alphabet[bits >> 6 & 63];
		*out++ = alphabet[bits & 63];
	}
	if (len > 0)
	{
		uint32		bits = (uint32) in[0] << 16 | (len == 2 ? (uint32) in[1] << 8 : 0);

		*out++ = alphabet[bits >> 18];
		*out++ = alphabet[bits >> 12 & 63];
		*out++ = len == 2 ? alphabet[bits >> 6 & 63] : '=';
		*out++ = '=';
	}
	*out = '\0';
	return out - dst;
}

/* All ones when low <= c <= high, else zero. */
static inline int
in_range(int c, int low, int high)
{
	return ~((c - low) >> 31) & ~((high - c) >> 31);
}

/* The six bits that c stands for, or -1. */
static inline int
value_of(unsigned char c)
{
	return (in_range(c, 'A', 'Z') & (c - 'A' + 1)) +
		(in_range(c, 'a', 'z') & (c - 'a' + 27)) +
		(in_range(c, '0', '9') & (c - '0' + 53)) +
		(in_range(c, '+', '+') & 63) +
		(in_range(c, '/', '/') & 64) - 1;
}

int
mv_base64_decode(const char *src, size_t len, void *dst, size_t max, bool canonical)
{
	uint8	   *out = dst;
	size_t		n = 0;
	uint32		bits = 0;
	int			held = 0;

	if (len > 0 && len % 4 == 0 && src[len - 1] == '=')
	{
		len--;
		if (src[len - 1] == '=')
			len--;
	}
	if (len % 4 == 1)
		return -1;

	for (size_t i = 0; i < len; i++)
	{
		int			value = value_of((unsigned char) src[i]);

		if (value < 0)
			return -1;
		bits = (bits << 6 | (uint32) value) & 0xfff;
		held += 6;
		if (held >= 8)
		{
			held -= 8;
			if (n == max)
				return -1;
			out[n++] = (uint8) (bits >> held);
			bits &= (1u << held) - 1;
		}
	}
	if (canonical && bits != 0)
		return -1;
	return (int) n;
}
