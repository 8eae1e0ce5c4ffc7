/*
 * Drawing a cover from beginning to end; see cover.h for the stages.
 */
#include "postgres.h"

#include <glib-object.h>

#include "distribution/cover.h"

static void (*const families[MV_FAMILIES]) (MvCover *) = {
	[MV_FAMILY_GRADIENT] = mv_cover_gradient,
	[MV_FAMILY_FLOW] = mv_cover_flow,
	[MV_FAMILY_GRID] = mv_cover_grid,
	[MV_FAMILY_RING] = mv_cover_ring,
	[MV_FAMILY_HALFTONE] = mv_cover_halftone,
	[MV_FAMILY_STRATA] = mv_cover_strata,
};

void
mv_cover_draw(MvCover *cover, float grain)
{
	mv_cover_choose(cover);
	cover->grain *= grain;
	mv_cover_fit(cover);
	CHECK_FOR_INTERRUPTS();
	mv_canvas_open(cover);
	families[cover->family] (cover);
	CHECK_FOR_INTERRUPTS();
	mv_canvas_grain(cover);
	mv_cover_write(cover);
	cairo_surface_flush(cover->surface);
	if (cairo_status(cover->cr) != CAIRO_STATUS_SUCCESS)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not draw a cover: %s", cairo_status_to_string(cairo_status(cover->cr)))));
}

void
mv_cover_release(MvCover *cover)
{
	sigset_t	saved;

	if (cover->cr)
		cairo_destroy(cover->cr);
	if (cover->surface)
		cairo_surface_destroy(cover->surface);
	mv_cover_enter_pango(&saved);
	for (int i = 0; i < 2; i++)
		g_clear_object(&cover->layout[i]);
	mv_cover_leave_pango(&saved);
	if (cover->pixels)
		pfree(cover->pixels);
	cover->cr = NULL;
	cover->surface = NULL;
	cover->pixels = NULL;
}
