/*
 * What connectors have in common: names of steps, and what is known of files.
 *
 * A step that is made once for each track has its number behind a dot:
 * "upload.0".
 */
#ifndef MV_CONNECTOR_STEPS_H
#define MV_CONNECTOR_STEPS_H

#include "distribution/connector.h"

/* Is it the step of that name, for whichever track? NULL is none. */
extern bool mv_is_step(const char *step, const char *name);

/* The number of the track that a step is for, -1 = none */
extern int	mv_track_of(const char *step);

/* Are both there, and the same? */
extern bool mv_same_text(const char *a, const char *b);

/* The last part of a URL's path when it is a plain name with a suffix, or what stands for it */
extern char *mv_file_name(const char *url, const char *otherwise);

/* What a track's file is called at a partner: as in its URL where that is plain, with the suffix of what it really is */
extern char *mv_track_file_name(const MvJob *job, int n);

/*
 * What a lost answer was about was looked for, and isn't there. May it turn up
 * still? Then it is waited for, doubt_time at most; doubt_at has since when.
 */
extern bool mv_may_turn_up(const MvJob *job, MvOutcome *outcome);

/* The media type of a file by the suffix of its name */
extern const char *mv_media_type(const char *name);

#endif							/* MV_CONNECTOR_STEPS_H */
