/*
 * The canvas of a cover: its pixels, smooth fields stretched over them, and
 * grain.
 *
 * A field is computed at a few ten thousand nodes and stretched with a
 * triangular dither of one level, so gradients show no steps. Dither and
 * grain have cells of 2 pixels at 3000: finer ones cannot be seen, and would
 * make the PNG four times as large.
 */
#include "postgres.h"

#include <math.h>

#include "distribution/cover.h"

#define NOISE_SIZE 4096			/* a power of two above the cells of a row */

static float *noise_table;		/* standard normal, made once a process */

static const float *
noise(void)
{
	if (noise_table == NULL)
	{
		static const uint8 seed[32] = "musicverse covers";
		MvRandom	random = mv_random_stream(seed, "grain");
		float	   *table = malloc(NOISE_SIZE * sizeof(float));

		if (table == NULL)
		{
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("out of memory")));
			return NULL;		/* for who doesn't know ereport() */
		}
		for (int i = 0; i < NOISE_SIZE; i++)
		{
			double		sum = 0;

			for (int k = 0; k < 6; k++)
				sum += mv_random_unit(&random);
			table[i] = (float) ((sum - 3) * M_SQRT2);
		}
		noise_table = table;
	}
	return noise_table;
}

/* Where a row of cells begins in the table */
static inline uint32
row_start(uint32 row)
{
	row *= 0x9E3779B1u;
	row ^= row >> 16;
	return row * 0x85EBCA77u >> 8;
}

static inline int
cell_size(const MvCover *cover)
{
	return Max(1, (cover->size + 750) / 1500);
}

void
mv_canvas_open(MvCover *cover)
{
	int			size = cover->size;

	cover->pixels = palloc_extended((Size) size * size * sizeof(uint32), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	cover->surface = cairo_image_surface_create_for_data((unsigned char *) cover->pixels, CAIRO_FORMAT_RGB24, size, size, size * 4);
	cover->cr = cairo_create(cover->surface);
	if (cairo_status(cover->cr) != CAIRO_STATUS_SUCCESS)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not draw on %d × %d pixels: %s", size, size, cairo_status_to_string(cairo_status(cover->cr)))));
}

MvField *
mv_field_create(int side)
{
	MvField    *field = palloc(sizeof(MvField));

	field->side = side;
	field->node = palloc0((Size) side * side * sizeof(MvRgb));
	return field;
}

void
mv_field_free(MvField *field)
{
	pfree(field->node);
	pfree(field);
}

static inline uint8
level(float value)
{
	return value <= 0 ? 0 : value >= 255 ? 255 : (uint8) value;
}

/* The nodes left and right of a place, and the weight of the right one */
static inline int
between(float place, int side, float *weight)
{
	float		at = fminf(fmaxf(place, 0), 1) * (side - 1);
	int			left = Min((int) at, side - 2);

	*weight = at - left;
	return left;
}

static inline MvRgb
mixed(MvRgb a, MvRgb b, float t)
{
	return (MvRgb) {a.r + (b.r - a.r) * t, a.g + (b.g - a.g) * t, a.b + (b.b - a.b) * t};
}

/* x0 to x1 of a row; the colour is handed over undithered with its noise */
static void
stretch_row(MvCover *cover, const MvField *field, MvRgb *row, const float *columns, int y, int x0, int x1,
			double left, double top, double span)
{
	const float *table = noise();
	uint32	   *out = cover->pixels + (Size) y * cover->size;
	int			cell = cell_size(cover);
	uint32		start = row_start(y / cell);
	float		weight;
	int			above = between((y + 0.5 - top) / span, field->side, &weight);
	const MvRgb *upper = field->node + (Size) above * field->side;
	const MvRgb *lower = upper + field->side;

	for (int i = 0; i < field->side; i++)
		row[i] = mixed(upper[i], lower[i], weight);
	for (int x = x0; x < x1; x++)
	{
		float		right;
		int			i = between(columns ? columns[x] : (x + 0.5 - left) / span, field->side, &right);
		MvRgb		color = mixed(row[i], row[i + 1], right);
		uint32		at = start + x / cell;

		out[x] = (uint32) level(color.r + 0.5f + 0.45f * table[at & (NOISE_SIZE - 1)]) << 16 |
			(uint32) level(color.g + 0.5f + 0.45f * table[(at + 1361) & (NOISE_SIZE - 1)]) << 8 |
			level(color.b + 0.5f + 0.45f * table[(at + 2719) & (NOISE_SIZE - 1)]);
	}
}

void
mv_canvas_field(MvCover *cover, const MvField *field, const float *columns)
{
	MvRgb	   *row = palloc(field->side * sizeof(MvRgb));

	cairo_surface_flush(cover->surface);
	for (int y = 0; y < cover->size; y++)
	{
		CHECK_FOR_INTERRUPTS();
		stretch_row(cover, field, row, columns, y, 0, cover->size, 0, 0, cover->size);
	}
	cairo_surface_mark_dirty(cover->surface);
	pfree(row);
}

void
mv_canvas_disc(MvCover *cover, const MvField *field, double x, double y, double radius)
{
	MvRgb	   *row = palloc(field->side * sizeof(MvRgb));
	int			first = Max(0, (int) (y - radius - 1)),
				last = Min(cover->size - 1, (int) (y + radius + 1));

	cairo_surface_flush(cover->surface);
	for (int line = first; line <= last; line++)
	{
		double		dy = line + 0.5 - y;
		double		half = radius * radius - dy * dy;
		uint32	   *out = cover->pixels + (Size) line * cover->size;
		int			x0,
					x1;
		uint32		edge[2];

		CHECK_FOR_INTERRUPTS();
		if (half <= 0)
			continue;
		half = sqrt(half);
		x0 = Max(0, (int) floor(x - half));
		x1 = Min(cover->size, (int) ceil(x + half));
		if (x0 >= x1)
			continue;
		edge[0] = out[x0];
		edge[1] = out[x1 - 1];
		stretch_row(cover, field, row, NULL, line, x0, x1, x - radius, y - radius, 2 * radius);
		/* the two pixels that the edge runs through are of both */
		for (int side = 0; side < 2; side++)
		{
			int			px = side ? x1 - 1 : x0;
			double		share = side ? x + half - px : px + 1 - (x - half);
			uint32		inner = out[px];

			share = Min(1, Max(0, share));
			out[px] = 0;
			for (int shift = 0; shift <= 16; shift += 8)
				out[px] |= (uint32) ((inner >> shift & 255) * share + (edge[side] >> shift & 255) * (1 - share) + 0.5) << shift;
		}
	}
	cairo_surface_mark_dirty(cover->surface);
	pfree(row);
}

/* The ground, which runs slightly into its neighbour; amount 0 is flat */
void
mv_canvas_ground(MvCover *cover, float amount)
{
	MvRandom	random = mv_random_stream(cover->seed, "ground");
	MvField    *field = mv_field_create(33);
	double		x = mv_random_range(&random, -0.1, 1.1),
				y = mv_random_range(&random, -0.1, 0.6);

	for (int j = 0; j < field->side; j++)
		for (int i = 0; i < field->side; i++)
		{
			double		d = hypot(i / 32.0 - x, j / 32.0 - y);
			float		t = amount * exp(-d * d * 2.2);

			field->node[j * field->side + i] = mv_color_rgb(mv_color_mix(cover->palette.ground, cover->palette.ground2, t));
		}
	mv_canvas_field(cover, field, NULL);
	mv_field_free(field);
}

void
mv_canvas_grain(MvCover *cover)
{
	const float *table = noise();
	int			cell = cell_size(cover);
	/* a small cover isn't a large one seen from afar: its grain would be coarse */
	float		strength = cover->grain * fminf(1, 0.4f + cover->size / 3000.0f);
	int			offset[NOISE_SIZE];

	if (cover->grain <= 0)
		return;
	for (int i = 0; i < NOISE_SIZE; i++)
		offset[i] = (int) lrintf(table[i] * strength);
	cairo_surface_flush(cover->surface);
	for (int y = 0; y < cover->size; y++)
	{
		uint32	   *out = cover->pixels + (Size) y * cover->size;
		uint32		start = row_start(y / cell + 7919);

		CHECK_FOR_INTERRUPTS();
		for (int x = 0; x < cover->size; x++)
		{
			int			n = offset[(start + x / cell) & (NOISE_SIZE - 1)];
			int			r = (int) (out[x] >> 16 & 255) + n,
						g = (int) (out[x] >> 8 & 255) + n,
						b = (int) (out[x] & 255) + n;

			out[x] = (uint32) Min(255, Max(0, r)) << 16 | (uint32) Min(255, Max(0, g)) << 8 | (uint32) Min(255, Max(0, b));
		}
	}
	cairo_surface_mark_dirty(cover->surface);
}
