/*
 * Covers of colour alone: fields of ink that run into each other, bent by
 * noise; as they are, behind fluted glass, as curtains of light, or with a
 * disc before them.
 */
#include "postgres.h"

#include <math.h>

#include "distribution/cover.h"

#define SIDE 224
#define SPOTS 6

typedef struct Spot
{
	float		x,
				y,
				weight;
	MvColor		color;
} Spot;

typedef struct Lab
{
	float		l,
				a,
				b;
} Lab;

static Lab
lab_of(MvColor color)
{
	float		h = color.h * (float) (M_PI / 180);

	return (Lab) {color.l, color.c * cosf(h), color.c * sinf(h)};
}

static MvRgb
rgb_of(Lab lab)
{
	return mv_color_rgb((MvColor) {lab.l, hypotf(lab.a, lab.b), atan2f(lab.b, lab.a) * (float) (180 / M_PI)});
}

static void
scatter(const MvCover *cover, MvRandom *random, Spot spots[SPOTS], bool deep)
{
	const MvPalette *palette = &cover->palette;
	float		turn = mv_random_range(random, 0, 2 * M_PI);

	/* Around the middle by the golden angle, so that no two lie on each other */
	for (int i = 0; i < SPOTS; i++)
	{
		float		radius = 0.18f + 0.52f * i / (SPOTS - 1);

		spots[i].x = 0.5f + radius * cosf(turn + i * 2.39996f);
		spots[i].y = 0.5f + radius * sinf(turn + i * 2.39996f);
		spots[i].weight = mv_random_range(random, 0.7, 1.5);
		spots[i].color = i < MV_COVER_INKS ? palette->ink[i] : palette->ground;
		/* night in the middle of colours turns grey behind dark text */
		if (!palette->dark && spots[i].color.l < 0.3f)
			spots[i].color = (MvColor) {0.66f, 0.17f, spots[i].color.h};
		if (i == 5)
		{
			spots[i].color = palette->ground2;
			spots[i].weight *= deep ? 2 : 1;
		}
	}
}

static MvField *
mesh(const MvCover *cover, MvRandom *random, bool deep)
{
	MvField    *field = mv_field_create(SIDE);
	Spot		spots[SPOTS];
	Lab			lab[SPOTS];
	uint32		seed = (uint32) mv_random_next(random);
	float		bend = mv_random_range(random, 0.16, 0.34);
	float		frequency = mv_random_range(random, 1.1, 2.1);

	scatter(cover, random, spots, deep);
	for (int i = 0; i < SPOTS; i++)
		lab[i] = lab_of(spots[i].color);
	for (int j = 0; j < SIDE; j++)
		for (int i = 0; i < SIDE; i++)
		{
			float		x = i / (SIDE - 1.0f),
						y = j / (SIDE - 1.0f);
			float		u = x + bend * mv_noise(x * frequency, y * frequency, seed);
			float		v = y + bend * mv_noise(x * frequency + 31, y * frequency, seed + 1);
			Lab			sum = {0, 0, 0};
			float		total = 0,
						chroma = 0,
						left;

			u += 0.5f * bend * mv_noise(u * frequency * 1.7f, v * frequency * 1.7f, seed + 2);
			v += 0.5f * bend * mv_noise(u * frequency * 1.7f, v * frequency * 1.7f + 53, seed + 3);
			for (int k = 0; k < SPOTS; k++)
			{
				float		dx = u - spots[k].x,
							dy = v - spots[k].y;
				float		near = dx * dx + dy * dy + 0.012f;
				float		weight = spots[k].weight / (near * near);

				sum.l += lab[k].l * weight;
				sum.a += lab[k].a * weight;
				sum.b += lab[k].b * weight;
				chroma += hypotf(lab[k].a, lab[k].b) * weight;
				total += weight;
			}
			/* where hues meet that lie far apart there would be mud: half of the lost chroma is given back */
			left = hypotf(sum.a, sum.b);
			left = left > 1e-6f ? fminf(1 + 0.5f * (chroma / left - 1), 2.2f) : 1;
			field->node[j * SIDE + i] = rgb_of((Lab) {sum.l / total, sum.a / total * left, sum.b / total * left});
		}
	return field;
}

/* Light adds up, and saturates like film */
static float
film(float light)
{
	return mv_encoded(1 - expf(-1.15f * light));
}

/* Curtains: light that hangs from noise and fades upwards */
static MvField *
curtains(const MvCover *cover, MvRandom *random)
{
	const MvPalette *palette = &cover->palette;
	MvField    *field = mv_field_create(SIDE);
	uint32		seed = (uint32) mv_random_next(random);
	float		lean = mv_random_range(random, -0.6, 0.6);
	float		inks[MV_COVER_INKS][3];
	float		strength[MV_COVER_INKS];

	for (int k = 0; k < MV_COVER_INKS; k++)
	{
		MvRgb		ink = mv_color_rgb(palette->ink[k]);

		inks[k][0] = mv_linear((int) ink.r);
		inks[k][1] = mv_linear((int) ink.g);
		inks[k][2] = mv_linear((int) ink.b);
		/* white light makes fog of the coloured one */
		strength[k] = 0.22f + 0.93f * fminf(palette->ink[k].c / 0.12f, 1);
	}
	for (int j = 0; j < SIDE; j++)
		for (int i = 0; i < SIDE; i++)
		{
			float		x = i / (SIDE - 1.0f),
						y = j / (SIDE - 1.0f);
			MvRgb		ground = mv_color_rgb(mv_color_mix(palette->ground, palette->ground2, y));
			float		r = mv_linear((int) ground.r),
						g = mv_linear((int) ground.g),
						b = mv_linear((int) ground.b);

			for (int k = 0; k < MV_COVER_INKS; k++)
			{
				float		s = x + lean * (y - 0.5f);
				float		foot = 0.48f + 0.13f * k + 0.30f * mv_noise(s * 1.3f + k * 7, k * 3.1f, seed);
				float		height = foot - y;
				float		light = height < 0 ? expf(-height * height * 260) : expf(-height * (4.2f + 1.2f * k));

				light *= strength[k] * (0.34f + 0.32f * mv_noise(s * 5.5f + k * 11, y * 0.5f, seed + 9));
				r += light * inks[k][0];
				g += light * inks[k][1];
				b += light * inks[k][2];
			}
			field->node[j * SIDE + i] = (MvRgb) {film(r), film(g), film(b)};
		}
	return field;
}

/* Each flute of the glass shows a wider piece of what is behind it */
static float *
flutes(const MvCover *cover, MvRandom *random)
{
	float	   *columns = palloc(cover->size * sizeof(float));
	int			count = 9 + mv_random_below(random, 12);
	float		power = mv_random_range(random, 1.6, 3.2);

	for (int x = 0; x < cover->size; x++)
	{
		float		place = (x + 0.5f) / cover->size;
		float		flute = floorf(place * count);
		float		within = place * count - flute - 0.5f;

		columns[x] = 0.06f + 0.88f * ((flute + 0.5f) / count + within * power * (1 + 0.8f * within * within) / count);
	}
	return columns;
}

/* A disc with the field turned round: sun, moon, record */
static void
disc(MvCover *cover, MvRandom *random, MvField *field)
{
	MvField    *turned = mv_field_create(SIDE);
	double		radius = mv_random_range(random, 0.23, 0.31);
	double		x = mv_random_below(random, 2) ? 0.5 : mv_random_range(random, 0.42, 0.62);
	double		y = 0.54;
	MvBox		box;

	/* in the middle of what the text leaves free */
	if (cover->placing != MV_PLACE_SPLIT && mv_cover_text_box(cover, -1, 0, &box))
	{
		double		from = cover->placing == MV_PLACE_TOP ? box.y1 / cover->size : 0,
					to = cover->placing == MV_PLACE_TOP ? 1 : box.y0 / cover->size;

		y = (from + to) / 2;
		radius = fmin(radius, fmax(0.16, (to - from) / 2 - 0.05));
	}
	for (int j = 0; j < SIDE; j++)
		for (int i = 0; i < SIDE; i++)
			turned->node[j * SIDE + i] = field->node[(SIDE - 1 - j) * SIDE + (SIDE - 1 - i)];
	mv_canvas_disc(cover, turned, x * cover->size, y * cover->size, radius * cover->size);
	mv_field_free(turned);
}

void
mv_cover_gradient(MvCover *cover)
{
	MvRandom	random = mv_random_stream(cover->seed, "gradient");
	int			kind = mv_random_below(&random, 5);
	bool		night = cover->palette.ground.l < 0.4f;
	MvField    *field = kind == 1 && night ? curtains(cover, &random) : mesh(cover, &random, kind >= 3);
	float	   *columns = kind == 2 ? flutes(cover, &random) : NULL;

	mv_canvas_field(cover, field, columns);
	if (kind == 3)
		disc(cover, &random, field);
	if (columns)
		pfree(columns);
	mv_field_free(field);
}
