/*
 * Plays PostgREST's part for calls of functions: postgrest.mjs SOCKETS PORT USER
 *
 * Sends what PostgREST sends, in its order: the transaction, the settings, the
 * pre-request, the call with the raw body as json. Knows two callers: who has
 * the service key is service_role, others are anon.
 */
import http from 'node:http';
import postgres from 'postgres';

const [sockets, port, user] = process.argv.slice(2);
const sql = postgres({ path: `${sockets}/.s.PGSQL.${port}`, database: 'postgres', username: user, max: 4, onnotice: () => {} });

const server = http.createServer(async (request, response) => {
	const parts = [];
	for await (const part of request) parts.push(part);
	const body = Buffer.concat(parts).toString();
	const name = /^\/rest\/v1\/rpc\/(\w+)$/.exec(request.url)?.[1];
	const token = (request.headers.authorization ?? '').replace(/^Bearer /, '');
	const answer = (status, content) => {
		response.writeHead(status, { 'content-type': 'application/json' });
		response.end(JSON.stringify(content));
	};
	if (!name || request.method !== 'POST') return answer(404, { message: 'not found' });
	if (token !== 'the-service-key') return answer(401, { message: 'JWSError JWSInvalidSignature' });
	const schema = request.headers['content-profile'];
	const { authorization, cookie, ...headers } = request.headers;
	try {
		const rows = await sql.begin('isolation level read committed read write', async (transaction) => {
			await transaction.unsafe(`select set_config('search_path', $1, true), set_config('role', $2, true), set_config('request.jwt.claims', $3, true),
				set_config('request.method', $4, true), set_config('request.path', $5, true), set_config('request.headers', $6, true), set_config('request.cookies', $7, true)`,
				[`"${schema}", "public"`, 'service_role', '{"role":"service_role"}', 'POST', `/rpc/${name}`, JSON.stringify(headers), '{}']);
			await transaction.unsafe('select musicverse.pre_request()');
			const args = Object.keys(JSON.parse(body)).map((argument) => `"${argument}" := pgrst_body."${argument}"`).join(', ');
			return transaction.unsafe(`WITH pgrst_source AS (SELECT pgrst_call.* FROM (SELECT $1::text::json AS json_data) pgrst_payload,
				LATERAL (SELECT * FROM json_to_record(pgrst_payload.json_data) AS _("method" text, "path" text, "query" jsonb, "headers" jsonb, "body" text, "client_ip" inet) LIMIT 1) pgrst_body,
				LATERAL "${schema}"."${name}"(${args}) pgrst_call) SELECT coalesce(json_agg(_postgrest_t)->0, 'null') AS body FROM pgrst_source _postgrest_t`, [body]);
		});
		answer(200, rows[0].body);
	} catch (error) {
		answer(400, { code: error.code, message: error.message });
	}
});
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port, pid: process.pid })));
process.on('SIGTERM', () => process.exit(0));
