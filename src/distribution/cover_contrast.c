/*
 * The text's contrast: measured on the pixels behind it, and made.
 *
 * Of a light and a dark ink the one is taken for which less has to change.
 * Where the lightest (or darkest) pixel behind the text is too near, the
 * picture is toned down there: for light text all light is multiplied, which
 * keeps hue and saturation as a filter before the lens does; for dark text the
 * same is done to the light that is missing. The change ebbs away from the
 * text so softly that it looks like part of the picture.
 */
#include "postgres.h"

#include <math.h>

#include "distribution/cover.h"

/* Around the ink, of the size: letters have soft edges, and eyes need some ground */
#define ROOM 0.012
/* Above the promise, for what rounding takes */
#define TARGET (MV_COVER_CONTRAST + 0.15f)

typedef struct Range
{
	float		low,
				high;			/* luminance, linear */
	float		mean;
} Range;

static float linear_of[256];
static uint8 encoded_of[4096];

static void
make_tables(void)
{
	if (linear_of[255] > 0)
		return;
	for (int i = 0; i < 4096; i++)
		encoded_of[i] = (uint8) (mv_encoded(i / 4095.0f) + 0.5f);
	for (int i = 0; i < 256; i++)
		linear_of[i] = mv_linear(i);
}

static void
measure(const MvCover *cover, const MvBox *box, Range *range)
{
	int			x0 = Max(0, (int) floor(box->x0)),
				x1 = Min(cover->size, (int) ceil(box->x1));
	int			y0 = Max(0, (int) floor(box->y0)),
				y1 = Min(cover->size, (int) ceil(box->y1));
	double		sum = 0;

	range->low = 1;
	range->high = 0;
	for (int y = y0; y < y1; y++)
	{
		const uint32 *row = cover->pixels + (Size) y * cover->size;

		CHECK_FOR_INTERRUPTS();
		for (int x = x0; x < x1; x++)
		{
			float		l = 0.2126f * linear_of[row[x] >> 16 & 255] + 0.7152f * linear_of[row[x] >> 8 & 255] + 0.0722f * linear_of[row[x] & 255];

			range->low = fminf(range->low, l);
			range->high = fmaxf(range->high, l);
			sum += l;
		}
	}
	range->mean = sum / fmax(1, (double) (x1 - x0) * (y1 - y0));
}

static float
luminance_of(MvColor color)
{
	MvRgb		rgb = mv_color_rgb(color);

	return mv_luminance((int) (rgb.r + 0.5f), (int) (rgb.g + 0.5f), (int) (rgb.b + 0.5f));
}

/* Multiplies light, or what lacks of it, by the factor; less with the distance from the text */
static void
tone_down(MvCover *cover, int which, bool light_text, float factor)
{
	double		reach = 0.20 * cover->size;
	MvBox		box;

	mv_cover_text_box(cover, which, ROOM, &box);
	for (int y = Max(0, (int) (box.y0 - reach)); y < Min(cover->size, (int) (box.y1 + reach) + 1); y++)
	{
		uint32	   *row = cover->pixels + (Size) y * cover->size;
		double		dy = fmax(fmax(box.y0 - y, y - box.y1), 0);

		CHECK_FOR_INTERRUPTS();
		for (int x = 0; x < cover->size; x++)
		{
			double		dx = fmax(fmax(box.x0 - x, x - box.x1), 0) * 0.55;
			float		t = (float) ((dx * dx + dy * dy) / (reach * reach));
			float		f;
			uint32		result = 0;

			if (t >= 1)
				continue;
			t = (1 - t) * (1 - t);
			f = 1 - (1 - factor) * t;
			for (int shift = 0; shift <= 16; shift += 8)
			{
				float		c = linear_of[row[x] >> shift & 255];

				c = light_text ? c * f : 1 - (1 - c) * f;
				result |= (uint32) encoded_of[(int) (c * 4095)] << shift;
			}
			row[x] = result;
		}
	}
}

MvColor
mv_cover_ensure_contrast(MvCover *cover)
{
	const MvPalette *palette = &cover->palette;
	float		light = luminance_of(palette->text_light),
				dark = luminance_of(palette->text_dark);
	/* the lightest behind light text, and the darkest behind dark text */
	float		ceiling = (light + 0.05f) / TARGET - 0.05f,
				floor = (dark + 0.05f) * TARGET - 0.05f;
	float		cost[2] = {0, 0};
	bool		light_text;

	make_tables();
	cairo_surface_flush(cover->surface);
	for (int which = 0; which < 2; which++)
	{
		MvBox		box;
		Range		range;

		if (!mv_cover_text_box(cover, which, ROOM, &box))
			continue;
		measure(cover, &box, &range);
		/* what most of the ground asks for, and what its worst pixel does */
		cost[1] += 1 - fminf(1, ceiling / fmaxf(range.high, 1e-4f)) + 0.8f * (1 - fminf(1, ceiling / fmaxf(range.mean, 1e-4f)));
		cost[0] += 1 - fminf(1, (1 - floor) / fmaxf(1 - range.low, 1e-4f)) + 0.8f * (1 - fminf(1, (1 - floor) / fmaxf(1 - range.mean, 1e-4f)));
	}
	light_text = cost[1] < cost[0] || (cost[1] == cost[0] && palette->dark);
	for (int which = 0; which < 2; which++)
	{
		MvBox		box;
		Range		range;

		if (!mv_cover_text_box(cover, which, ROOM, &box))
			continue;
		for (int attempt = 0; attempt < 4; attempt++)
		{
			measure(cover, &box, &range);
			if (light_text ? range.high <= ceiling : range.low >= floor)
				break;
			tone_down(cover, which, light_text, (light_text ? ceiling / range.high : (1 - floor) / (1 - range.low)) - 0.004f * (attempt + 1));
		}
	}
	cairo_surface_mark_dirty(cover->surface);
	return light_text ? palette->text_light : palette->text_dark;
}
