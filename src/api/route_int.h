/*
 * Within the catalogue of routes: the tree of segments.
 */
#ifndef MV_ROUTE_INT_H
#define MV_ROUTE_INT_H

#include "api/route.h"

struct MvNode
{
	const char *segment;		/* NULL for a parameter and the root */
	int			len;
	int			nchildren;
	MvNode	  **children;		/* literal ones, sorted */
	MvNode	   *parameter;
	MvRoute    *routes[MV_METHODS];
};

struct MvRoutes
{
	MemoryContext context;
	uint64		generation;		/* of the tables, when they were read */
	int			holders;
	MvNode	   *root;
	int			nroutes;
	MvRoute   **routes;
};

#endif							/* MV_ROUTE_INT_H */
