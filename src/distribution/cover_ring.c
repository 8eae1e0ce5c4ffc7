/*
 * Covers of sound: the loudness of the track wound to a ring, as bars, as
 * dots, or as nested lines. Without the track's peaks the seed makes up some
 * that breathe like music.
 */
#include "postgres.h"

#include <math.h>

#include "distribution/cover.h"

#define MOST_BARS 240

/* The highest of each share of the peaks, as 0..1 of the highest of all */
static void
resample(const MvCover *cover, float *bars, int count)
{
	double		highest = 0;

	for (int i = 0; i < cover->peak_count; i++)
		highest = Max(highest, fabs(cover->peaks[i]));
	for (int i = 0; i < count; i++)
	{
		int			from = (int) ((int64) i * cover->peak_count / count);
		int			to = Max(from + 1, (int) ((int64) (i + 1) * cover->peak_count / count));
		double		most = 0;

		for (int k = from; k < to; k++)
			most = Max(most, fabs(cover->peaks[k]));
		/* loud music is loud throughout: what differs is lifted out */
		bars[i] = highest > 0 ? powf(most / highest, 1.4f) : 0;
	}
}

static void
make_up(MvRandom *random, float *bars, int count)
{
	uint32		seed = (uint32) mv_random_next(random);
	float		highest = 0;
	int			sections = 3 + mv_random_below(random, 3);

	for (int i = 0; i < count; i++)
	{
		float		at = (float) i / count;
		float		part = 0.55f + 0.4f * mv_noise(floorf(at * sections) * 3.7f + 0.5f, 0.5f, seed);
		float		phrase = 0.75f + 0.25f * mv_noise(at * 22, 3.3f, seed + 1);
		float		beat = 0.55f + 0.45f * (float) mv_random_unit(random);
		float		ends = fminf(1, fminf(at, 1 - at) * 14 + 0.15f);

		bars[i] = fmaxf(0.04f, part * phrase * beat * ends);
		highest = fmaxf(highest, bars[i]);
	}
	for (int i = 0; i < count; i++)
		bars[i] /= highest;
}

static void
draw_bars(MvCover *cover, const float *bars, int count, double x, double y, double inner, double reach, bool both, bool dots)
{
	cairo_t    *cr = cover->cr;
	double		pitch = 2 * M_PI * inner / count;

	cairo_set_line_cap(cr, CAIRO_LINE_CAP_ROUND);
	for (int i = 0; i < count; i++)
	{
		double		angle = 2 * M_PI * i / count - M_PI / 2;
		double		c = cos(angle),
					s = sin(angle);
		double		length = reach * bars[i];
		double		turn = fabs(2.0 * i / count - 1);
		MvColor		color = mv_color_of_inks(&cover->palette, turn);

		if (i % 32 == 0)
			CHECK_FOR_INTERRUPTS();
		mv_cairo_color(cr, color, 1);
		if (dots)
		{
			int			many = 1 + (int) (length / (pitch * 1.15));

			for (int k = 0; k < many; k++)
			{
				double		r = inner + k * pitch * 1.15;

				cairo_new_sub_path(cr);
				cairo_arc(cr, x + c * r, y + s * r, pitch * 0.33 * (1 + 0.02 * k), 0, 2 * M_PI);
			}
			cairo_fill(cr);
			continue;
		}
		cairo_set_line_width(cr, pitch * 0.62);
		cairo_move_to(cr, x + c * (inner - (both ? length * 0.42 : 0)), y + s * (inner - (both ? length * 0.42 : 0)));
		cairo_line_to(cr, x + c * (inner + length), y + s * (inner + length));
		cairo_stroke(cr);
	}
}

/* Smooth closed lines, each calmer than the one outside it */
static void
draw_lines(MvCover *cover, const float *bars, int count, double x, double y, double inner, double reach)
{
	cairo_t    *cr = cover->cr;
	int			lines = 22;
	float		calm[MOST_BARS],
				next[MOST_BARS] = {0};

	memcpy(calm, bars, count * sizeof(float));
	cairo_set_line_join(cr, CAIRO_LINE_JOIN_ROUND);
	for (int line = 0; line < lines; line++)
	{
		double		depth = (double) line / (lines - 1);
		double		base = inner * (1.08 - 0.72 * depth);

		CHECK_FOR_INTERRUPTS();
		for (int pass = 0; pass < 2; pass++)
		{
			for (int i = 0; i < count; i++)
				next[i] = 0.25f * calm[(i + count - 1) % count] + 0.5f * calm[i] + 0.25f * calm[(i + 1) % count];
			memcpy(calm, next, count * sizeof(float));
		}
		for (int i = 0; i <= count; i++)
		{
			double		from = 2 * M_PI * i / count - M_PI / 2;
			double		a = base + reach * (1 - 0.75 * depth) * calm[i % count] * 0.95;

			if (i == 0)
				cairo_move_to(cr, x + cos(from) * a, y + sin(from) * a);
			else
				cairo_line_to(cr, x + cos(from) * a, y + sin(from) * a);
		}
		cairo_close_path(cr);
		cairo_set_line_width(cr, cover->size * (0.0042 - 0.0022 * depth));
		mv_cairo_color(cr, mv_color_of_inks(&cover->palette, depth), 1);
		cairo_stroke(cr);
	}
}

void
mv_cover_ring(MvCover *cover)
{
	MvRandom	random = mv_random_stream(cover->seed, "ring");
	double		size = cover->size;
	int			kind = mv_random_below(&random, 4);
	int			count = kind == 3 ? MOST_BARS : kind == 2 ? 72 : 84 + 18 * mv_random_below(&random, 4);
	float		bars[MOST_BARS];
	MvBox		box;
	double		floor = size * 0.92,
				outer,
				x,
				y;
	bool		centred = cover->placing == MV_PLACE_CENTER;

	if (cover->peak_count > 0)
		resample(cover, bars, count);
	else
		make_up(&random, bars, count);
	if (mv_cover_text_box(cover, -1, 0.05, &box))
		floor = Max(box.y0, size * 0.45);

	/* In the room above the text; or large, and over the corner */
	if (centred)
	{
		outer = fmin(floor - size * 0.055, size * 0.86) / 2;
		x = size / 2;
		y = size * 0.055 + (floor - size * 0.055) / 2;
	}
	else
	{
		outer = fmax(floor * 0.86, size * 0.42);
		x = size * 0.66;
		y = floor - outer;
	}
	mv_canvas_ground(cover, 0.7f);
	if (kind == 3)
		draw_lines(cover, bars, count, x, y, outer * 0.64, outer * 0.36);
	else
		draw_bars(cover, bars, count, x, y, outer * (kind == 1 ? 0.66 : 0.52), outer * (kind == 1 ? 0.34 : 0.48), kind == 1, kind == 2);
}
