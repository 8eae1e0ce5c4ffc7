/*
 * The text of a cover before it is set: what cannot be seen goes, the rest
 * stays as it was given.
 *
 * Goes: control characters, what turns the direction of others, invisible
 * spaces, and marks heaped on one letter beyond any script's need. Runs of
 * space and line breaks become one space. Joiners stay, as Persian, the
 * scripts of India and emoji are written with them.
 */
#include "postgres.h"

#include <pango/pango.h>

#include "distribution/cover.h"
#include "mb/pg_wchar.h"

#define MOST_MARKS 6			/* on one letter; Vietnamese has 2, Hebrew and Thai up to 3 */

static bool
is_dropped(gunichar c)
{
	if (c == 0x200C || c == 0x200D)
		return false;
	if (c >= 0xFFF9 && c <= 0xFFFB)
		return true;
	switch (g_unichar_type(c))
	{
		case G_UNICODE_CONTROL:
		case G_UNICODE_SURROGATE:
			return true;
		case G_UNICODE_FORMAT:
			/* the tags that make the flags of England, Scotland and Wales */
			return c < 0xE0020 || c > 0xE007F;
		default:
			return (c & 0xFFFE) == 0xFFFE || (c >= 0xFDD0 && c <= 0xFDEF);
	}
}

char *
mv_cover_clean(const char *text, const char *what, int limit)
{
	StringInfoData out;
	int			length = 0,
				marks = 0;
	bool		space = false;

	initStringInfo(&out);
	for (const char *p = text; *p; p = g_utf8_next_char(p))
	{
		gunichar	c = g_utf8_get_char(p);
		char		bytes[8];

		if (g_unichar_isspace(c) || c == 0x2028 || c == 0x2029 || c == 0x85)
		{
			space = out.len > 0;
			continue;
		}
		if (is_dropped(c))
			continue;
		marks = g_unichar_ismark(c) ? marks + 1 : 0;
		if (marks > MOST_MARKS)
			continue;
		if (length + space >= limit)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s must have at most %d characters", what, limit),
					 errhint("A cover is read at the size of a thumbnail.")));
		if (space)
			appendStringInfoChar(&out, ' ');
		length += 1 + space;
		space = false;
		appendBinaryStringInfo(&out, bytes, g_unichar_to_utf8(c, bytes));
	}
	return out.data;
}
