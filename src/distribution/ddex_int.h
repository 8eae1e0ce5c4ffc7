/*
 * What the files of the connector of DDEX share.
 *
 *   ddex.c          which step is next, and what it asks
 *   ddex_finish.c   what an answer means
 */
#ifndef MV_DDEX_INT_H
#define MV_DDEX_INT_H

#include "distribution/connector.h"

/* ddex.c */
extern char *mv_ddex_known(const MvJob *job, const char *name);
extern int	mv_ddex_files(const MvJob *job);
extern int	mv_ddex_file_of(const MvJob *job, const char *step);
extern char *mv_ddex_file_key(const MvJob *job, int n);
extern bool mv_ddex_lies(const MvJob *job, int n, const char *where);
extern Jsonb *mv_ddex_number(int number);
extern Jsonb *mv_ddex_file(const MvJob *job, int n);
extern char *mv_ddex_path(const MvJob *job, const char *name);
extern char *mv_ddex_temporary(const char *path);
extern char *mv_ddex_manifest_temporary(const MvJob *job);
extern Jsonb *mv_ddex_message(const MvJob *job);

/* ddex_finish.c */
extern char *mv_ddex_acknowledgement(const char *step);
extern void mv_ddex_finish(const MvJob *job, const char *step, const MvResponse *response, MvOutcome *outcome);

#endif							/* MV_DDEX_INT_H */
