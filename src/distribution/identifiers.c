/*
 * Identifiers of the trade; see identifiers.h. Pure functions: no memory, no
 * locks, nothing raised, so that they can be used on bytes from anywhere.
 */
#include "postgres.h"

#include "distribution/identifiers.h"

static const struct
{
	const char *name;
	const char *hint;
}			kinds[] = {
	[MV_ISRC] = {"ISRC", "An ISRC has two letters, three letters or digits, and seven digits, such as QZABC2600001."},
	[MV_GTIN] = {"GTIN", "A GTIN (UPC, EAN) has 12 or 13 digits, or 8 or 14, the last of which is a check digit, such as 0614141123452."},
	[MV_ISWC] = {"ISWC", "An ISWC is a T and ten digits, the last of which is a check digit, such as T0345246801."},
	[MV_ISNI] = {"ISNI", "An ISNI has 15 digits and a check digit, which may be X, such as 0000000121032683."},
	[MV_GRID] = {"GRid", "A GRid is A1, 15 letters or digits, and a check character, such as A12425GABC1234002M."},
	[MV_DPID] = {"DPID", "A DPID is PADPIDA, ten letters or digits, and a check character, such as PADPIDA2011072101T."},
};

static inline bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool
is_letter(char c)
{
	return c >= 'A' && c <= 'Z';
}

static bool
all_digits(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!is_digit(text[i]))
			return false;
	return true;
}

/* 0 to 35 of a digit or capital, -1 of anything else */
static inline int
value_36(char c)
{
	return is_digit(c) ? c - '0' : is_letter(c) ? c - 'A' + 10 : -1;
}

/* Mod 10 with weights 3 and 1 from the right */
char
mv_gtin_check_digit(const char *digits, size_t len)
{
	int			sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += (digits[len - 1 - i] - '0') * (i % 2 == 0 ? 3 : 1);
	return '0' + (10 - sum % 10) % 10;
}

static bool
is_isrc(const char *text, size_t len)
{
	return len == 12 && is_letter(text[0]) && is_letter(text[1]) &&
		value_36(text[2]) >= 0 && value_36(text[3]) >= 0 && value_36(text[4]) >= 0 &&
		all_digits(text + 5, 7);
}

static bool
is_gtin(const char *text, size_t len)
{
	return (len == 8 || (len >= 12 && len <= 14)) && all_digits(text, len) &&
		text[len - 1] == mv_gtin_check_digit(text, len - 1);
}

/* Mod 10 with the places as weights, and one for the T */
static bool
is_iswc(const char *text, size_t len)
{
	int			sum = 1;

	if (len != 11 || text[0] != 'T' || !all_digits(text + 1, 10))
		return false;
	for (int i = 1; i <= 9; i++)
		sum += i * (text[i] - '0');
	return text[10] == '0' + (10 - sum % 10) % 10;
}

/* ISO 7064 mod 11-2 */
static bool
is_isni(const char *text, size_t len)
{
	int			remainder = 0;

	if (len != 16 || !all_digits(text, 15))
		return false;
	for (int i = 0; i < 15; i++)
		remainder = (remainder + text[i] - '0') * 2 % 11;
	remainder = (12 - remainder) % 11;
	return text[15] == (remainder == 10 ? 'X' : '0' + remainder);
}

/* ISO 7064 mod 37,36 over all of it */
static bool
fits_mod_37_36(const char *text, size_t len)
{
	int			product = 36;

	for (size_t i = 0; i < len; i++)
	{
		int			value = value_36(text[i]);

		if (value < 0)
			return false;
		if (i == len - 1)
			return (product + value) % 36 == 1;
		product = (product + value) % 36;
		product = (product == 0 ? 36 : product) * 2 % 37;
	}
	return false;
}

bool
mv_identifier_is_valid(MvIdentifier kind, const char *text, size_t len)
{
	switch (kind)
	{
		case MV_ISRC:
			return is_isrc(text, len);
		case MV_GTIN:
			return is_gtin(text, len);
		case MV_ISWC:
			return is_iswc(text, len);
		case MV_ISNI:
			return is_isni(text, len);
		case MV_GRID:
			return len == 18 && memcmp(text, "A1", 2) == 0 && fits_mod_37_36(text, len);
		case MV_DPID:
			return len == 18 && memcmp(text, "PADPIDA", 7) == 0 && fits_mod_37_36(text, len);
	}
	return false;
}

size_t
mv_identifier_normalize(const char *text, size_t len, char out[MV_IDENTIFIER_MAX])
{
	size_t		n = 0;

	if (len > MV_IDENTIFIER_MAX)
		return 0;
	for (size_t i = 0; i < len; i++)
	{
		char		c = text[i];

		if (c == '-' || c == ' ' || c == '.')
			continue;
		if (c >= 'a' && c <= 'z')
			c -= 'a' - 'A';
		if (value_36(c) < 0)
			return 0;
		out[n++] = c;
	}
	return n;
}

const char *
mv_identifier_name(MvIdentifier kind)
{
	return kinds[kind].name;
}

const char *
mv_identifier_hint(MvIdentifier kind)
{
	return kinds[kind].hint;
}
