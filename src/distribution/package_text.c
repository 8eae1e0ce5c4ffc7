/*
 * Text and names that are safe wherever they are unpacked; see package.h.
 *
 * All is UTF-8 here, whatever the database's encoding. No locks.
 */
#include "postgres.h"

#include "common/unicode_norm.h"
#include "mb/pg_wchar.h"

#include "distribution/package.h"

static bool
is_space(pg_wchar c)
{
	return c == ' ' || (c >= '\t' && c <= '\r') || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
		c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/* What isn't seen and changes how the rest is seen; the joiners that scripts and emoji need stay. */
static bool
is_unwanted(pg_wchar c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x61c || c == 0x180e || c == 0x200b || c == 0x200e || c == 0x200f ||
		(c >= 0x202a && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || (c >= 0xd800 && c <= 0xdfff) || (c >= 0xfdd0 && c <= 0xfdef) ||
		c == 0xfeff || (c >= 0xfff0 && c <= 0xfffb) || (c & 0xfffe) == 0xfffe || (c >= 0xe0000 && c <= 0xe007f) || c > 0x10ffff;
}

static bool
is_forbidden_in_names(pg_wchar c)
{
	return c < 0x80 && strchr("/\\:*?\"<>|", (int) c) != NULL;
}

/* The characters of a text, ended by a 0 */
static pg_wchar *
characters(const char *utf8, int *n)
{
	int			len = strlen(utf8);
	pg_wchar   *made = palloc((len + 1) * sizeof(pg_wchar));

	*n = 0;
	for (const char *at = utf8; at < utf8 + len; at += pg_utf_mblen((const unsigned char *) at))
	{
		if (pg_utf_mblen((const unsigned char *) at) > utf8 + len - at)
			break;
		made[(*n)++] = utf8_to_unicode((const unsigned char *) at);
	}
	made[*n] = 0;
	return made;
}

static char *
text_of(const pg_wchar *from, int n)
{
	char	   *made = palloc(n * 4 + 1);
	char	   *to = made;

	for (int i = 0; i < n; i++)
	{
		unicode_to_utf8(from[i], (unsigned char *) to);
		to += pg_utf_mblen((unsigned char *) to);
	}
	*to = '\0';
	return made;
}

static pg_wchar *
plain(const char *utf8, int *n)
{
	int			given;
	pg_wchar   *text = characters(utf8, &given);
	int			kept = 0;

	for (int i = 0; i < given; i++)
	{
		if (is_space(text[i]))
		{
			if (kept > 0 && text[kept - 1] != ' ')
				text[kept++] = ' ';
		}
		else if (!is_unwanted(text[i]))
			text[kept++] = text[i];
	}
	while (kept > 0 && text[kept - 1] == ' ')
		kept--;
	text[kept] = 0;
	text = unicode_normalize(UNICODE_NFC, text);
	for (*n = 0; text[*n] != 0;)
		(*n)++;
	return text;
}

char *
mv_plain_text(const char *utf8)
{
	int			n;
	pg_wchar   *text = plain(utf8, &n);

	return text_of(text, n);
}

/* CON, NUL.txt, COM1 …: Windows takes them for devices, with whatever behind a dot */
static bool
is_device(const pg_wchar *name, int n)
{
	static const char *const devices[] = {"con", "prn", "aux", "nul", "conin$", "conout$", "clock$"};
	char		stem[8];
	int			len = 0;

	while (len < n && name[len] != '.' && len < 7 && name[len] < 0x100)
	{
		stem[len] = pg_ascii_tolower((unsigned char) name[len]);
		len++;
	}
	if (len < n && name[len] != '.')
		return false;
	while (len > 0 && stem[len - 1] == ' ')
		len--;
	stem[len] = '\0';
	for (int i = 0; i < lengthof(devices); i++)
		if (strcmp(stem, devices[i]) == 0)
			return true;
	/* superscript digits count too */
	return len == 4 && (strncmp(stem, "com", 3) == 0 || strncmp(stem, "lpt", 3) == 0) &&
		strchr("0123456789\xb9\xb2\xb3", stem[3]) != NULL;
}

char *
mv_safe_name(const char *utf8, int max_chars)
{
	int			n;
	pg_wchar   *name = plain(utf8, &n);
	int			begin = 0;

	for (int i = 0; i < n; i++)
		if (is_forbidden_in_names(name[i]))
			name[i] = '_';
	/* hidden, or the folder above; an option of a command */
	while (begin < n && (name[begin] == '.' || name[begin] == ' ' || name[begin] == '-'))
		begin++;
	n = Min(n, begin + max_chars);
	/* no dot or space at the end, and no joiner with nothing to join */
	while (n > begin && (name[n - 1] == '.' || name[n - 1] == ' ' || name[n - 1] == 0x200d || name[n - 1] == 0x200c))
		n--;
	if (n <= begin)
		return pstrdup("untitled");
	if (is_device(name + begin, n - begin))
		return psprintf("_%s", text_of(name + begin, n - begin));
	return text_of(name + begin, n - begin);
}
