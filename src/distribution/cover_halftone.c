/*
 * Covers of dots: two inks printed through screens at different angles, whose
 * dots swell with a picture of light: a lit ball, waves, a slope, clouds. The
 * screens fade out towards the text.
 */
#include "postgres.h"

#include <math.h>

#include "distribution/cover.h"

#define SIDE 256

typedef struct Screen
{
	float	   *tone;			/* SIDE × SIDE, 0..1 */
	float		angle;
	float		pitch;			/* in pixels */
	MvRgb		ink;
	bool		lines;
} Screen;

static float
tone_of(int kind, float x, float y, const float *chance, uint32 seed)
{
	switch (kind)
	{
		case 0:					/* a ball, lit from a side */
			{
				float		r = hypotf(x - chance[0], y - chance[1]) / (0.30f + 0.12f * chance[2]);
				float		light = hypotf(x - chance[0] + 0.12f, y - chance[1] + 0.13f) / (0.42f + 0.12f * chance[2]);

				return r < 1 ? 0.12f + 0.95f * light * light : 0.20f * fmaxf(0, 1.25f - 0.62f * r);
			}
		case 1:					/* waves around a point outside */
			{
				float		r = hypotf(x - (chance[2] < 0.5f ? -0.15f : 1.15f), y - chance[1] * 0.5f);

				return 0.45f + 0.42f * sinf(r * (14 + 12 * chance[2]) + 1.5f * mv_noise(x * 2, y * 2, seed));
			}
		case 2:					/* a slope */
			return 1.05f - (x * (chance[2] - 0.3f) + y * (1.1f - chance[2])) * 1.15f + 0.18f * mv_noise(x * 2, y * 2, seed);
		default:				/* clouds */
			return 0.42f + 0.75f * mv_noise_octaves(x * 1.9f, y * 1.9f, seed, 2);
	}
}

static float *
make_tone(const MvCover *cover, int kind, const float *chance, uint32 seed)
{
	float	   *tone = palloc(SIDE * SIDE * sizeof(float));

	for (int j = 0; j < SIDE; j++)
		for (int i = 0; i < SIDE; i++)
		{
			float		value = tone_of(kind, i / (SIDE - 1.0f), j / (SIDE - 1.0f), chance, seed);
			double		scale = cover->size / (SIDE - 1.0);

			value *= mv_cover_clearance(cover, i * scale, j * scale, 0.03, 0.22);
			tone[j * SIDE + i] = fminf(fmaxf(value, 0), 1);
		}
	return tone;
}

static float
tone_at(const float *tone, float x, float y)
{
	int			i = (int) fminf(fmaxf(x * (SIDE - 1) + 0.5f, 0), SIDE - 1);
	int			j = (int) fminf(fmaxf(y * (SIDE - 1) + 0.5f, 0), SIDE - 1);

	return tone[j * SIDE + i];
}

static void
blend(uint32 *pixel, MvRgb ink, float share)
{
	int			r = *pixel >> 16 & 255,
				g = *pixel >> 8 & 255,
				b = *pixel & 255;

	r = (int) (r + (ink.r - r) * share + 0.5f);
	g = (int) (g + (ink.g - g) * share + 0.5f);
	b = (int) (b + (ink.b - b) * share + 0.5f);
	*pixel = (uint32) r << 16 | (uint32) g << 8 | (uint32) b;
}

/* A dot belongs to the cell of the turned grid in which a pixel lies */
static void
print(MvCover *cover, const Screen *screen)
{
	float		c = cosf(screen->angle) / screen->pitch,
				s = sinf(screen->angle) / screen->pitch;
	float		back_c = cosf(screen->angle) * screen->pitch / cover->size,
				back_s = sinf(screen->angle) * screen->pitch / cover->size;

	for (int y = 0; y < cover->size; y++)
	{
		uint32	   *out = cover->pixels + (Size) y * cover->size;
		float		last_u = NAN,
					last_v = NAN,
					radius = 0;

		CHECK_FOR_INTERRUPTS();
		for (int x = 0; x < cover->size; x++)
		{
			float		u = c * x + s * y,
						v = -s * x + c * y;
			float		cell_u = screen->lines ? u : floorf(u) + 0.5f,
						cell_v = floorf(v) + 0.5f;
			float		distance,
						share;

			if (cell_u != last_u || cell_v != last_v)
			{
				float		tone = tone_at(screen->tone, cell_u * back_c - cell_v * back_s, cell_u * back_s + cell_v * back_c);

				radius = screen->lines ? 0.46f * tone : 0.68f * sqrtf(tone);
				last_u = cell_u;
				last_v = cell_v;
			}
			if (radius < 0.06f)
				continue;
			distance = screen->lines ? fabsf(v - cell_v) : sqrtf((u - cell_u) * (u - cell_u) + (v - cell_v) * (v - cell_v));
			share = (radius - distance) * screen->pitch + 0.5f;
			if (share > 0)
				blend(&out[x], screen->ink, fminf(share, 1));
		}
	}
}

/* How much an ink stands out from the ground */
static float
strength(const MvPalette *palette, int ink)
{
	return fabsf(palette->ink[ink].l - palette->ground.l) + palette->ink[ink].c;
}

void
mv_cover_halftone(MvCover *cover)
{
	MvRandom	random = mv_random_stream(cover->seed, "halftone");
	const MvPalette *palette = &cover->palette;
	int			kind = mv_random_below(&random, 4);
	float		chance[3];
	float		pitch = cover->size / mv_random_range(&random, 34, 62);
	float		angle = mv_random_range(&random, 0.15, 0.75);
	bool		lines = mv_random_below(&random, 4) == 0;
	int			strongest = 0,
				other;
	MvBox		box;

	for (int i = 0; i < 3; i++)
		chance[i] = mv_random_unit(&random);
	/* the ball stands where the text is not */
	chance[0] = 0.4f + 0.2f * chance[0];
	chance[1] = 0.42f + 0.1f * chance[1];
	if (kind == 0 && cover->placing != MV_PLACE_SPLIT && mv_cover_text_box(cover, -1, 0.02, &box))
		chance[1] = cover->placing == MV_PLACE_TOP ? (box.y1 / cover->size + 1) / 2 : box.y0 / cover->size / 2;

	/* the ink that stands out most from the ground, and one that differs from it */
	for (int i = 1; i < MV_COVER_INKS; i++)
		if (strength(palette, i) > strength(palette, strongest))
			strongest = i;
	other = (strongest + 1 + mv_random_below(&random, MV_COVER_INKS - 1)) % MV_COVER_INKS;

	mv_canvas_ground(cover, 0.25f);
	cairo_surface_flush(cover->surface);
	for (int layer = 0; layer < 2; layer++)
	{
		Screen		screen = {
			.tone = make_tone(cover, layer == 0 ? (kind == 3 ? 2 : 3) : kind, chance, (uint32) mv_random_next(&random)),
			.angle = layer == 0 ? angle + (float) (M_PI / 6) : angle,
			.pitch = pitch,
			.ink = mv_color_rgb(palette->ink[layer == 0 ? other : strongest]),
			.lines = layer == 1 && lines
		};

		print(cover, &screen);
		pfree(screen.tone);
	}
	cairo_surface_mark_dirty(cover->surface);
}
