/*
 * What a style looks like: inks in OKLCH, the ground, the face of the text,
 * and the families that suit it.
 *
 * A style is found by a word in what was given ("Epic synthwave" is
 * synthwave); the longest word that is known wins. What no word is known of
 * gets inks from the seed.
 */
#include "postgres.h"

#include <math.h>

#include "distribution/cover.h"

typedef struct Style
{
	const char *words;			/* separated by commas */
	MvFace		face;
	uint8		scheme[3];		/* odds of a dark, a light, a vivid ground */
	uint8		family[MV_FAMILIES];	/* odds of gradient, flow, grid, ring, halftone, strata */
	float		ground_hue;
	float		ground_chroma;
	float		grain;
	MvColor		ink[MV_COVER_INKS];
} Style;

static const Style styles[] = {
	{"ambient,drone,meditation,new age,chill,chillout", MV_FACE_MEDIUM, {4, 5, 1}, {6, 2, 0, 2, 1, 4}, 235, 0.035f, 2.2f,
	{{0.80f, 0.08f, 205}, {0.68f, 0.11f, 255}, {0.87f, 0.07f, 165}, {0.62f, 0.12f, 300}}},
	{"blues", MV_FACE_BOLD, {6, 2, 2}, {2, 2, 2, 2, 4, 2}, 258, 0.05f, 3.0f,
	{{0.55f, 0.15f, 257}, {0.71f, 0.12f, 238}, {0.78f, 0.14f, 70}, {0.43f, 0.14f, 268}}},
	{"classical,baroque,piano,opera,chamber,string quartet,waltz", MV_FACE_SERIF, {2, 7, 1}, {3, 4, 1, 3, 1, 3}, 75, 0.03f, 1.8f,
	{{0.46f, 0.12f, 28}, {0.72f, 0.10f, 80}, {0.36f, 0.07f, 255}, {0.62f, 0.08f, 150}}},
	{"country,americana,bluegrass", MV_FACE_SERIF, {2, 5, 3}, {2, 1, 2, 1, 2, 6}, 70, 0.04f, 3.0f,
	{{0.62f, 0.15f, 48}, {0.78f, 0.13f, 80}, {0.48f, 0.09f, 150}, {0.42f, 0.10f, 28}}},
	{"drum and bass,drum & bass,dnb,jungle,breakbeat", MV_FACE_BLACK, {8, 0, 2}, {1, 4, 3, 3, 3, 0}, 155, 0.02f, 2.6f,
	{{0.87f, 0.22f, 128}, {0.70f, 0.18f, 148}, {0.93f, 0.02f, 140}, {0.76f, 0.15f, 190}}},
	{"electronic,electronica,edm,electro,dance,trance,idm,glitch", MV_FACE_BOLD, {7, 1, 2}, {4, 3, 2, 3, 2, 1}, 282, 0.06f, 2.2f,
	{{0.60f, 0.24f, 290}, {0.67f, 0.25f, 345}, {0.77f, 0.14f, 215}, {0.88f, 0.17f, 172}}},
	{"folk,acoustic,singer-songwriter,singer songwriter,celtic", MV_FACE_SERIF, {2, 7, 1}, {2, 4, 1, 1, 1, 6}, 88, 0.045f, 3.0f,
	{{0.55f, 0.11f, 145}, {0.70f, 0.14f, 62}, {0.46f, 0.10f, 35}, {0.78f, 0.10f, 108}}},
	{"funk,disco,boogie", MV_FACE_BLACK, {1, 2, 7}, {1, 3, 6, 2, 3, 1}, 45, 0.04f, 2.2f,
	{{0.70f, 0.19f, 48}, {0.60f, 0.23f, 352}, {0.84f, 0.17f, 85}, {0.46f, 0.19f, 305}}},
	{"hip hop,hip-hop,hiphop,rap,trap,boom bap,drill,grime", MV_FACE_BLACK, {5, 1, 4}, {2, 2, 3, 2, 5, 0}, 40, 0.015f, 3.4f,
	{{0.83f, 0.18f, 88}, {0.61f, 0.23f, 30}, {0.94f, 0.03f, 90}, {0.50f, 0.18f, 22}}},
	{"house,deep house,uk garage,garage", MV_FACE_BOLD, {4, 2, 4}, {4, 2, 4, 2, 2, 1}, 320, 0.05f, 2.2f,
	{{0.66f, 0.22f, 12}, {0.76f, 0.17f, 58}, {0.56f, 0.21f, 308}, {0.82f, 0.13f, 195}}},
	{"indie,alternative,shoegaze,dream pop,emo", MV_FACE_MEDIUM, {3, 6, 1}, {4, 2, 1, 1, 3, 4}, 60, 0.04f, 3.4f,
	{{0.71f, 0.14f, 28}, {0.83f, 0.11f, 88}, {0.62f, 0.10f, 205}, {0.50f, 0.13f, 272}}},
	{"jazz,swing,bebop,bossa nova,big band", MV_FACE_BOLD, {3, 4, 3}, {1, 3, 6, 2, 3, 1}, 75, 0.035f, 2.6f,
	{{0.52f, 0.16f, 252}, {0.76f, 0.15f, 65}, {0.54f, 0.18f, 27}, {0.85f, 0.11f, 90}}},
	{"latin,salsa,reggaeton,cumbia,samba,bachata,tango,flamenco", MV_FACE_BLACK, {1, 3, 6}, {2, 3, 5, 2, 2, 2}, 55, 0.04f, 2.2f,
	{{0.68f, 0.21f, 38}, {0.84f, 0.17f, 88}, {0.60f, 0.23f, 2}, {0.68f, 0.14f, 175}}},
	{"lo-fi,lofi,lo fi,chillhop,study", MV_FACE_MEDIUM, {3, 5, 2}, {4, 1, 2, 1, 3, 5}, 320, 0.045f, 4.0f,
	{{0.76f, 0.10f, 335}, {0.84f, 0.09f, 65}, {0.64f, 0.11f, 285}, {0.72f, 0.08f, 195}}},
	{"metal,heavy metal,death metal,hardcore,doom,industrial", MV_FACE_BLACK, {9, 0, 1}, {2, 4, 1, 2, 3, 3}, 20, 0.012f, 4.2f,
	{{0.55f, 0.22f, 27}, {0.74f, 0.012f, 250}, {0.42f, 0.17f, 25}, {0.90f, 0.01f, 80}}},
	{"pop,k-pop,j-pop,synthpop,hyperpop", MV_FACE_BLACK, {1, 4, 5}, {5, 3, 4, 2, 3, 1}, 350, 0.05f, 1.8f,
	{{0.69f, 0.22f, 352}, {0.82f, 0.15f, 70}, {0.64f, 0.19f, 298}, {0.84f, 0.12f, 200}}},
	{"r&b,rnb,r and b,soul,gospel,motown,neo soul", MV_FACE_SERIF, {6, 2, 2}, {5, 2, 2, 2, 3, 2}, 15, 0.05f, 3.0f,
	{{0.58f, 0.18f, 15}, {0.70f, 0.15f, 48}, {0.46f, 0.16f, 340}, {0.82f, 0.11f, 72}}},
	{"reggae,dub,ska,dancehall", MV_FACE_BLACK, {4, 3, 3}, {1, 3, 5, 3, 3, 2}, 120, 0.03f, 2.6f,
	{{0.70f, 0.18f, 147}, {0.87f, 0.17f, 95}, {0.60f, 0.22f, 28}, {0.47f, 0.12f, 150}}},
	{"rock,punk,punk rock,rock and roll,hard rock,grunge", MV_FACE_BLACK, {5, 3, 2}, {1, 3, 3, 2, 5, 2}, 30, 0.02f, 3.8f,
	{{0.60f, 0.23f, 28}, {0.81f, 0.15f, 78}, {0.92f, 0.025f, 80}, {0.46f, 0.11f, 258}}},
	{"soundtrack,orchestral,cinematic,epic,film,score,trailer,symphonic", MV_FACE_SERIF, {8, 1, 1}, {4, 3, 0, 2, 1, 6}, 245, 0.04f, 2.8f,
	{{0.76f, 0.13f, 68}, {0.54f, 0.11f, 235}, {0.64f, 0.16f, 40}, {0.42f, 0.10f, 258}}},
	{"synthwave,vaporwave,retrowave,outrun", MV_FACE_BLACK, {9, 0, 1}, {4, 2, 1, 3, 2, 5}, 292, 0.075f, 2.4f,
	{{0.67f, 0.26f, 348}, {0.56f, 0.24f, 298}, {0.80f, 0.15f, 200}, {0.80f, 0.17f, 62}}},
	{"techno,acid,minimal,ebm", MV_FACE_BLACK, {7, 2, 1}, {1, 3, 4, 4, 4, 0}, 260, 0.008f, 2.4f,
	{{0.91f, 0.21f, 118}, {0.78f, 0.015f, 250}, {0.56f, 0.02f, 250}, {0.95f, 0.01f, 110}}},
	{"world,afrobeat,afrobeats,african,ethnic,indian,middle eastern,asian", MV_FACE_BOLD, {2, 4, 4}, {1, 4, 5, 2, 2, 3}, 60, 0.045f, 2.8f,
	{{0.66f, 0.18f, 43}, {0.58f, 0.14f, 155}, {0.82f, 0.16f, 85}, {0.48f, 0.16f, 325}}},
};

const char *const mv_family_names[MV_FAMILIES] = {"gradient", "flow", "grid", "ring", "halftone", "strata"};

static int
pick(MvRandom *random, const uint8 *odds, int count)
{
	int			total = 0,
				at;

	for (int i = 0; i < count; i++)
		total += odds[i];
	at = mv_random_below(random, total);
	for (int i = 0; i < count; i++)
		if ((at -= odds[i]) < 0)
			return i;
	return 0;
}

static bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c & 0x80);
}

/* As a whole word, in any case of ASCII letters */
static bool
has_word(const char *text, const char *word, size_t len)
{
	for (const char *p = text; *p; p++)
		if (pg_strncasecmp(p, word, len) == 0 && (p == text || !is_letter(pg_ascii_tolower(p[-1]))) && !is_letter(pg_ascii_tolower(p[len])))
			return true;
	return false;
}

static const Style *
find_style(const char *text)
{
	const Style *found = NULL;
	size_t		longest = 0;

	for (int i = 0; i < lengthof(styles); i++)
	{
		for (const char *word = styles[i].words; *word;)
		{
			size_t		len = strcspn(word, ",");

			if (len > longest && has_word(text, word, len))
			{
				longest = len;
				found = &styles[i];
			}
			word += len + (word[len] == ',');
		}
	}
	return found;
}

/* Inks that belong together, around a hue of the seed's */
static Style
style_of_seed(MvRandom *random)
{
	static const struct
	{
		float		turn[MV_COVER_INKS];
	}			chords[] = {
		{{0, 28, 56, 190}}, {{0, -32, 150, 180}}, {{0, 24, -28, 120}}, {{0, 60, 30, 210}}, {{0, 180, 20, 200}},
	};
	Style		style = {
		.words = "", .face = mv_random_below(random, 4), .scheme = {4, 4, 2}, .family = {3, 3, 3, 2, 3, 3}, .grain = 2.6f,
		.ground_chroma = mv_random_range(random, 0.02, 0.06)
	};
	float		hue = mv_random_range(random, 0, 360);
	int			chord = mv_random_below(random, lengthof(chords));
	static const float light[MV_COVER_INKS] = {0.66f, 0.78f, 0.54f, 0.85f};
	static const float chroma[MV_COVER_INKS] = {0.19f, 0.14f, 0.16f, 0.12f};

	style.ground_hue = hue + 20;
	for (int i = 0; i < MV_COVER_INKS; i++)
		style.ink[i] = (MvColor) {light[i], chroma[i], hue + chords[chord].turn[i]};
	return style;
}

void
mv_cover_choose(MvCover *cover)
{
	MvRandom	random = mv_random_stream(cover->seed, "style");
	Style		made = style_of_seed(&random);
	const Style *style = find_style(cover->style);
	static const uint8 placings[MV_FAMILIES][4] = {
		/* bottom, top, split, centre */
		{4, 3, 4, 2},
		{4, 3, 2, 0},
		{5, 3, 0, 0},
		{3, 0, 0, 4},
		{4, 3, 3, 0},
		{0, 5, 4, 0},
	};

	if (style == NULL)
		style = &made;
	random = mv_random_stream(cover->seed, "choice");
	cover->face = style->face;
	cover->grain = style->grain;
	cover->family = pick(&random, style->family, MV_FAMILIES);
	mv_cover_palette(cover, style->ink, style->ground_hue, style->ground_chroma, pick(&random, style->scheme, 3));
	if (cover->peak_count > 0)
		cover->family = MV_FAMILY_RING;
	if (cover->forced_family)
		for (int i = 0; i < MV_FAMILIES; i++)
			if (strcmp(cover->forced_family, mv_family_names[i]) == 0)
				cover->family = i;
	cover->placing = pick(&random, placings[cover->family], 4);
}
