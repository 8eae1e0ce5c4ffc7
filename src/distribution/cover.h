/*
 * Covers: what the files cover*.c share.
 *
 * A cover is drawn in stages: its seed, palette and family are chosen
 * (cover_style.c, cover_palette.c), its text is fitted (cover_text.c), the
 * family draws around the places that the text takes, grain is laid over it
 * (cover_canvas.c), what is behind the text is measured and toned down where
 * the text would be hard to read (cover_contrast.c), the text is drawn, and
 * the pixels are encoded (cover_png.c, cover_jpeg.c).
 *
 * Pixels and fields are palloc'd and go with their memory context. Objects of
 * cairo, Pango and libjpeg are malloc'd: each is in MvCover, and
 * mv_cover_release() frees them however the drawing ends, so any stage may
 * raise or be interrupted, but never from inside a callback of theirs.
 */
#ifndef MV_COVER_H
#define MV_COVER_H

#include "postgres.h"

#include <cairo.h>
#include <pango/pango.h>
#include <signal.h>

#include "lib/stringinfo.h"
#include "miscadmin.h"

/* Of the size of the cover: nothing is written nearer to an edge */
#define MV_COVER_MARGIN 0.08
/* WCAG 2's contrast ratio of the text with every pixel behind it */
#define MV_COVER_CONTRAST 4.5

/* ---- chance: cover_noise.c ---- */

typedef struct MvRandom
{
	uint64		state[4];
} MvRandom;

/* A stream of its own for each stage, so that a change of one leaves the others as they are */
extern MvRandom mv_random_stream(const uint8 seed[32], const char *stage);
extern uint64 mv_random_next(MvRandom *random);
extern double mv_random_unit(MvRandom *random);	/* [0, 1) */
extern double mv_random_range(MvRandom *random, double low, double high);
extern int	mv_random_below(MvRandom *random, int limit);

/* Smooth noise in about [-1, 1]; the seed is an offset in its endless plane */
extern float mv_noise(float x, float y, uint32 seed);
extern float mv_noise_octaves(float x, float y, uint32 seed, int octaves);

/* ---- colours: cover_palette.c ---- */

typedef struct MvColor
{
	float		l,
				c,
				h;				/* OKLCH: 0..1, 0..0.4, degrees */
} MvColor;

typedef struct MvRgb
{
	float		r,
				g,
				b;				/* sRGB as encoded, 0..255 */
} MvRgb;

#define MV_COVER_INKS 4

typedef struct MvPalette
{
	bool		dark;			/* the ground is */
	MvColor		ground;
	MvColor		ground2;		/* its neighbour, for slight gradients */
	MvColor		ink[MV_COVER_INKS];
	MvColor		text_light,
				text_dark;
} MvPalette;

extern MvRgb mv_color_rgb(MvColor color);
extern MvColor mv_color_mix(MvColor a, MvColor b, float t);	/* in OKLab */
extern MvColor mv_color_of_inks(const MvPalette *palette, float t);	/* along all inks, 0..1 */
extern void mv_cairo_color(cairo_t *cr, MvColor color, double alpha);
extern float mv_luminance(int r, int g, int b);
extern float mv_linear(int encoded);
extern float mv_encoded(float linear);	/* 0..255 */

/* ---- styles: cover_style.c ---- */

typedef enum MvFamily
{
	MV_FAMILY_GRADIENT,
	MV_FAMILY_FLOW,
	MV_FAMILY_GRID,
	MV_FAMILY_RING,
	MV_FAMILY_HALFTONE,
	MV_FAMILY_STRATA,
	MV_FAMILIES
} MvFamily;

typedef enum MvFace
{
	MV_FACE_BLACK,
	MV_FACE_BOLD,
	MV_FACE_MEDIUM,
	MV_FACE_SERIF
} MvFace;

typedef enum MvPlacing
{
	MV_PLACE_BOTTOM,
	MV_PLACE_TOP,
	MV_PLACE_SPLIT,				/* the title on top, the artist at the bottom */
	MV_PLACE_CENTER				/* at the bottom, centred */
} MvPlacing;

extern const char *const mv_family_names[MV_FAMILIES];

/* ---- the cover ---- */

typedef struct MvBox
{
	double		x0,
				y0,
				x1,
				y1;
} MvBox;

typedef struct MvCover
{
	/* what was asked for */
	char	   *title;			/* cleaned, UTF-8, may be empty */
	char	   *artist;
	char	   *style;
	const double *peaks;
	int			peak_count;
	int			size;
	bool		bare;			/* as with the text, but without it */
	const char *forced_family;	/* for tests; NULL: by style and seed */

	/* what follows from it */
	uint8		seed[32];
	MvFamily	family;
	MvFace		face;
	MvPlacing	placing;
	MvPalette	palette;
	float		grain;			/* standard deviation in levels */

	/* the text: a layout and the box of its ink; an empty text has none */
	PangoLayout *layout[2];		/* title, artist */
	MvBox		ink[2];
	double		origin[2][2];	/* where a layout is drawn */

	/* the drawing */
	uint32	   *pixels;			/* as cairo's RGB24 */
	cairo_surface_t *surface;
	cairo_t	   *cr;
} MvCover;

/* Chooses family, face, palette and grain */
extern void mv_cover_choose(MvCover *cover);
extern void mv_cover_palette(MvCover *cover, const MvColor *inks, float ground_hue, float ground_chroma, int scheme);
enum
{
	MV_SCHEME_DARK, MV_SCHEME_LIGHT, MV_SCHEME_VIVID
};

/* The box of all text, with room around it; false when there is none */
extern bool mv_cover_text_box(const MvCover *cover, int which, double room, MvBox *box);
/* 0 in a box of the text, rising to 1 at the distance */
extern float mv_cover_clearance(const MvCover *cover, double x, double y, double room, double distance);

/* ---- the canvas: cover_canvas.c ---- */

/* A smooth picture of side × side nodes, which spans the cover */
typedef struct MvField
{
	int			side;
	MvRgb	   *node;
} MvField;

extern void mv_canvas_open(MvCover *cover);
extern MvField *mv_field_create(int side);
extern void mv_field_free(MvField *field);
/* columns, if given, holds for every column of pixels where it is read from, 0..1 */
extern void mv_canvas_field(MvCover *cover, const MvField *field, const float *columns);
/* The same within a circle */
extern void mv_canvas_disc(MvCover *cover, const MvField *field, double x, double y, double radius);
extern void mv_canvas_ground(MvCover *cover, float amount);
extern void mv_canvas_grain(MvCover *cover);

/* ---- the families ---- */

extern void mv_cover_gradient(MvCover *cover);
extern void mv_cover_flow(MvCover *cover);
extern void mv_cover_grid(MvCover *cover);
extern void mv_cover_ring(MvCover *cover);
extern void mv_cover_halftone(MvCover *cover);
extern void mv_cover_strata(MvCover *cover);

/* ---- text: cover_fonts.c, cover_text.c, cover_contrast.c ---- */

/*
 * All signals are blocked between these two, as Pango and fontconfig start
 * threads, which inherit the mask. Nothing raises in between.
 */
extern void mv_cover_enter_pango(sigset_t *saved);
extern void mv_cover_leave_pango(const sigset_t *saved);
extern char *mv_font_directory;

/* A context of Pango's for the fonts of the setting; NULL with a reason. Inside the two. */
extern PangoContext *mv_cover_fonts(bool emoji, const char **failure);

extern char *mv_cover_clean(const char *text, const char *what, int limit);
extern void mv_cover_fit(MvCover *cover);
extern void mv_cover_write(MvCover *cover);
extern void mv_cover_ensure_contrast(MvCover *cover, MvColor colors[2]);

/* ---- encoding: cover_png.c, cover_jpeg.c ---- */

extern void mv_cover_png(const MvCover *cover, StringInfo out);
extern void mv_cover_jpeg(const MvCover *cover, StringInfo out);

/* ---- from what is asked for to a file: cover_make.c ---- */

#define MV_COVER_MOST_PEAKS 1000000

typedef struct MvCoverRequest
{
	const char *title;			/* in the database's encoding, or NULL; so are the next ones */
	const char *artist;
	const char *style;
	const char *seed;
	int			size;
	const double *peaks;		/* must stay where they are until the cover is drawn */
	int			peak_count;
} MvCoverRequest;

/* Raises 22023 for what can't be drawn. May need a transaction, for the conversion of encodings. */
extern void mv_cover_prepare(const MvCoverRequest *request, MvCover *cover);
extern bool mv_cover_is_jpeg(const char *format);	/* else it is "png", or it raises */

/* Draws it and writes the file, behind so many bytes of room. Releases the cover. */
extern void mv_cover_make(MvCover *cover, bool jpeg, int room, StringInfo out);

/* ---- cover.c ---- */

/* Draws all of it into pixels; the caller releases it, also after an error */
extern void mv_cover_draw(MvCover *cover, float grain);
extern void mv_cover_release(MvCover *cover);

#endif							/* MV_COVER_H */
