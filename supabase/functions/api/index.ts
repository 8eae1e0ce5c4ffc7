/*
 * The edge function `api`: hands each request to musicverse.handle_request()
 * and its answer back, both verbatim. All decisions are the database's: who
 * calls, what it may do, what it gets. See docs/edge_function.md.
 *
 * Supabase calls it at /functions/v1/api/…, and what arrives here is /api/…,
 * which is what the routes of the catalogue begin with.
 */
import { answer, type Ask, problem } from "./answer.ts";
import { overConnection, overRpc } from "./transport.ts";

function transport(): Ask {
  const database = Deno.env.get("MUSICVERSE_DB_URL") ?? Deno.env.get("SUPABASE_DB_URL");
  const wanted = Deno.env.get("MUSICVERSE_TRANSPORT") ?? (database ? "connection" : "rpc");
  if (wanted === "connection" && database) {
    return overConnection(database, {
      connections: Number(Deno.env.get("MUSICVERSE_DB_CONNECTIONS") ?? 4),
      prepare: Deno.env.get("MUSICVERSE_DB_PREPARE") !== "false",
    });
  }
  const url = Deno.env.get("SUPABASE_URL");
  const key = Deno.env.get("SUPABASE_SERVICE_ROLE_KEY");
  if (wanted === "rpc" && url && key) return overRpc(url, key);
  throw new Error(
    "set SUPABASE_DB_URL for a connection of its own, or SUPABASE_URL and SUPABASE_SERVICE_ROLE_KEY for calls by RPC",
  );
}

const ask = transport();
const options = {
  /* origins whose pages may call, "*" for all, empty for what the database says */
  origins: (Deno.env.get("MUSICVERSE_CORS_ORIGINS") ?? "*").split(",").map((origin) => origin.trim()).filter(Boolean),
  /* proxies of ours between the client and here: each adds one address to X-Forwarded-For */
  hops: Number(Deno.env.get("MUSICVERSE_PROXY_HOPS") ?? 1),
  maxBody: Number(Deno.env.get("MUSICVERSE_MAX_BODY") ?? 1024 * 1024),
};

const listen = {
  port: Number(Deno.env.get("PORT") ?? 8000),
  hostname: Deno.env.get("HOST") ?? "0.0.0.0",
  onListen: ({ hostname, port }: Deno.NetAddr) => console.log(`listening on http://${hostname}:${port}`),
};

Deno.serve(listen, async (request) => {
  try {
    return await answer(request, ask, options);
  } catch (error) {
    console.error("musicverse:", error);
    return problem(request, 503, "The database can't be reached. Try again later.", { "Retry-After": "1" });
  }
});
