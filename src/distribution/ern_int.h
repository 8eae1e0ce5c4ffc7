/*
 * A release as it stands in an ERN message, in the form between the JSON that
 * it is read from and the XML that is written of it.
 *
 * All text is UTF-8 that XML can hold. It is palloc'd by the reader; the
 * writers allocate by libxml2 only and never raise, so that what they made is
 * freed in one place.
 */
#ifndef MV_ERN_INT_H
#define MV_ERN_INT_H

#include "postgres.h"

#include <libxml/tree.h>

#include "utils/jsonb.h"

#define ern_array(type, n) ((type *) palloc0((n) * sizeof(type)))

#define ERN_MAX_TRACKS	1000
#define ERN_MAX_LIST	1000	/* artists, contributors, deals, territories, ... of one thing */

typedef enum ErnVersion
{
	ERN_432,
	ERN_382
} ErnVersion;

typedef enum ErnKind
{
	ERN_INSERT,
	ERN_UPDATE,
	ERN_TAKEDOWN,
	ERN_PURGE
} ErnKind;

typedef enum ErnTakedown
{
	ERN_NO_DEAL,
	ERN_END_DATE,
	ERN_TAKE_DOWN				/* an element of that name, 3.8.2 only */
} ErnTakedown;

typedef struct ErnStrings
{
	int			n;
	const char **item;
} ErnStrings;

/* A person or group in a role */
typedef struct ErnCredit
{
	const char *name;			/* NULL: generative AI itself, a contributor without a name */
	const char *sort_name;
	const char *isni;
	const char *ipi;
	const char *role;
	const char *ai;				/* All, None, Partly */
	int			party;			/* among ErnMessage.parties */
} ErnCredit;

typedef struct ErnCredits
{
	int			n;
	ErnCredit  *item;
} ErnCredits;

typedef struct ErnLine
{
	const char *year;
	const char *text;			/* NULL: no line */
} ErnLine;

typedef struct ErnFile
{
	const char *name;			/* NULL: no file */
	const char *hash;
	int64		size;			/* 0: unknown */
	const char *codec;
} ErnFile;

typedef struct ErnTrack
{
	const char *isrc;
	const char *iswc;
	const char *title;
	const char *version;
	const char *full_title;		/* with the version in parentheses */
	const char *artist_name;
	ErnCredits	artists;
	ErnCredits	contributors;
	int			seconds;
	int			disc;
	const char *explicit;		/* the allowed value of the standard, as in the release */
	const char *contains_ai;
	const char *language;
	const char *genre;
	const char *subgenre;
	const char *first_published;
	ErnLine		p_line;
	int			instrumental;	/* -1: not said */
	ErnFile		file;
	int			channels;		/* these three: 0 is unknown */
	int			sample_rate;
	int			bits;
} ErnTrack;

typedef struct ErnDeal
{
	const char *start;
	const char *end;
	bool		pre_order;
	ErnStrings	territories;
	ErnStrings	excluded;
	ErnStrings	commercial_models;
	ErnStrings	use_types;
} ErnDeal;

typedef struct ErnMessage
{
	/* of the partner's profile */
	ErnVersion	version;
	ErnKind		kind;
	ErnTakedown takedown;
	const char *takedown_at;
	const char *sender;
	const char *sender_name;
	const char *on_behalf_of;
	const char *on_behalf_of_name;
	const char *recipient;
	const char *recipient_name;
	const char *message_id;
	const char *thread_id;
	const char *created;
	const char *avs_version;
	const char *release_profile;
	const char *hash_algorithm;
	const char *resource_folder;
	bool		test;
	bool		backfill;
	bool		resources;		/* are files described? */
	bool		validate;

	/* of the release */
	const char *type;
	const char *upc;			/* NULL: it has a GRid */
	const char *grid;
	const char *catalog_number;
	const char *title;
	const char *version_title;
	const char *full_title;
	const char *language;
	const char *artist_name;
	ErnCredits	artists;
	const char *label;
	const char *genre;
	const char *subgenre;
	ErnLine		p_line;
	ErnLine		c_line;
	const char *explicit;
	const char *contains_ai;
	const char *release_date;
	const char *original_release_date;
	int			seconds;
	bool		has_cover;
	ErnFile		cover;
	int			cover_width;
	int			cover_height;
	const char *cover_ai;
	int			ntracks;
	ErnTrack   *tracks;
	int			ndeals;
	ErnDeal    *deals;

	/* everybody who is named, each once; the label is the last */
	int			nparties;
	ErnCredit **parties;
	int			ndiscs;
} ErnMessage;

/* ---- ern_json.c: members of an object, cleaned, with what is wrong noted ---- */

typedef struct ErnReader
{
	StringInfoData problems;	/* one a line */
	int			nproblems;
} ErnReader;

/* An object and what it is called in a problem: "tracks[2]" */
typedef struct ErnObject
{
	ErnReader  *reader;
	JsonbContainer *json;		/* NULL: not there, so nothing is in it */
	const char *name;
} ErnObject;

extern void ern_problem(ErnObject *object, const char *member, const char *format,...) pg_attribute_printf(3, 4);
extern const char *ern_text(ErnObject *object, const char *member, const char *otherwise);
extern const char *ern_need_text(ErnObject *object, const char *member);
extern const char *ern_choice(ErnObject *object, const char *member, const char *const choices[], const char *otherwise);
extern int64 ern_number(ErnObject *object, const char *member, int64 lowest, int64 highest, int64 otherwise);
extern bool ern_bool(ErnObject *object, const char *member, bool otherwise);
extern ErnStrings ern_strings(ErnObject *object, const char *member);
extern ErnObject ern_object(ErnObject *object, const char *member);
extern bool ern_has(ErnObject *object, const char *member);

/* The objects of an array; *n of them, 0 when it isn't there */
extern ErnObject *ern_objects(ErnObject *object, const char *member, int max, int *n);

/* Checks the text of a member; NULL is let through */
extern void ern_check_date(ErnObject *object, const char *member, const char *value);
extern const char *ern_check_time(ErnObject *object, const char *member, const char *value);

/* ---- ern_read.c ---- */

/* Reads both; raises 22023 with everything that is wrong. */
extern ErnMessage *ern_read(Jsonb *release, Jsonb *profile);

/* The header's part of a profile, which a manifest needs too */
extern void ern_read_parties(ErnObject *profile, ErnMessage *message);

/* Raises when something was noted */
extern void ern_report(ErnReader *reader, const char *what);

/* ---- ern_write.c: by libxml2 only ---- */

/* The message; NULL without memory. */
extern xmlBufferPtr ern_write(const ErnMessage *message);

typedef struct ErnManifestEntry
{
	const char *type;
	const char *message_id;
	const char *release_id;
	bool		is_grid;		/* else it is a GTIN */
	const char *url;
	const char *hash;
	const char *delivery;
} ErnManifestEntry;

extern xmlBufferPtr ern_write_manifest(const ErnMessage *message, const char *space, const char *root,
									   const ErnManifestEntry *entries, int nentries);

#endif							/* MV_ERN_INT_H */
