/*
 * What the files of SoundCloud's connector share: soundcloud.c plans,
 * soundcloud_start.c asks, soundcloud_finish.c understands.
 */
#ifndef MV_SOUNDCLOUD_INT_H
#define MV_SOUNDCLOUD_INT_H

#include "distribution/connector.h"
#include "distribution/connector_steps.h"

/* The name of a member of the state about a track, and what is known by it; n = -1 is the playlist */
extern char *mv_soundcloud_key(int n, const char *what);
extern char *mv_soundcloud_known(const MvJob *job, int n, const char *what);

/* How many tracks the release has; more than one are an album, which has a playlist */
extern int	mv_soundcloud_tracks(const MvJob *job);

/* A digest of where a track's sound comes from, as its machine tag has it */
extern char *mv_soundcloud_sound(const MvJob *job, int n);

/* The URNs of the tracks that are there, in order */
extern Jsonb *mv_soundcloud_urns(const MvJob *job);

extern void mv_soundcloud_start(const MvJob *job, const char *step, MvRequest *request);
extern void mv_soundcloud_finish(const MvJob *job, const char *step, const MvResponse *response, MvOutcome *outcome);

#endif							/* MV_SOUNDCLOUD_INT_H */
