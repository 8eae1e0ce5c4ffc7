/*
 * The door of the room: identifiers of the trade, and messages to and from
 * the partners that take a release.
 */
#ifndef MV_DISTRIBUTION_H
#define MV_DISTRIBUTION_H

/* Defines the settings of the room. Called from _PG_init. */
extern void mv_distribution_init(void);

#endif							/* MV_DISTRIBUTION_H */
