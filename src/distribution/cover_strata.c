/*
 * Covers of a landscape: ridges behind ridges, each nearer one stronger in
 * colour, under a sky with a sun. The text stands in the sky.
 */
#include "postgres.h"

#include <math.h>

#include "distribution/cover.h"

static MvField *
sky(const MvCover *cover, MvColor horizon, double first)
{
	MvField    *field = mv_field_create(65);

	for (int j = 0; j < field->side; j++)
		for (int i = 0; i < field->side; i++)
		{
			float		t = fminf(1, j / (field->side - 1.0f) / first);

			field->node[j * field->side + i] = mv_color_rgb(mv_color_mix(cover->palette.ground, horizon, t * t * t));
		}
	return field;
}

/* One ridge: what is under it is of its colour, which grows lighter downwards like haze */
static void
ridge(MvCover *cover, double base, double height, double frequency, uint32 seed, MvColor color, MvColor foot, bool sharp)
{
	cairo_t    *cr = cover->cr;
	double		size = cover->size;
	int			points = 260;
	cairo_pattern_t *fill;
	MvRgb		top = mv_color_rgb(color),
				bottom = mv_color_rgb(foot);

	cairo_move_to(cr, -2, size + 2);
	for (int i = 0; i <= points; i++)
	{
		double		x = (double) i / points;
		float		n = sharp ? 0.9f - 2 * fabsf(mv_noise_octaves(x * frequency, seed % 97, seed, 4)) :
			mv_noise_octaves(x * frequency, seed % 97 + 0.5f, seed, 2);

		cairo_line_to(cr, x * (size + 4) - 2, (base - height * n) * size);
	}
	cairo_line_to(cr, size + 2, size + 2);
	cairo_close_path(cr);
	fill = cairo_pattern_create_linear(0, (base - height * 0.5) * size, 0, (base + 0.3) * size);
	cairo_pattern_add_color_stop_rgb(fill, 0, top.r / 255, top.g / 255, top.b / 255);
	cairo_pattern_add_color_stop_rgb(fill, 1, bottom.r / 255, bottom.g / 255, bottom.b / 255);
	cairo_set_source(cr, fill);
	cairo_pattern_destroy(fill);	/* the context holds it */
	cairo_fill(cr);
}

static float
hue_distance(float a, float b)
{
	return fabsf(remainderf(a - b, 360));
}

/* What a sun would have: the ink next to yellow, if any is warm, or the lightest */
static int
warmest(const MvPalette *palette)
{
	int			found = 0;

	for (int i = 1; i < MV_COVER_INKS; i++)
		if (hue_distance(palette->ink[i].h, 65) + (palette->ink[i].c < 0.05f ? 180 : 0) <
			hue_distance(palette->ink[found].h, 65) + (palette->ink[found].c < 0.05f ? 180 : 0))
			found = i;
	if (hue_distance(palette->ink[found].h, 65) > 75)
		for (int i = 0; i < MV_COVER_INKS; i++)
			if (palette->ink[i].l > palette->ink[found].l)
				found = i;
	return found;
}

/* The ink whose hue is nearest to another's, a third left aside */
static int
nearest_hue(const MvPalette *palette, int ink, int aside)
{
	int			found = -1;

	for (int i = 0; i < MV_COVER_INKS; i++)
		if (i != ink && i != aside &&
			(found < 0 || hue_distance(palette->ink[i].h, palette->ink[ink].h) < hue_distance(palette->ink[found].h, palette->ink[ink].h)))
			found = i;
	return found;
}

void
mv_cover_strata(MvCover *cover)
{
	MvRandom	random = mv_random_stream(cover->seed, "strata");
	const MvPalette *palette = &cover->palette;
	int			layers = 4 + mv_random_below(&random, 4);
	bool		sharp = mv_random_below(&random, 5) < 2;
	bool		sun = mv_random_below(&random, 4) > 0;
	double		frequency = sharp ? mv_random_range(&random, 1.4, 2.4) : mv_random_range(&random, 0.8, 1.8);
	int			glow = warmest(palette);
	int			body = (glow + 1 + mv_random_below(&random, MV_COVER_INKS - 1)) % MV_COVER_INKS;
	MvColor		deep = palette->ink[body],
				far = palette->ink[nearest_hue(palette, body, glow)];
	bool		vivid = palette->ground.c > 0.1f;
	MvColor		horizon = {palette->dark ? 0.44f : 0.87f, palette->ink[glow].c * (palette->dark ? 0.75f : 0.5f), palette->ink[glow].h};
	MvField    *field;
	MvBox		box;
	double		first = 0.46;

	/* a coloured sky has ridges of its own hue: others would turn to mud */
	if (vivid)
	{
		horizon = (MvColor) {palette->ground.l + 0.12f, palette->ground.c * 0.9f, palette->ground.h + 14};
		far = (MvColor) {palette->ground.l - 0.06f, palette->ground.c, palette->ground.h - 8};
		deep = (MvColor) {0.26f, fminf(palette->ground.c, 0.12f), palette->ground.h - 32};
	}
	else
	{
		/* the nearest ridge is the darkest, the farthest is nearly of the sky's colour */
		deep.l = palette->dark ? palette->ground.l * 0.8f : 0.34f;
		deep.c = fminf(deep.c, palette->dark ? 0.07f : 0.12f);
		far.l = palette->dark ? fminf(far.l, 0.56f) : fminf(fmaxf(far.l, 0.68f), 0.78f);
		far = mv_color_mix(far, horizon, 0.2f);
	}
	/* the ridges begin under the title */
	if (mv_cover_text_box(cover, cover->placing == MV_PLACE_TOP ? -1 : 0, sharp ? 0.13 : 0.1, &box))
		first = fmin(fmax(box.y1 / cover->size, mv_random_range(&random, 0.42, 0.6)), 0.78);
	field = sky(cover, horizon, first);
	mv_canvas_field(cover, field, NULL);
	mv_field_free(field);
	if (sun)
	{
		double		radius = mv_random_range(&random, 0.08, 0.2);
		double		x = mv_random_range(&random, 0.3, 0.8);
		MvColor		upper = palette->ink[glow],
					lower;

		double		y;
		double		lift = mv_random_range(&random, -0.1, 0.55);
		MvField    *disc = mv_field_create(33);

		/* brighter than the sky behind it, whatever that is */
		upper.l = fminf(0.96f, fmaxf(upper.l, horizon.l + 0.16f));
		if (vivid)
			upper = (MvColor) {0.94f, 0.06f, 85};
		else if (!palette->dark && upper.l > 0.85f)
			upper = palette->ink[glow];	/* paper is as light: rather a coloured one */
		lower = mv_color_mix(upper, horizon, 0.45f);
		for (int i = 0; i < 33 * 33; i++)
		{
			int			row = i / 33;

			disc->node[i] = mv_color_rgb(mv_color_mix(upper, lower, row / 32.0f * 0.8f));
		}
		y = first + radius * lift;
		/* never behind a word */
		if (mv_cover_text_box(cover, cover->placing == MV_PLACE_TOP ? -1 : 0, 0.03, &box))
			y = fmax(y, box.y1 / cover->size + radius);
		mv_canvas_disc(cover, disc, x * cover->size, y * cover->size, radius * cover->size);
		mv_field_free(disc);
	}
	for (int i = 0; i < layers; i++)
	{
		double		depth = (i + 1.0) / layers;
		double		base = first + 0.05 + (0.97 - first) * pow((double) i / layers, 1.1);
		MvColor		color = mv_color_mix(far, deep, (float) i / (layers - 1));

		CHECK_FOR_INTERRUPTS();
		ridge(cover, base, 0.05 + 0.075 * (sharp ? 1.3 : 1) * (1 - 0.3 * depth), frequency * (1 + 0.5 * depth),
			  (uint32) mv_random_next(&random) % 10000, color, mv_color_mix(color, far, 0.45f * (1 - depth)), sharp && i < layers - 1);
	}
}
