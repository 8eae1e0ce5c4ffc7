/*
 * Colours of covers: OKLCH, in which equal steps look equal, and its way to
 * sRGB; and how a palette is made of a style's inks.
 *
 * A colour that a screen cannot show loses chroma until it can: its lightness
 * and hue are what harmony and contrast stand on.
 */
#include "postgres.h"

#include <math.h>

#include "distribution/cover.h"

#define RADIANS(degrees) ((degrees) * (float) (M_PI / 180))

/* Linear light; components outside 0..1 are colours that a screen lacks */
static void
linear_of(MvColor color, float rgb[3])
{
	float		a = color.c * cosf(RADIANS(color.h)),
				b = color.c * sinf(RADIANS(color.h));
	float		l = color.l + 0.3963377774f * a + 0.2158037573f * b;
	float		m = color.l - 0.1055613458f * a - 0.0638541728f * b;
	float		s = color.l - 0.0894841775f * a - 1.2914855480f * b;

	l = l * l * l;
	m = m * m * m;
	s = s * s * s;
	rgb[0] = 4.0767416621f * l - 3.3077115913f * m + 0.2309699292f * s;
	rgb[1] = -1.2684380046f * l + 2.6097574011f * m - 0.3413193965f * s;
	rgb[2] = -0.0041960863f * l - 0.7034186147f * m + 1.7076147010f * s;
}

static bool
is_shown(const float rgb[3])
{
	for (int i = 0; i < 3; i++)
		if (rgb[i] < -0.0005f || rgb[i] > 1.0005f)
			return false;
	return true;
}

float
mv_encoded(float linear)
{
	if (linear <= 0)
		return 0;
	if (linear >= 1)
		return 255;
	return 255 * (linear <= 0.0031308f ? 12.92f * linear : 1.055f * powf(linear, 1 / 2.4f) - 0.055f);
}

float
mv_linear(int encoded)
{
	float		x = encoded / 255.0f;

	return x <= 0.04045f ? x / 12.92f : powf((x + 0.055f) / 1.055f, 2.4f);
}

float
mv_luminance(int r, int g, int b)
{
	return 0.2126f * mv_linear(r) + 0.7152f * mv_linear(g) + 0.0722f * mv_linear(b);
}

MvRgb
mv_color_rgb(MvColor color)
{
	float		rgb[3];

	linear_of(color, rgb);
	if (!is_shown(rgb))
	{
		float		low = 0,
					high = color.c;

		for (int i = 0; i < 12; i++)
		{
			color.c = (low + high) / 2;
			linear_of(color, rgb);
			if (is_shown(rgb))
				low = color.c;
			else
				high = color.c;
		}
		color.c = low;
		linear_of(color, rgb);
	}
	return (MvRgb) {mv_encoded(rgb[0]), mv_encoded(rgb[1]), mv_encoded(rgb[2])};
}

MvColor
mv_color_mix(MvColor a, MvColor b, float t)
{
	float		x = a.c * cosf(RADIANS(a.h)) * (1 - t) + b.c * cosf(RADIANS(b.h)) * t;
	float		y = a.c * sinf(RADIANS(a.h)) * (1 - t) + b.c * sinf(RADIANS(b.h)) * t;
	float		chroma = sqrtf(x * x + y * y);
	/* Opposite hues would meet in grey: half of what is lost is given back */
	float		full = a.c * (1 - t) + b.c * t;

	return (MvColor) {
		.l = a.l * (1 - t) + b.l * t,
		.c = chroma + 0.35f * (full - chroma),
		.h = chroma < 1e-5f ? a.h : atan2f(y, x) * (float) (180 / M_PI)
	};
}

MvColor
mv_color_of_inks(const MvPalette *palette, float t)
{
	float		place = fminf(fmaxf(t, 0), 1) * (MV_COVER_INKS - 1);
	int			i = Min((int) place, MV_COVER_INKS - 2);

	return mv_color_mix(palette->ink[i], palette->ink[i + 1], place - i);
}

void
mv_cairo_color(cairo_t *cr, MvColor color, double alpha)
{
	MvRgb		rgb = mv_color_rgb(color);

	cairo_set_source_rgba(cr, rgb.r / 255, rgb.g / 255, rgb.b / 255, alpha);
}

/*
 * The inks of a style are written for a dark ground. All hues turn together by
 * a few degrees and the inks change places, so that two covers of one style
 * are relatives and not twins.
 */
void
mv_cover_palette(MvCover *cover, const MvColor *inks, float ground_hue, float ground_chroma, int scheme)
{
	MvPalette  *palette = &cover->palette;
	MvRandom	random = mv_random_stream(cover->seed, "palette");
	float		turn = mv_random_range(&random, -13, 13);
	float		chroma = mv_random_range(&random, 0.92, 1.08);
	int			shift = mv_random_below(&random, MV_COVER_INKS);
	bool		mirrored = mv_random_below(&random, 2);
	float		lift = mv_random_range(&random, -0.02, 0.02);

	for (int i = 0; i < MV_COVER_INKS; i++)
	{
		MvColor		ink = inks[(mirrored ? MV_COVER_INKS - i + shift : i + shift) % MV_COVER_INKS];

		ink.h += turn;
		ink.c *= chroma;
		/* Pale inks vanish on paper, and deep ones in the night */
		if (scheme == MV_SCHEME_LIGHT && ink.l > 0.72f)
			ink.l = 0.72f + (ink.l - 0.72f) * 0.45f;
		if (scheme == MV_SCHEME_DARK && ink.l < 0.45f)
			ink.l += 0.08f;
		palette->ink[i] = ink;
	}
	ground_hue += turn;
	palette->dark = scheme == MV_SCHEME_DARK;
	switch (scheme)
	{
		case MV_SCHEME_DARK:
			palette->ground = (MvColor) {0.175f + lift, ground_chroma, ground_hue};
			palette->ground2 = (MvColor) {0.27f + lift, ground_chroma * 1.6f, ground_hue + 18};
			break;
		case MV_SCHEME_LIGHT:
			palette->ground = (MvColor) {0.945f + lift, fminf(ground_chroma * 0.5f, 0.03f), ground_hue};
			palette->ground2 = (MvColor) {0.885f + lift, fminf(ground_chroma, 0.05f), ground_hue - 14};
			break;
		default:
			{
				/* An ink becomes the ground; night or paper takes its place */
				int			chosen = 0;
				MvColor		ground;
				float		warm;

				for (int i = 1; i < MV_COVER_INKS; i++)
					if (palette->ink[i].c > palette->ink[chosen].c)
						chosen = i;
				ground = palette->ink[chosen];
				/*
				 * Deep enough for light text, or light enough for dark: in between
				 * neither stands out. Deep yellow and orange would be brown.
				 */
				warm = fmodf(ground.h + 360, 360);
				palette->dark = ground.l < 0.64f && (warm < 42 || warm > 118);
				ground.l = palette->dark ? fminf(ground.l, 0.51f) : warm >= 42 && warm <= 118 ? fmaxf(ground.l, 0.70f) : ground.l;
				palette->ink[chosen] = palette->dark ? (MvColor) {0.95f, 0.03f, ground.h + 40} : (MvColor) {0.22f, 0.05f, ground.h - 30};
				palette->ground = ground;
				palette->ground2 = (MvColor) {ground.l + (palette->dark ? -0.07f : 0.06f), ground.c, ground.h + 12};
			}
	}
	palette->text_light = (MvColor) {0.975f, 0.012f, palette->ink[0].h};
	palette->text_dark = (MvColor) {0.17f, 0.035f, palette->ground.h};
}
