/*
 * Covers of tiles: circles, arcs, triangles and stripes in a grid that runs
 * over the edges, with a plain panel for the text.
 */
#include "postgres.h"

#include <math.h>

#include "distribution/cover.h"

enum
{
	QUARTER, HALF, CIRCLE, TRIANGLE, ARCS, STRIPES, LEAF, DOTS, PLAIN, RINGS, KINDS
};

/* In a cell from (0, 0) to (1, 1), of the colours that are passed */
static void
draw_tile(cairo_t *cr, int kind, MvColor front, MvColor third)
{
	mv_cairo_color(cr, front, 1);
	switch (kind)
	{
		case QUARTER:
			cairo_move_to(cr, 0, 0);
			cairo_arc(cr, 0, 0, 1, 0, M_PI / 2);
			cairo_fill(cr);
			break;
		case HALF:
			cairo_arc(cr, 0.5, 0, 0.5, 0, M_PI);
			cairo_fill(cr);
			cairo_arc(cr, 0.5, 0.5, 0.5, 0, M_PI);
			mv_cairo_color(cr, third, 1);
			cairo_fill(cr);
			break;
		case CIRCLE:
			cairo_arc(cr, 0.5, 0.5, 0.5, 0, 2 * M_PI);
			cairo_fill(cr);
			cairo_arc(cr, 0.5, 0.5, 0.2, 0, 2 * M_PI);
			mv_cairo_color(cr, third, 1);
			cairo_fill(cr);
			break;
		case TRIANGLE:
			cairo_move_to(cr, 0, 0);
			cairo_line_to(cr, 1, 0);
			cairo_line_to(cr, 0, 1);
			cairo_close_path(cr);
			cairo_fill(cr);
			break;
		case ARCS:
			for (int i = 0; i < 4; i++)
			{
				cairo_move_to(cr, 0, 0);
				cairo_arc(cr, 0, 0, 1 - i * 0.25, 0, M_PI / 2);
				cairo_close_path(cr);
				if (i % 2)
					mv_cairo_color(cr, third, 1);
				else
					mv_cairo_color(cr, front, 1);
				cairo_fill(cr);
			}
			break;
		case STRIPES:
			for (int i = 0; i < 4; i++)
				cairo_rectangle(cr, 0, i * 0.25, 1, 0.125);
			cairo_fill(cr);
			break;
		case LEAF:
			cairo_arc(cr, 0, 0, 1, 0, M_PI / 2);
			cairo_arc(cr, 1, 1, 1, M_PI, 1.5 * M_PI);
			cairo_fill(cr);
			break;
		case DOTS:
			for (int i = 0; i < 9; i++)
			{
				int			row = i / 3;

				cairo_new_sub_path(cr);
				cairo_arc(cr, (i % 3 + 0.5) / 3, (row + 0.5) / 3, 0.1, 0, 2 * M_PI);
			}
			cairo_fill(cr);
			break;
		case RINGS:
			for (int i = 0; i < 3; i++)
			{
				cairo_arc(cr, 0.5, 0.5, 0.5 - i * 0.165, 0, 2 * M_PI);
				if (i % 2)
					mv_cairo_color(cr, third, 1);
				else
					mv_cairo_color(cr, front, 1);
				cairo_fill(cr);
			}
			break;
		default:
			break;
	}
}

/* The colour that differs most from another in lightness */
static int
farthest(const MvColor *colors, int from)
{
	int			found = 0;

	for (int i = 1; i <= MV_COVER_INKS; i++)
		if (fabsf(colors[i].l - colors[from].l) > fabsf(colors[found].l - colors[from].l))
			found = i;
	return found;
}

void
mv_cover_grid(MvCover *cover)
{
	MvRandom	random = mv_random_stream(cover->seed, "grid");
	cairo_t    *cr = cover->cr;
	double		size = cover->size;
	const MvPalette *palette = &cover->palette;
	MvColor		colors[MV_COVER_INKS + 1];
	int			columns = 3 + mv_random_below(&random, 4);
	/* few kinds of tiles make a pattern; all of them would be a sample book */
	int			kinds[3];
	bool		mirrored = mv_random_below(&random, 3) == 0;
	double		first = 0,
				last = size,
				cell;
	int			rows;
	MvBox		box;

	for (int i = 0; i < 3; i++)
		kinds[i] = mv_random_below(&random, KINDS);
	if (kinds[0] == PLAIN || kinds[0] == DOTS || kinds[0] == STRIPES)
		kinds[0] = QUARTER;
	for (int i = 0; i < MV_COVER_INKS; i++)
		colors[i] = palette->ink[i];
	colors[MV_COVER_INKS] = palette->ground;
	/* now and then a print of two inks */
	if (mv_random_below(&random, 3) == 0)
	{
		colors[2] = palette->ink[0];
		colors[3] = palette->ground;
	}

	/* The panel ends where whole tiles begin */
	if (mv_cover_text_box(cover, -1, 0.06, &box))
	{
		if (cover->placing == MV_PLACE_TOP)
			first = Min(box.y1, size * 0.72);
		else
			last = Max(box.y0, size * 0.28);
	}
	cell = size / columns;
	rows = Max(1, (int) ((last - first) / cell));
	while ((rows < 2 || rows * cell < (last - first) * 0.8) && columns < 9)
	{
		columns++;
		cell = size / columns;
		rows = Max(1, (int) ((last - first) / cell));
	}
	if (cover->placing == MV_PLACE_TOP)
		first = size - rows * cell;

	mv_canvas_ground(cover, 0);
	for (int row = 0; row < rows; row++)
		for (int column = 0; column < columns; column++)
		{
			int			back = mv_random_below(&random, MV_COVER_INKS + 1),
						front = (back + 1 + mv_random_below(&random, MV_COVER_INKS)) % (MV_COVER_INKS + 1),
						third = mv_random_below(&random, MV_COVER_INKS + 1);
			int			kind = mv_random_below(&random, 7) == 0 ? mv_random_below(&random, KINDS) : kinds[mv_random_below(&random, 3)];
			int			turn = mv_random_below(&random, 4);

			CHECK_FOR_INTERRUPTS();
			if (third == front)
				third = back;
			/* neighbours in lightness would melt together */
			if (fabsf(colors[front].l - colors[back].l) < 0.1f && fabsf(colors[front].c - colors[back].c) < 0.08f)
				front = farthest(colors, back);
			for (int copy = 0; copy < (mirrored ? 2 : 1); copy++)
			{
				int			place = copy ? columns - 1 - column : column;
				double		x0,
							x1,
							y0,
							y1;

				if (mirrored && column >= (columns + 1) / 2)
					continue;
				/* from whole pixel to whole pixel, or seams would show */
				x0 = floor(place * cell + 0.5);
				x1 = floor((place + 1) * cell + 0.5);
				y0 = floor(first + row * cell + 0.5);
				y1 = floor(first + (row + 1) * cell + 0.5);
				cairo_save(cr);
				cairo_rectangle(cr, x0, y0, x1 - x0, y1 - y0);
				cairo_clip(cr);
				mv_cairo_color(cr, colors[back], 1);
				cairo_paint(cr);
				cairo_translate(cr, (x0 + x1) / 2, (y0 + y1) / 2);
				if (copy)
					cairo_scale(cr, -1, 1);
				cairo_scale(cr, x1 - x0, y1 - y0);
				cairo_rotate(cr, turn * M_PI / 2);
				cairo_translate(cr, -0.5, -0.5);
				draw_tile(cr, kind, colors[front], colors[third]);
				cairo_restore(cr);
			}
		}
}
