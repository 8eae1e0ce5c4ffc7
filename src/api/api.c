/*
 * Table of contents of the room.
 */
#include "postgres.h"

#include "api/api.h"
#include "api/dispatch.h"
#include "api/gateway.h"

void
mv_api_init(void)
{
	mv_dispatch_init();
	mv_gateway_init();
}
