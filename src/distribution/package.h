/*
 * Packages: what a release becomes for those who have no API. An artist uploads
 * it by hand, or Apple's Transporter does.
 *
 *   package_text.c   text and names that are safe wherever they are unpacked
 *   package_zip.c    the ZIP, written while its parts come
 *   package_itmsp.c  Apple's metadata.xml
 *   package_sql.c    these as SQL functions
 *   package_build.c  the work of the media worker
 *   packages.c       the connectors bundle and itmsp: asked for, packed, confirmed
 *   itmsp.c          the same by SFTP
 *
 * What is in a package is said in sql/install/distribution_packages.sql.
 */
#ifndef MV_PACKAGE_H
#define MV_PACKAGE_H

#include "postgres.h"

#include "distribution/connector.h"

/* ---- package_text.c */

/*
 * UTF-8 without what has no place in a line of text: control characters,
 * marks that turn the direction of what follows, noncharacters. Runs of white
 * space become one space, none is left at the ends. Composed (NFC). palloc'd.
 */
extern char *mv_plain_text(const char *utf8);

/*
 * A name for a file or a folder that any system takes, of at most so many
 * characters: without separators and what Windows reserves, not hidden, without
 * dots and spaces at its end, and no name of a device. Never empty. palloc'd.
 */
extern char *mv_safe_name(const char *utf8, int max_chars);

/* ---- package_zip.c */

typedef struct MvZip MvZip;

/*
 * Begins a ZIP at the descriptor's position. The same parts make the same
 * bytes, whenever and wherever. NULL without memory. None of these raises;
 * false: mv_zip_problem() tells why, and only mv_zip_free() is left to be called.
 */
extern MvZip *mv_zip_begin(int fd);

/* Begins a part that is stored as it is; what is written of it then has to be of this size. */
extern bool mv_zip_part(MvZip *zip, const char *name, int64 size);
extern bool mv_zip_write(MvZip *zip, const void *bytes, size_t len);

/* A whole part, which is compressed. */
extern bool mv_zip_bytes(MvZip *zip, const char *name, const void *bytes, size_t len);

/* Writes the directory. */
extern bool mv_zip_end(MvZip *zip);

extern const char *mv_zip_problem(const MvZip *zip);
extern void mv_zip_free(MvZip *zip);

/* ---- package_itmsp.c */

/*
 * metadata.xml of a plain release, as _itmsp_release() makes it, in UTF-8 and
 * malloc'd by libxml2: to be freed by xmlFree(). NULL without memory.
 */
extern char *mv_itmsp_write(Jsonb *release);

/* ---- package_build.c */

/* Adds the kind of work to the media worker. Called from _PG_init, after mv_media_init(). */
extern void mv_packages_init(void);

/* ---- itmsp.c */

/* Does the partner take packages by SFTP? Then these are the connector. */
extern bool mv_itmsp_is_sent(const MvJob *job);
extern const char *mv_itmsp_plan(const MvJob *job);
extern void mv_itmsp_start(const MvJob *job, const char *step, MvRequest *request);
extern void mv_itmsp_finish(const MvJob *job, const char *step, const MvResponse *response, MvOutcome *outcome);

#endif							/* MV_PACKAGE_H */
