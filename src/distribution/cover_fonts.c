/*
 * Fonts of covers: fontconfig and Pango inside a server process.
 *
 * Both are made for desktops. Here fontconfig gets a configuration of its own:
 * the folder of the setting, the machine's cache if it may be read, and else a
 * cache in pg_stat_tmp, which the server may write and a base backup leaves
 * out; nothing of the postgres user's home or of /etc/fonts is read, and the
 * environment's languages change nothing. Pango starts threads that load
 * fonts: every call stands between mv_cover_enter_pango() and
 * mv_cover_leave_pango(), so that no thread takes a signal of the server's.
 *
 * The map of fonts is kept for the session: making it costs some tens of
 * milliseconds, and seconds where no cache can be read. It is made anew when
 * the setting has changed.
 */
#include "postgres.h"

#include <fontconfig/fontconfig.h>
#include <glib.h>
#include <pango/pangocairo.h>
#include <pango/pangofc-fontmap.h>
#include <signal.h>

#include "distribution/cover.h"
#include "distribution/covers.h"
#include "pgstat.h"
#include "utils/guc.h"

char	   *mv_font_directory;		/* the setting */

static PangoFontMap *font_map;
static char made_for[MAXPGPATH];

void
mv_covers_init(void)
{
	DefineCustomStringVariable("musicverse.font_directory",
							   "Folder with the fonts of covers.",
							   "Fonts are searched in it and in the folders below.",
							   &mv_font_directory,
							   "/usr/share/fonts",
							   PGC_SUSET, 0,
							   NULL, NULL, NULL);
	mv_media_add(&mv_cover_kind);
}

void
mv_cover_enter_pango(sigset_t *saved)
{
	sigset_t	all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, saved);
}

void
mv_cover_leave_pango(const sigset_t *saved)
{
	sigprocmask(SIG_SETMASK, saved, NULL);
}

/* What the libraries have to say would go to the server's log without a prefix */
static void
say_nothing(const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer data)
{
}

/* As text of an XML element */
static void
escape(char *out, size_t size, const char *text)
{
	size_t		used = 0;

	for (; *text && used + 7 < size; text++)
	{
		const char *piece = *text == '&' ? "&amp;" : *text == '<' ? "&lt;" : *text == '>' ? "&gt;" : NULL;

		if (piece)
		{
			strcpy(out + used, piece);
			used += strlen(piece);
		}
		else
			out[used++] = *text;
	}
	out[used] = '\0';
}

static FcConfig *
configure(const char *directory)
{
	char		folder[MAXPGPATH * 2];
	char		own_cache[MAXPGPATH * 2];
	char		cache_path[MAXPGPATH];
	char		xml[MAXPGPATH * 6];
	FcConfig   *config = FcConfigCreate();

	if (config == NULL)
		return NULL;
	escape(folder, sizeof(folder), directory);
	snprintf(cache_path, sizeof(cache_path), "%s/%s/musicverse_fonts", DataDir, PG_STAT_TMP_DIR);
	escape(own_cache, sizeof(own_cache), cache_path);
	snprintf(xml, sizeof(xml),
			 "<?xml version=\"1.0\"?><!DOCTYPE fontconfig SYSTEM \"fonts.dtd\"><fontconfig>"
			 "<dir>%s</dir><cachedir>/var/cache/fontconfig</cachedir><cachedir>%s</cachedir>"
			 "<match target=\"font\"><edit name=\"antialias\" mode=\"assign\"><bool>true</bool></edit></match>"
			 "<alias binding=\"same\"><family>emoji</family><prefer><family>Noto Color Emoji</family></prefer></alias>"
			 /* fonts of bitmaps, as those of emoji are, are scaled to the size that is asked for */
			 "<match target=\"font\"><test name=\"outline\" compare=\"eq\"><bool>false</bool></test>"
			 "<edit name=\"pixelsizefixupfactor\" mode=\"assign\">"
			 "<divide><name target=\"pattern\">pixelsize</name><name target=\"font\">pixelsize</name></divide></edit>"
			 "<edit name=\"matrix\" mode=\"assign\"><times><name>matrix</name><matrix><name>pixelsizefixupfactor</name><double>0</double>"
			 "<double>0</double><name>pixelsizefixupfactor</name></matrix></times></edit>"
			 "<edit name=\"size\" mode=\"assign\"><divide><name>size</name><name>pixelsizefixupfactor</name></divide></edit></match>"
			 "</fontconfig>", folder, own_cache);
	if (FcConfigParseAndLoadFromMemory(config, (const FcChar8 *) xml, FcTrue) && FcConfigBuildFonts(config))
		return config;
	FcConfigDestroy(config);
	return NULL;
}

static bool
make_map(const char **failure)
{
	static bool quiet = false;
	FcConfig   *config;
	FcFontSet  *fonts;

	if (!quiet)
	{
		g_log_set_handler("Pango", G_LOG_LEVEL_MASK, say_nothing, NULL);
		g_log_set_handler("GLib-GObject", G_LOG_LEVEL_MASK, say_nothing, NULL);
		quiet = true;
	}
	g_clear_object(&font_map);
	config = configure(mv_font_directory);
	if (config == NULL)
	{
		*failure = "fontconfig could not be configured";
		return false;
	}
	fonts = FcConfigGetFonts(config, FcSetSystem);
	if (fonts == NULL || fonts->nfont == 0)
	{
		FcConfigDestroy(config);
		*failure = "there are no fonts";
		return false;
	}
	/* The current configuration of this process: Pango's own thread would read the machine's otherwise */
	FcConfigSetCurrent(config);
	font_map = pango_cairo_font_map_new_for_font_type(CAIRO_FONT_TYPE_FT);
	if (font_map == NULL)
	{
		FcConfigDestroy(config);
		*failure = "Pango was built without FreeType";
		return false;
	}
	pango_fc_font_map_set_config(PANGO_FC_FONT_MAP(font_map), config);
	pango_cairo_font_map_set_resolution(PANGO_CAIRO_FONT_MAP(font_map), 72);
	FcConfigDestroy(config);	/* the map and fontconfig hold it */
	strlcpy(made_for, mv_font_directory, sizeof(made_for));
	return true;
}

PangoContext *
mv_cover_fonts(bool emoji, const char **failure)
{
	PangoContext *context;
	cairo_font_options_t *options;

	if ((font_map == NULL || strcmp(made_for, mv_font_directory) != 0) && !make_map(failure))
		return NULL;
	context = pango_font_map_create_context(font_map);
	options = cairo_font_options_create();
	cairo_font_options_set_antialias(options, CAIRO_ANTIALIAS_GRAY);
	/* letters as they were drawn; but without any hinting cairo leaves the bitmaps of emoji away */
	cairo_font_options_set_hint_style(options, emoji ? CAIRO_HINT_STYLE_SLIGHT : CAIRO_HINT_STYLE_NONE);
	cairo_font_options_set_hint_metrics(options, CAIRO_HINT_METRICS_OFF);
	pango_cairo_context_set_font_options(context, options);
	cairo_font_options_destroy(options);
	pango_context_set_round_glyph_positions(context, FALSE);
	return context;
}
