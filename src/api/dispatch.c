/*
 * The dispatcher. See dispatch.h.
 */
#include "postgres.h"

#include "api/dispatch.h"

void
mv_dispatch_init(void)
{
}

void
mv_api_handle(const MvApiRequest *request, MvApiResponse *response)
{
	static const char body[] = "{\"title\":\"Not Implemented\",\"status\":501}";

	memset(response, 0, sizeof(*response));
	response->status = 501;
	response->headers[response->nheaders++] = (MvHeader) {"Content-Type", "application/problem+json"};
	response->body = body;
	response->body_len = sizeof(body) - 1;
	response->operation = "none";
	response->request_id = "";
}
