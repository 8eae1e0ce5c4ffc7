/*
 * Covers of a landscape: ridges behind ridges, each nearer one stronger in
 * colour, under a sky with a sun. The text stands in the sky.
 */
#include "postgres.h"

#include <math.h>

#include "distribution/cover.h"

static MvField *
sky(const MvCover *cover, MvColor horizon)
{
	MvField    *field = mv_field_create(65);

	for (int j = 0; j < field->side; j++)
		for (int i = 0; i < field->side; i++)
		{
			float		t = fminf(1, 1.5f * j / (field->side - 1.0f));

			field->node[j * field->side + i] = mv_color_rgb(mv_color_mix(cover->palette.ground, horizon, t * t * (3 - 2 * t)));
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
		float		n = sharp ? 0.9f - 2 * fabsf(mv_noise_octaves(x * frequency, seed % 97, seed, 4)) : mv_noise_octaves(x * frequency, seed % 97 + 0.5f, seed, 2);

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

void
mv_cover_strata(MvCover *cover)
{
	MvRandom	random = mv_random_stream(cover->seed, "strata");
	const MvPalette *palette = &cover->palette;
	int			layers = 4 + mv_random_below(&random, 4);
	bool		sharp = mv_random_below(&random, 5) < 2;
	bool		sun = mv_random_below(&random, 4) > 0;
	double		frequency = sharp ? mv_random_range(&random, 1.4, 2.4) : mv_random_range(&random, 0.8, 1.8);
	MvColor		horizon = mv_color_mix(palette->ground, palette->ink[0], 0.62f);
	MvColor		near = palette->dark ? (MvColor) {palette->ground.l * 0.72f, palette->ground.c, palette->ground.h} : palette->ink[1];
	MvField    *field = sky(cover, horizon);
	MvBox		box;
	double		first = 0.46;

	if (!palette->dark && near.l > 0.5f)
		near.l = 0.42f;
	/* the ridges begin under the title */
	if (mv_cover_text_box(cover, 0, 0.09, &box))
		first = fmin(fmax(box.y1 / cover->size, 0.44), 0.72);
	mv_canvas_field(cover, field, NULL);
	mv_field_free(field);
	if (sun)
	{
		double		radius = mv_random_range(&random, 0.10, 0.17);
		double		x = mv_random_range(&random, 0.52, 0.8);
		MvColor		upper = palette->ink[2],
					lower = palette->ink[3];
		MvField    *disc = mv_field_create(33);

		if (upper.l < lower.l)
		{
			upper = palette->ink[3];
			lower = palette->ink[2];
		}
		for (int i = 0; i < 33 * 33; i++)
			disc->node[i] = mv_color_rgb(mv_color_mix(upper, lower, i / 33 / 32.0f * 0.8f));
		mv_canvas_disc(cover, disc, x * cover->size, (first + radius * 0.35) * cover->size, radius * cover->size);
		mv_field_free(disc);
	}
	for (int i = 0; i < layers; i++)
	{
		double		depth = (i + 1.0) / layers;
		double		base = first + 0.05 + (0.97 - first) * pow((double) i / layers, 1.1);
		MvColor		color = mv_color_mix(mv_color_mix(horizon, palette->ink[i % 2 ? 3 : 1], 0.55f), near, powf(depth, 1.25f));

		CHECK_FOR_INTERRUPTS();
		ridge(cover, base, 0.05 + 0.075 * (sharp ? 1.3 : 1) * (1 - 0.3 * depth), frequency * (1 + 0.5 * depth), (uint32) mv_random_next(&random) % 10000,
			  color, mv_color_mix(color, horizon, 0.30f * (1 - depth)), sharp && i < layers - 1);
	}
}
