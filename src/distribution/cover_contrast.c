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
			float		l = 0.2126f * linear_of[row[x] >> 16 & 255] + 0.7152f * linear_of[row[x] >> 8 & 255] +
				0.0722f * linear_of[row[x] & 255];

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
	double		reach = 0.24 * cover->size;
	MvBox		box;

	mv_cover_text_box(cover, which, ROOM, &box);
	for (int y = Max(0, (int) (box.y0 - reach)); y < Min(cover->size, (int) (box.y1 + reach) + 1); y++)
	{
		uint32	   *row = cover->pixels + (Size) y * cover->size;
		double		dy = fmax(fmax(box.y0 - y, y - box.y1), 0);

		CHECK_FOR_INTERRUPTS();
		for (int x = 0; x < cover->size; x++)
		{
			double		dx = fmax(fmax(box.x0 - x, x - box.x1), 0) * 0.3;
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

/*
 * What it would cost to write in light or in dark: by how much the worst pixel
 * and the picture as a whole would change to the eye, whose measure is about
 * the cube root of light.
 */
static float
cost_of(const Range *range, bool light_text, float bound)
{
	float		worst = light_text ? range->high : range->low;
	float		factor = light_text ? bound / fmaxf(worst, 1e-4f) : (1 - bound) / fmaxf(1 - worst, 1e-4f);
	float		mean;

	if (factor >= 1)
		return 0;
	mean = light_text ? range->mean * factor : 1 - (1 - range->mean) * factor;
	return fabsf(cbrtf(worst) - cbrtf(bound)) + 2 * fabsf(cbrtf(range->mean) - cbrtf(mean));
}

/* A title and an artist that stand together have one ink; far apart each its own */
void
mv_cover_ensure_contrast(MvCover *cover, MvColor colors[2])
{
	const MvPalette *palette = &cover->palette;
	/* the lightest behind light text, and the darkest behind dark text */
	float		bound[2] = {
		(luminance_of(palette->text_dark) + 0.05f) * TARGET - 0.05f,
		(luminance_of(palette->text_light) + 0.05f) / TARGET - 0.05f
	};
	float		cost[2][2] = {{0}};
	bool		split = cover->placing == MV_PLACE_SPLIT;
	MvBox		box;
	Range		range;

	make_tables();
	cairo_surface_flush(cover->surface);
	for (int which = 0; which < 2; which++)
	{
		if (!mv_cover_text_box(cover, which, ROOM, &box))
			continue;
		measure(cover, &box, &range);
		for (int light = 0; light < 2; light++)
			cost[split ? which : 0][light] += cost_of(&range, light, bound[light]);
	}
	for (int which = 0; which < 2; which++)
	{
		const float *of = cost[split ? which : 0];
		bool		light = palette->dark ? of[1] * 0.7f <= of[0] : of[1] < of[0] * 0.7f;

		colors[which] = light ? palette->text_light : palette->text_dark;
		for (int attempt = 0; attempt < 4 && mv_cover_text_box(cover, which, ROOM, &box); attempt++)
		{
			measure(cover, &box, &range);
			if (light ? range.high <= bound[1] : range.low >= bound[0])
				break;
			tone_down(cover, which, light, (light ? bound[1] / range.high : (1 - bound[0]) / (1 - range.low)) - 0.004f * (attempt + 1));
		}
	}
	cairo_surface_mark_dirty(cover->surface);
}
