/*
 * Sales reports that partners put on their SFTP servers: the distribution
 * worker looks for them, fetches each and imports it.
 *
 * What is looked for, and when a file is whole, is a partner's config to say;
 * what becomes of it is distribution_reports.sql's. At one partner one thing is
 * asked at a time, so that there is one temporary file and one import.
 */
#ifndef MV_REPORTS_H
#define MV_REPORTS_H

#include "postgres.h"

#include "datatype/timestamp.h"

struct MvPartner;

/* For the worker: begins what is due at a partner that has room. */
extern void mv_report_claim(struct MvPartner *partner, TimestampTz now);

#endif							/* MV_REPORTS_H */
