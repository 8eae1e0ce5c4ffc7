/*
 * What is in the cells of a report; see dsr.h. Nothing here raises for what a
 * stranger wrote.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

#include "distribution/dsr.h"

#define MAX_DIGITS	15			/* before the point: more is absurd */
#define FAST_DIGITS 18			/* of which all numbers fit 64 bits */

int
dsr_split(const DsrLine *line, DsrCell cells[DSR_MAX_CELLS])
{
	const char *at = line->text;
	const char *end = line->text + line->len;
	int			n = 0;

	for (;;)
	{
		const char *tab = memchr(at, '\t', end - at);
		const char *stop = tab != NULL ? tab : end;

		if (n < DSR_MAX_CELLS)
		{
			cells[n].text = at;
			cells[n].len = stop - at;
		}
		n++;
		if (tab == NULL)
			return n;
		at = tab + 1;
	}
}

static inline bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Digits with a sign and a point; their value without the point. */
static bool
scan_number(DsrCell cell, int128 *value, int *whole, int *scale)
{
	size_t		i = 0;
	bool		negative = false;
	bool		point = false;

	*value = 0;
	*whole = *scale = 0;
	if (cell.len > 0 && (cell.text[0] == '-' || cell.text[0] == '+'))
		negative = cell.text[i++] == '-';
	for (; i < cell.len; i++)
	{
		if (cell.text[i] == '.' && !point)
			point = true;
		else if (!is_digit(cell.text[i]))
			return false;
		else
		{
			if (*whole + *scale < MAX_DIGITS + DSR_SCALE)
				*value = *value * 10 + (cell.text[i] - '0');
			if (point)
				(*scale)++;
			else
				(*whole)++;
		}
	}
	if (negative)
		*value = -*value;
	return *whole > 0 && *whole <= MAX_DIGITS && *scale <= DSR_SCALE && !(point && *scale == 0);
}

bool
dsr_integer(DsrCell cell, int64 *value)
{
	int128		number;
	int			whole;
	int			scale;

	if (!scan_number(cell, &number, &whole, &scale))
		return false;
	/* some write 12.0 */
	for (; scale > 0; scale--)
	{
		if (number % 10 != 0)
			return false;
		number /= 10;
	}
	*value = (int64) number;
	return true;
}

bool
dsr_decimal(DsrCell cell, Numeric *value, int128 *sum)
{
	int128		number;
	int			whole;
	int			scale;

	if (!scan_number(cell, &number, &whole, &scale))
		return false;
	if (whole + scale > FAST_DIGITS)
		*value = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(pnstrdup(cell.text, cell.len)),
													 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	else
		*value = int64_div_fast_to_numeric((int64) number, scale);
	for (; scale < DSR_SCALE; scale++)
		number *= 10;
	*sum += number;
	return true;
}

char *
dsr_print(int128 value, int scale)
{
	char		text[64];
	char	   *at = text + sizeof(text) - 1;
	bool		negative = value < 0;

	*at = '\0';
	for (; scale > 2 && value % 10 == 0; scale--)
		value /= 10;
	for (int i = 0; value != 0 || i <= scale; i++)
	{
		int			digit = (int) (value % 10);

		if (i == scale && scale > 0)
			*--at = '.';
		*--at = '0' + (digit < 0 ? -digit : digit);
		value /= 10;
	}
	if (negative)
		*--at = '-';
	return pstrdup(at);
}

static int
digits(const char *text, int n)
{
	int			value = 0;

	for (int i = 0; i < n; i++)
	{
		if (!is_digit(text[i]))
			return -1;
		value = value * 10 + (text[i] - '0');
	}
	return value;
}

bool
dsr_date(DsrCell cell, bool is_end, DateADT *value)
{
	int			year;
	int			month = is_end ? 12 : 1;
	int			day;

	if (cell.len != 4 && (cell.len != 7 || cell.text[4] != '-') && (cell.len != 10 || cell.text[4] != '-' || cell.text[7] != '-'))
		return false;
	year = digits(cell.text, 4);
	if (year < 1990 || year > 2200)
		return false;
	if (cell.len > 4)
		month = digits(cell.text + 5, 2);
	if (month < 1 || month > 12)
		return false;
	day = cell.len > 7 ? digits(cell.text + 8, 2) : is_end ? day_tab[isleap(year)][month - 1] : 1;
	if (day < 1 || day > day_tab[isleap(year)][month - 1])
		return false;
	*value = date2j(year, month, day) - POSTGRES_EPOCH_JDATE;
	return true;
}

static bool
is_ascii_text(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char) text[i] >= 0x80)
			return false;
	return true;
}

/* To another encoding than UTF-8; NULL when it has not all of the characters. */
static const char *
convert(const char *text, size_t len, size_t *out)
{
	Oid			procedure = FindDefaultConversionProc(PG_UTF8, GetDatabaseEncoding());
	char	   *converted = palloc(len * MAX_CONVERSION_GROWTH + 1);

	if (!OidIsValid(procedure) ||
		pg_do_encoding_conversion_buf(procedure, PG_UTF8, GetDatabaseEncoding(), (unsigned char *) text, len,
									  (unsigned char *) converted, len * MAX_CONVERSION_GROWTH + 1, true) != len)
		return NULL;
	*out = strlen(converted);
	return converted;
}

const char *
dsr_decode(const DsrLine *line, size_t *len, const char **why)
{
	const char *decoded = line->text;

	*len = line->len;
	if (memchr(line->text, '\0', line->len) != NULL)
		*why = "it has a byte of zero";
	else if (pg_encoding_verifymbstr(PG_UTF8, line->text, line->len) != line->len)
		*why = "it is not UTF-8";
	else if (GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII || is_ascii_text(line->text, line->len))
		return decoded;
	else if ((decoded = convert(line->text, line->len, len)) != NULL)
		return decoded;
	else
		*why = "it has characters that the database's encoding has not";
	return NULL;
}

/* As it is to stand in a message: short, and without what is no letter */
const char *
dsr_show(DsrCell value)
{
	size_t		len = Min(value.len, 40);
	char	   *shown = pnstrdup(value.text, pg_mbcliplen(value.text, value.len, len));

	for (char *c = shown; *c != '\0'; c++)
		if ((unsigned char) *c < ' ')
			*c = '?';
	return shown;
}

/* The stored form of the first of the codes in a cell; 0 = there is none that is valid */
size_t
dsr_code(MvIdentifier kind, DsrCell value, char out[MV_IDENTIFIER_MAX])
{
	const char *bar = memchr(value.text, '|', value.len);
	size_t		len = mv_identifier_normalize(value.text, bar != NULL ? bar - value.text : value.len, out);

	return len > 0 && mv_identifier_is_valid(kind, out, len) ? len : 0;
}

bool
dsr_has_word(DsrCell value, const char *word)
{
	size_t		n = strlen(word);

	for (size_t i = 0; i + n <= value.len; i++)
		if (pg_strncasecmp(value.text + i, word, n) == 0)
			return true;
	return false;
}

bool
dsr_is_currency(DsrCell value)
{
	return value.len == 3 && strspn(pnstrdup(value.text, 3), "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 3;
}
