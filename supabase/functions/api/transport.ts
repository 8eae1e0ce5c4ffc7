/*
 * The two ways to the database: a connection of its own, or PostgREST's RPC.
 */
import postgres from "postgres";
import type { Ask, Call, Result } from "./answer.ts";

const STATEMENT =
  "select status, headers, body from musicverse.handle_request($1::text, $2::text, null, $3::text::jsonb, $4::text, $5::text::inet)";

/* One statement a request; the pool's connections are kept between requests. */
export function overConnection(url: string, options: { connections: number; prepare: boolean }): Ask {
  const sql = postgres(url, {
    max: options.connections,
    prepare: options.prepare,
    connect_timeout: 5,
    idle_timeout: 60,
    connection: { application_name: "musicverse edge function" },
    onnotice: () => {},
  });
  return async (call: Call): Promise<Result> => {
    const rows = await sql.unsafe(
      STATEMENT,
      [call.method, call.target, JSON.stringify(call.headers), call.body, call.clientIp],
      { prepare: options.prepare },
    );
    return rows[0] as unknown as Result;
  };
}

/* PostgREST has to expose schema musicverse_v1, which has handle_request() for this; the key is the service role's. */
export function overRpc(url: string, key: string): Ask {
  const endpoint = new URL("rest/v1/rpc/handle_request", url.endsWith("/") ? url : url + "/");
  return async (call: Call): Promise<Result> => {
    const response = await fetch(endpoint, {
      method: "POST",
      headers: {
        "apikey": key,
        "authorization": `Bearer ${key}`,
        "content-type": "application/json",
        "content-profile": "musicverse_v1",
        "accept": "application/vnd.pgrst.object+json",
      },
      body: JSON.stringify({
        method: call.method,
        path: call.target,
        query: null,
        headers: call.headers,
        body: call.body,
        client_ip: call.clientIp,
      }),
      redirect: "error",
      signal: AbortSignal.timeout(20_000),
    });
    if (!response.ok) throw new Error(`PostgREST answered ${response.status}: ${(await response.text()).slice(0, 500)}`);
    return await response.json();
  };
}
