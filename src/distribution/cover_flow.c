/*
 * Covers of currents: strokes that follow a field of directions and never
 * touch. A coarse map remembers what is taken; the places of the text are
 * taken from the beginning.
 */
#include "postgres.h"

#include <math.h>

#include "distribution/cover.h"

#define MAP 400					/* cells of the map along a side */
#define MAX_STEPS 170

typedef struct Flow
{
	uint8		taken[MAP][MAP];
	uint32		seed;
	float		frequency;
	float		turns;			/* how far directions swing */
	float		lean;
	float		edge;			/* how far strokes run over the edge */
} Flow;

static float
direction(const Flow *flow, float x, float y)
{
	return flow->lean + flow->turns * mv_noise_octaves(x * flow->frequency, y * flow->frequency, flow->seed, 2);
}

static bool
touches(const Flow *flow, float x, float y, float radius)
{
	int			x0 = (int) floorf((x - radius) * MAP),
				x1 = (int) floorf((x + radius) * MAP);
	int			y0 = (int) floorf((y - radius) * MAP),
				y1 = (int) floorf((y + radius) * MAP);

	for (int j = Max(y0, 0); j <= Min(y1, MAP - 1); j++)
		for (int i = Max(x0, 0); i <= Min(x1, MAP - 1); i++)
		{
			float		dx = (i + 0.5f) / MAP - x,
						dy = (j + 0.5f) / MAP - y;

			if (flow->taken[j][i] && dx * dx + dy * dy < radius * radius)
				return true;
		}
	return false;
}

static void
take(Flow *flow, float x, float y, float radius)
{
	int			y0 = Max((int) floorf((y - radius) * MAP), 0),
				y1 = Min((int) floorf((y + radius) * MAP), MAP - 1);

	for (int j = y0; j <= y1; j++)
		for (int i = Max((int) floorf((x - radius) * MAP), 0); i <= Min((int) floorf((x + radius) * MAP), MAP - 1); i++)
		{
			float		dx = (i + 0.5f) / MAP - x,
						dy = (j + 0.5f) / MAP - y;

			if (dx * dx + dy * dy < radius * radius)
				flow->taken[j][i] = 1;
		}
}

/*
 * A label around the text; or a bank, as broad as the cover, along which the
 * strokes end like at a shore.
 */
static void
keep_text_free(const MvCover *cover, Flow *flow, bool bank)
{
	for (int which = 0; which < 2; which++)
	{
		bool		split = cover->placing == MV_PLACE_SPLIT;
		MvBox		box;

		if (!mv_cover_text_box(cover, split ? which : -1, 0.038, &box))
			continue;
		for (int j = 0; j < MAP; j++)
			for (int i = 0; i < MAP; i++)
			{
				double		x = (i + 0.5) / MAP * cover->size,
							y = (j + 0.5) / MAP * cover->size;
				double		shore = bank ? cover->size * (0.022 + 0.03 * mv_noise(i * 3.2f / MAP, which * 9.5f, flow->seed + 5)) : 0;
				bool		on_top = box.y0 + box.y1 < cover->size;

				if (bank && (on_top ? y < box.y1 + shore : y > box.y0 - shore))
					flow->taken[j][i] = 1;
				else if (x > box.x0 && x < box.x1 && y > box.y0 && y < box.y1)
					flow->taken[j][i] = 1;
			}
		if (!split)
			break;
	}
}

/* Follows the field from a place in one sense; returns how many points were written */
static int
follow(const Flow *flow, float x, float y, float sense, float radius, float step, float points[][2], int limit)
{
	int			count = 0;

	while (count < limit)
	{
		float		angle = direction(flow, x, y);

		x += sense * step * cosf(angle);
		y += sense * step * sinf(angle);
		if (x < -flow->edge || y < -flow->edge || x > 1 + flow->edge || y > 1 + flow->edge || touches(flow, x, y, radius))
			break;
		points[count][0] = x;
		points[count][1] = y;
		count++;
	}
	return count;
}

static void
stroke(MvCover *cover, float points[][2], int count, float width, MvColor color, bool round)
{
	cairo_t    *cr = cover->cr;
	double		size = cover->size;

	cairo_move_to(cr, points[0][0] * size, points[0][1] * size);
	for (int i = 1; i < count; i++)
		cairo_line_to(cr, points[i][0] * size, points[i][1] * size);
	cairo_set_line_width(cr, width * size);
	cairo_set_line_cap(cr, round ? CAIRO_LINE_CAP_ROUND : CAIRO_LINE_CAP_BUTT);
	cairo_set_line_join(cr, CAIRO_LINE_JOIN_ROUND);
	mv_cairo_color(cr, color, 1);
	cairo_stroke(cr);
}

void
mv_cover_flow(MvCover *cover)
{
	MvRandom	random = mv_random_stream(cover->seed, "flow");
	Flow	   *flow = palloc0(sizeof(Flow));
	int			kind = mv_random_below(&random, 3);
	/* broad ribbons, mixed, or fine hair */
	float		thick = kind == 0 ? 0.034f : kind == 1 ? 0.020f : 0.0085f;
	float		thin = kind == 0 ? 0.012f : kind == 1 ? 0.0045f : 0.0035f;
	float		gap = kind == 0 ? 0.0065f : kind == 1 ? 0.0055f : 0.0042f;
	int			tries = kind == 2 ? 9000 : 4500;
	bool		round = mv_random_below(&random, 3) > 0;
	bool		by_place = mv_random_below(&random, 2);
	/* all inks, or two of them */
	int			inks = mv_random_below(&random, 3) ? MV_COVER_INKS : 2;
	uint32		color_seed = (uint32) mv_random_next(&random);
	float		points[2 * MAX_STEPS + 1][2];

	flow->seed = (uint32) mv_random_next(&random);
	flow->frequency = mv_random_range(&random, 0.7, kind == 2 ? 1.5 : 1.9);
	flow->turns = mv_random_range(&random, 1.6, 3.4);
	flow->lean = mv_random_range(&random, 0, 2 * M_PI);
	flow->edge = 0.06f;
	mv_canvas_ground(cover, 0.5f);
	keep_text_free(cover, flow, mv_random_below(&random, 4) > 0);
	for (int i = 0; i < tries; i++)
	{
		float		x = mv_random_range(&random, -0.03, 1.03),
					y = mv_random_range(&random, -0.03, 1.03);
		float		late = (float) i / tries;
		/* broad ones first; what is left between them is for the fine ones */
		float		width = (thin + (thick - thin) * powf(mv_random_unit(&random), 1.5f)) * (1 - 0.55f * late);
		float		chance = mv_random_unit(&random);
		float		reach = width / 2 + gap;
		float		step = 0.006f;
		int			most = kind == 2 ? MAX_STEPS : 30 + mv_random_below(&random, MAX_STEPS - 30);
		float		backward[MAX_STEPS][2];
		int			behind,
					count = 0;
		float		t;

		if (i % 64 == 0)
			CHECK_FOR_INTERRUPTS();
		if (touches(flow, x, y, reach))
			continue;
		behind = follow(flow, x, y, -1, reach, step, backward, most / 2);
		for (int k = behind - 1; k >= 0; k--, count++)
			memcpy(points[count], backward[k], sizeof(points[0]));
		points[count][0] = x;
		points[count++][1] = y;
		count += follow(flow, x, y, 1, reach, step, points + count, most - behind);
		if (count < (kind == 2 ? 16 : 9))
			continue;
		for (int k = 0; k < count; k++)
			take(flow, points[k][0], points[k][1], width / 2);
		t = chance;
		if (by_place)
			t = 0.5f + 0.9f * mv_noise(points[count / 2][0] * 1.1f, points[count / 2][1] * 1.1f, color_seed) + 0.28f * (chance - 0.5f);
		/* whole inks, with few mixed ones between: a print, not a rainbow */
		stroke(cover, points, count, width,
			   by_place && kind == 2 ? mv_color_of_inks(&cover->palette, t) : cover->palette.ink[(int) (fminf(fmaxf(t, 0), 0.999f) * inks)],
			   round);
	}
	pfree(flow);
}
