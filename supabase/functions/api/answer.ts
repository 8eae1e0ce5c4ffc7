/*
 * A request as handle_request() takes it, and its result as an answer.
 */

export type Call = {
  method: string;
  /* path and query, percent-encoded as they came: signed requests are signed over them */
  target: string;
  headers: Record<string, string>;
  body: string | null;
  clientIp: string | null;
};

export type Result = { status: number; headers: Record<string, string | string[]>; body: string | null };
export type Ask = (call: Call) => Promise<Result>;
export type Options = { origins: string[]; hops: number; maxBody: number };

const HOP_BY_HOP = new Set(["connection", "keep-alive", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade", "cookie", "content-length"]);
const EXPOSED = "RateLimit, RateLimit-Policy, Retry-After, X-Request-Id, ETag, Link, Location, Idempotency-Replayed, Deprecation, Sunset";
const WITHOUT_BODY = new Set([101, 204, 205, 304]);

class Refusal extends Error {
  constructor(readonly status: number, message: string) {
    super(message);
  }
}

/* Types and titles are the dispatcher's for the same statuses */
const PROBLEMS: Record<number, [string, string]> = {
  400: ["bad-request", "The request is malformed"],
  413: ["content-too-large", "The content is too large"],
  503: ["unavailable", "Not available at the moment"],
};

/* An id that is sent back must be one that can be; ours is made when it isn't. */
function requestIdOf(request: Request): string {
  const given = request.headers.get("x-request-id");
  return given && /^[\w.:-]{1,128}$/.test(given) ? given : crypto.randomUUID();
}

export function problem(request: Request, status: number, detail: string, headers: Record<string, string> = {}): Response {
  const [type, title] = PROBLEMS[status];
  const request_id = requestIdOf(request);
  return new Response(JSON.stringify({ type: `/problems/${type}`, title, status, detail, request_id }), {
    status,
    headers: { "Content-Type": "application/problem+json", "Cache-Control": "no-store", "X-Request-Id": request_id, ...headers },
  });
}

/* As it was sent: URL would resolve dots and leave things out, behind the back of who judges and of signatures. */
function targetOf(request: Request): string {
  return request.url.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i, "") || "/";
}

/* The bytes of the body as text, untouched; a text of the database holds no other. */
async function bodyOf(request: Request, most: number): Promise<string | null> {
  if (!request.body) return null;
  const tooLarge = () => new Refusal(413, `The body may have ${most} bytes at most.`);
  if (Number(request.headers.get("content-length") ?? 0) > most) throw tooLarge();
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of request.body) {
    size += part.length;
    if (size > most) throw tooLarge();
    parts.push(part);
  }
  const bytes = new Uint8Array(size);
  size = 0;
  for (const part of parts) {
    bytes.set(part, size);
    size += part.length;
  }
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    if (!text.includes("\0")) return text;
  } catch {
    // told below
  }
  throw new Refusal(400, "The body isn't valid UTF-8 without NUL.");
}

/* The address that the outermost of our own proxies saw; what stands left of it is the client's word. */
function clientIpOf(request: Request, hops: number): string | null {
  const addresses = (request.headers.get("x-forwarded-for") ?? "").split(",").map((address) => address.trim()).filter(Boolean);
  const address = hops > 0 ? addresses[addresses.length - hops] : undefined;
  return address && /^[0-9a-fA-F.:]{2,45}$/.test(address) ? address : null;
}

function headersOf(request: Request): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of request.headers) {
    if (!HOP_BY_HOP.has(name) && !value.includes("\0")) headers[name] = value;
  }
  return headers;
}

/* What a page of another origin may see, where the database has said nothing. */
function allowOrigin(request: Request, headers: Headers, origins: string[]) {
  const origin = request.headers.get("origin");
  if (!origin || origins.length === 0 || headers.has("Access-Control-Allow-Origin")) return;
  if (origins.includes("*")) headers.set("Access-Control-Allow-Origin", "*");
  else if (origins.includes(origin)) headers.set("Access-Control-Allow-Origin", origin);
  else return;
  if (!origins.includes("*")) headers.append("Vary", "Origin");
  headers.set("Access-Control-Expose-Headers", EXPOSED);
}

function preflight(request: Request, origins: string[]): Response | null {
  const method = request.headers.get("access-control-request-method");
  if (request.method !== "OPTIONS" || !method || origins.length === 0) return null;
  const headers = new Headers();
  allowOrigin(request, headers, origins);
  if (!headers.has("Access-Control-Allow-Origin")) return null;
  headers.delete("Access-Control-Expose-Headers");
  headers.set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
  headers.set("Access-Control-Allow-Headers", request.headers.get("access-control-request-headers") ?? "authorization, content-type, x-api-key, idempotency-key");
  headers.set("Access-Control-Max-Age", "86400");
  return new Response(null, { status: 204, headers });
}

export async function answer(request: Request, ask: Ask, options: Options): Promise<Response> {
  const early = preflight(request, options.origins);
  if (early) return early;

  let response: Response;
  try {
    const result = await ask({
      method: request.method,
      target: targetOf(request),
      headers: headersOf(request),
      body: await bodyOf(request, options.maxBody),
      clientIp: clientIpOf(request, options.hops),
    });
    const headers = new Headers();
    for (const [name, value] of Object.entries(result.headers ?? {})) {
      for (const one of [value].flat()) headers.append(name, one);
    }
    const bare = request.method === "HEAD" || WITHOUT_BODY.has(result.status);
    response = new Response(bare ? null : result.body, { status: result.status, headers });
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    response = problem(request, error.status, error.message);
  }
  allowOrigin(request, response.headers, options.origins);
  return response;
}
