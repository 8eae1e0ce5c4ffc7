/*
 * What the files of LabelGrid's connector share: labelgrid.c plans,
 * labelgrid_start.c asks, labelgrid_finish.c understands.
 */
#ifndef MV_LABELGRID_INT_H
#define MV_LABELGRID_INT_H

#include "distribution/connector.h"
#include "distribution/connector_steps.h"

/* The name of a member of the state about a track, what is known by it, and where the track's file is */
extern char *mv_labelgrid_key(int n, const char *what);
extern char *mv_labelgrid_known(const MvJob *job, int n, const char *what);
extern char *mv_labelgrid_source(const MvJob *job, int n);

/* The platforms that the job is for, as an array */
extern Jsonb *mv_labelgrid_platforms(const MvJob *job);

/* The catalogue number, by which the release is found again */
extern char *mv_labelgrid_number(const MvJob *job);

/* An earlier revision that LabelGrid may have been told to distribute; 0 = none */
extern int	mv_labelgrid_doubtful(const MvJob *job);

/* How often its codes have been asked for when that is done now */
extern int	mv_labelgrid_phase(const MvJob *job);

extern void mv_labelgrid_start(const MvJob *job, const char *step, MvRequest *request);
extern void mv_labelgrid_finish(const MvJob *job, const char *step, const MvResponse *response, MvOutcome *outcome);

#endif							/* MV_LABELGRID_INT_H */
