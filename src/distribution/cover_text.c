/*
 * The text of a cover: fonts by script, size and lines by length, places by
 * the margin.
 *
 * The title takes the largest size at which its lines, five at most, fit their
 * share of the cover without breaking a word; then lines are evened out. A word
 * that would be set smaller than the artist is broken, with a hyphen where its
 * script has them; what doesn't fit then loses its tail to an ellipsis. The ink of the letters stands at the margin, not their
 * boxes, so a large and a small line begin at the same place to the eye.
 */
#include "postgres.h"

#include <math.h>
#include <pango/pangocairo.h>

#include "distribution/cover.h"

#define TITLE 0
#define ARTIST 1

/* Of the size of the cover */
#define WIDTH (1 - 2 * MV_COVER_MARGIN)
#define LARGEST 0.175
#define SMALLEST 0.042
#define UNBROKEN 0.060			/* a title of few words is broken rather than set smaller */
#define ARTIST_LARGEST 0.056
#define ARTIST_SMALLEST 0.030
#define MOST_LINES 5

typedef struct Scripts
{
	bool		simple;			/* Latin, Greek, Cyrillic: may be set tightly */
	bool		tall;			/* stacks marks above or below its letters */
	const char *language;		/* whose forms of Han characters */
} Scripts;

static Scripts
scripts_of(const char *text)
{
	Scripts		scripts = {.simple = true, .language = "en"};
	bool		han = false;

	for (const char *p = text; *p; p = g_utf8_next_char(p))
	{
		switch (g_unichar_get_script(g_utf8_get_char(p)))
		{
			case G_UNICODE_SCRIPT_COMMON:
			case G_UNICODE_SCRIPT_INHERITED:
			case G_UNICODE_SCRIPT_LATIN:
			case G_UNICODE_SCRIPT_GREEK:
			case G_UNICODE_SCRIPT_CYRILLIC:
				break;
			case G_UNICODE_SCRIPT_HIRAGANA:
			case G_UNICODE_SCRIPT_KATAKANA:
				scripts.language = "ja";
				scripts.simple = false;
				break;
			case G_UNICODE_SCRIPT_HANGUL:
				scripts.language = "ko";
				scripts.simple = false;
				break;
			case G_UNICODE_SCRIPT_HAN:
				han = true;
				scripts.simple = false;
				break;
			default:
				scripts.tall = true;
				scripts.simple = false;
		}
	}
	if (han && strcmp(scripts.language, "en") == 0)
		scripts.language = "zh-cn";
	return scripts;
}

static PangoFontDescription *
describe(const MvCover *cover, int which, const Scripts *scripts)
{
	PangoFontDescription *font = pango_font_description_new();
	bool		serif = cover->face == MV_FACE_SERIF && which == TITLE;
	const char *han = strcmp(scripts->language, "ja") == 0 ? "JP" : strcmp(scripts->language, "ko") == 0 ? "KR" : "SC";
	char		families[300];
	PangoWeight weight = PANGO_WEIGHT_SEMIBOLD;

	snprintf(families, sizeof(families), serif ?
			 "Noto Serif Display,Noto Serif,Noto Serif CJK %s,Noto Sans CJK %s,DejaVu Serif,Noto Sans" :
			 "Inter Display,Inter,Noto Sans,Noto Sans CJK %s,Noto Sans Arabic,Noto Sans Hebrew,Noto Sans Devanagari,"
			 "Noto Sans Thai,DejaVu Sans",
			 han, han);
	if (which == TITLE)
		switch (cover->face)
		{
			case MV_FACE_BLACK:
				weight = PANGO_WEIGHT_HEAVY;
				break;
			case MV_FACE_MEDIUM:
				weight = PANGO_WEIGHT_SEMIBOLD;
				break;
			default:
				weight = PANGO_WEIGHT_BOLD;
		}
	pango_font_description_set_family(font, families);
	pango_font_description_set_weight(font, weight);
	return font;
}

/* Sets the size, and what depends on it */
static void
set_size(MvCover *cover, int which, const Scripts *scripts, double size)
{
	PangoLayout *layout = cover->layout[which];
	PangoFontDescription *font = pango_font_description_copy(pango_layout_get_font_description(layout));
	PangoAttrList *attributes = pango_attr_list_new();
	/* large letters stand nearer to each other, and so do large lines */
	double		tracking = which == TITLE ? -0.018 : 0.004;
	double		leading = scripts->tall ? 1.0 : !scripts->simple ? 0.88 : cover->face == MV_FACE_SERIF && which == TITLE ? 0.78 : 0.86;

	pango_font_description_set_absolute_size(font, size * cover->size * PANGO_SCALE);
	pango_layout_set_font_description(layout, font);
	pango_font_description_free(font);
	pango_attr_list_insert(attributes, pango_attr_language_new(pango_language_from_string(scripts->language)));
	if (scripts->simple)
		pango_attr_list_insert(attributes, pango_attr_letter_spacing_new((int) (tracking * size * cover->size * PANGO_SCALE)));
	pango_attr_list_insert(attributes, pango_attr_insert_hyphens_new(scripts->simple));
	pango_layout_set_attributes(layout, attributes);
	pango_attr_list_unref(attributes);
	pango_layout_set_line_spacing(layout, leading);
}

static void
ink_of(PangoLayout *layout, MvBox *ink)
{
	PangoRectangle rectangle;

	pango_layout_get_extents(layout, &rectangle, NULL);
	ink->x0 = (double) rectangle.x / PANGO_SCALE;
	ink->y0 = (double) rectangle.y / PANGO_SCALE;
	ink->x1 = ink->x0 + (double) rectangle.width / PANGO_SCALE;
	ink->y1 = ink->y0 + (double) rectangle.height / PANGO_SCALE;
}

static bool
fits(MvCover *cover, int which, double width, double height, int lines)
{
	MvBox		ink;

	ink_of(cover->layout[which], &ink);
	return pango_layout_get_line_count(cover->layout[which]) <= lines &&
		ink.x1 - ink.x0 <= width * cover->size && ink.y1 - ink.y0 <= height * cover->size;
}

/* The largest size of a text that fits, or 0 */
static double
largest_size(MvCover *cover, int which, const Scripts *scripts, double low, double high, double height, int lines)
{
	set_size(cover, which, scripts, low);
	if (!fits(cover, which, WIDTH, height, lines))
		return 0;
	for (int i = 0; i < 9; i++)
	{
		double		middle = (low + high) / 2;

		set_size(cover, which, scripts, middle);
		if (fits(cover, which, WIDTH, height, lines))
			low = middle;
		else
			high = middle;
	}
	set_size(cover, which, scripts, low);
	return low;
}

/* Narrows the text until it would take another line */
static void
even_out(MvCover *cover, int which)
{
	PangoLayout *layout = cover->layout[which];
	int			lines = pango_layout_get_line_count(layout);
	double		low = WIDTH / 3,
				high = WIDTH;

	if (lines < 2)
		return;
	for (int i = 0; i < 8; i++)
	{
		double		middle = (low + high) / 2;

		pango_layout_set_width(layout, middle * cover->size * PANGO_SCALE);
		if (fits(cover, which, middle, 1, lines))
			high = middle;
		else
			low = middle;
	}
	pango_layout_set_width(layout, high * cover->size * PANGO_SCALE);
}

static double
fit_one(MvCover *cover, int which, double height)
{
	const char *text = which == TITLE ? cover->title : cover->artist;
	Scripts		scripts = scripts_of(text);
	PangoLayout *layout = cover->layout[which];
	PangoFontDescription *font = describe(cover, which, &scripts);
	double		smallest = which == TITLE ? SMALLEST : ARTIST_SMALLEST;
	double		largest = which == TITLE ? LARGEST : ARTIST_LARGEST;
	int			most = which == TITLE ? MOST_LINES : 2;
	double		size = 0;

	pango_layout_set_font_description(layout, font);
	pango_font_description_free(font);
	pango_layout_set_text(layout, text, -1);
	pango_layout_set_alignment(layout, cover->placing == MV_PLACE_CENTER ? PANGO_ALIGN_CENTER : PANGO_ALIGN_LEFT);
	pango_layout_set_width(layout, WIDTH * cover->size * PANGO_SCALE);
	pango_layout_set_wrap(layout, PANGO_WRAP_WORD);
	/* Few lines as long as they are large, as poster and thumbnail want it */
	for (int lines = 1; lines <= most && size < (which == TITLE ? 0.115 : 0.045); lines++)
	{
		double		found = largest_size(cover, which, &scripts, smallest, largest, height, lines);

		if (found > size * 1.12 || lines == most)
			size = Max(found, size);
	}
	if (size == 0 || (which == TITLE && size < UNBROKEN && pango_layout_get_line_count(layout) <= 2))
	{
		pango_layout_set_wrap(layout, PANGO_WRAP_WORD_CHAR);
		size = which == TITLE ? largest_size(cover, which, &scripts, smallest, 0.1, height, 2) : 0;
		if (size == 0)
			size = largest_size(cover, which, &scripts, smallest, largest, height, most);
	}
	if (size == 0)
	{
		size = smallest;
		pango_layout_set_height(layout, -most);
		pango_layout_set_ellipsize(layout, PANGO_ELLIPSIZE_END);
	}
	set_size(cover, which, &scripts, size);
	if (!pango_layout_is_ellipsized(layout))
		even_out(cover, which);
	return size;
}

/* Leaves out the characters that no font has; *missing counts them and *first is one */
static void
leave_out_missing(PangoLayout *layout, char *text, int *missing, gunichar *first)
{
	PangoLayoutIter *iter;
	size_t		length = strlen(text);
	char	   *gone;

	pango_layout_set_text(layout, text, -1);
	if (pango_layout_get_unknown_glyphs_count(layout) == 0)
		return;
	gone = calloc(length + 1, 1);
	if (gone == NULL)
		return;
	iter = pango_layout_get_iter(layout);
	do
	{
		PangoLayoutRun *run = pango_layout_iter_get_run_readonly(iter);

		for (int i = 0; run && i < run->glyphs->num_glyphs; i++)
			if (run->glyphs->glyphs[i].glyph & PANGO_GLYPH_UNKNOWN_FLAG)
				gone[run->item->offset + run->glyphs->log_clusters[i]] = 1;
	} while (pango_layout_iter_next_run(iter));
	pango_layout_iter_free(iter);

	{
		char	   *out = text;

		for (char *p = text; *p;)
		{
			char	   *next = g_utf8_next_char(p);

			if (gone[p - text])
			{
				if ((*missing)++ == 0)
					*first = g_utf8_get_char(p);
			}
			else
			{
				memmove(out, p, next - p);
				out += next - p;
			}
			p = next;
		}
		*out = '\0';
	}
	free(gone);
}

static bool
has_emoji(const char *text)
{
	for (const char *p = text; *p; p = g_utf8_next_char(p))
	{
		gunichar	c = g_utf8_get_char(p);

		if (c == 0xFE0F || c == 0x20E3 || (c >= 0x2300 && c < 0x2C00) || (c >= 0x1F000 && c < 0x20000))
			return true;
	}
	return false;
}

static bool
is_blank(const char *text)
{
	return text[strspn(text, " ")] == '\0';
}

/* Moves a layout so that its ink stands at the margins, y at its top or bottom */
static void
place(MvCover *cover, int which, double y, bool by_bottom)
{
	double		margin = MV_COVER_MARGIN * cover->size;
	PangoLayout *layout = cover->layout[which];
	MvBox	   *ink = &cover->ink[which];
	PangoDirection direction = pango_layout_get_direction(layout, 0);
	double		dx,
				dy;

	ink_of(layout, ink);
	if (cover->placing == MV_PLACE_CENTER)
		dx = cover->size / 2.0 - (ink->x0 + ink->x1) / 2;
	else if (direction == PANGO_DIRECTION_RTL)
		dx = cover->size - margin - ink->x1;
	else
		dx = margin - ink->x0;
	/* half a pixel inside, for the soft edges of the letters */
	dx += cover->placing == MV_PLACE_CENTER ? 0 : direction == PANGO_DIRECTION_RTL ? -1 : 1;
	dy = by_bottom ? y - ink->y1 : y - ink->y0;
	ink->x0 += dx;
	ink->x1 += dx;
	ink->y0 += dy;
	ink->y1 += dy;
	cover->origin[which][0] = dx;
	cover->origin[which][1] = dy;
}

static void
place_all(MvCover *cover, double title_size)
{
	double		top = MV_COVER_MARGIN * cover->size + 1,
				bottom = cover->size - top;
	bool		has_title = cover->layout[TITLE] != NULL,
				has_artist = cover->layout[ARTIST] != NULL;
	double		gap = cover->size * fmin(fmax(0.34 * title_size, 0.024), 0.044);

	switch (cover->placing)
	{
		case MV_PLACE_TOP:
			if (has_title)
				place(cover, TITLE, top, false);
			if (has_artist)
				place(cover, ARTIST, has_title ? cover->ink[TITLE].y1 + gap : top, false);
			break;
		case MV_PLACE_SPLIT:
			if (has_title)
				place(cover, TITLE, top, false);
			if (has_artist)
				place(cover, ARTIST, bottom, true);
			break;
		default:
			if (has_artist)
				place(cover, ARTIST, bottom, true);
			if (has_title)
				place(cover, TITLE, has_artist ? cover->ink[ARTIST].y0 - gap : bottom, true);
	}
}

void
mv_cover_fit(MvCover *cover)
{
	sigset_t	saved;
	const char *failure = NULL;
	int			missing = 0;
	gunichar	first = 0;
	double		title_size = 0;

	if (is_blank(cover->title) && is_blank(cover->artist))
		return;
	mv_cover_enter_pango(&saved);
	{
		PangoContext *context = mv_cover_fonts(has_emoji(cover->title) || has_emoji(cover->artist), &failure);

		if (context)
		{
			for (int which = TITLE; which <= ARTIST; which++)
			{
				char	   *text = which == TITLE ? cover->title : cover->artist;

				cover->layout[which] = pango_layout_new(context);
				leave_out_missing(cover->layout[which], text, &missing, &first);
				if (is_blank(text))
					g_clear_object(&cover->layout[which]);
				else if (which == TITLE)
					title_size = fit_one(cover, which, cover->family == MV_FAMILY_RING ? 0.27 : 0.42);
				else
					fit_one(cover, which, 0.11);
			}
			g_object_unref(context);
			place_all(cover, title_size);
		}
	}
	mv_cover_leave_pango(&saved);
	if (failure)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("could not set up the fonts of \"%s\": %s", mv_font_directory, failure),
				 errhint("Install fonts, such as fonts-inter and fonts-noto-core, or set musicverse.font_directory.")));
	if (missing)
		ereport(NOTICE,
				(errmsg("no font has U+%04X: %d of the characters are left out of the cover", (unsigned) first, missing),
				 errhint("Install a font of that script in \"%s\".", mv_font_directory)));
}

/* Within the margins, whatever a font thinks of its extents */
void
mv_cover_write(MvCover *cover)
{
	MvColor		colors[2];
	double		margin = ceil(MV_COVER_MARGIN * cover->size);
	sigset_t	saved;

	mv_cover_ensure_contrast(cover, colors);
	if (cover->bare)
		return;
	cairo_save(cover->cr);
	cairo_rectangle(cover->cr, margin, margin, cover->size - 2 * margin, cover->size - 2 * margin);
	cairo_clip(cover->cr);
	mv_cover_enter_pango(&saved);
	for (int which = TITLE; which <= ARTIST; which++)
		if (cover->layout[which])
		{
			mv_cairo_color(cover->cr, colors[which], 1);
			cairo_move_to(cover->cr, cover->origin[which][0], cover->origin[which][1]);
			pango_cairo_show_layout(cover->cr, cover->layout[which]);
		}
	mv_cover_leave_pango(&saved);
	cairo_restore(cover->cr);
}

bool
mv_cover_text_box(const MvCover *cover, int which, double room, MvBox *box)
{
	bool		any = false;

	for (int i = TITLE; i <= ARTIST; i++)
	{
		const MvBox *ink = &cover->ink[i];

		if (cover->layout[i] == NULL || (which >= 0 && which != i))
			continue;
		if (!any)
			*box = *ink;
		box->x0 = fmin(box->x0, ink->x0);
		box->y0 = fmin(box->y0, ink->y0);
		box->x1 = fmax(box->x1, ink->x1);
		box->y1 = fmax(box->y1, ink->y1);
		any = true;
	}
	if (any)
	{
		room *= cover->size;
		box->x0 -= room;
		box->y0 -= room;
		box->x1 += room;
		box->y1 += room;
	}
	return any;
}

float
mv_cover_clearance(const MvCover *cover, double x, double y, double room, double distance)
{
	float		least = 1;

	for (int i = TITLE; i <= ARTIST; i++)
	{
		MvBox		box;
		double		dx,
					dy,
					t;

		if (!mv_cover_text_box(cover, i, room, &box))
			continue;
		dx = fmax(fmax(box.x0 - x, x - box.x1), 0);
		dy = fmax(fmax(box.y0 - y, y - box.y1), 0);
		t = fmin(1, hypot(dx, dy) / (distance * cover->size));
		least = fminf(least, t * t * (3 - 2 * t));
	}
	return least;
}
