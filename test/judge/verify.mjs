// An independent judge of signed webhooks: reads one JSON object a line,
// {"secret": …, "headers": {…}, "body": …}, and prints "ok" or "bad: <reason>"
// for each. Secrets whsec_… are judged by the standardwebhooks library, public
// keys whpk_… by node's own Ed25519. An optional "now" (seconds since 1970)
// stands in for the clock. Exits with 1 when a line was bad.
import { createPublicKey, verify } from 'node:crypto'
import { createInterface } from 'node:readline'
import { Webhook } from 'standardwebhooks'

const TOLERANCE = 5 * 60
const clock = Date.now

function judgeEd25519(secret, headers, body) {
  const lower = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
  const id = lower['webhook-id']
  const timestamp = lower['webhook-timestamp']
  const signatures = lower['webhook-signature']
  if (!id || !timestamp || !signatures) throw new Error('Missing required headers')
  if (!/^\d+$/.test(timestamp) || Math.abs(Math.floor(Date.now() / 1000) - Number(timestamp)) > TOLERANCE) {
    throw new Error('Message timestamp too old or too new')
  }

  const raw = Buffer.from(secret.slice('whpk_'.length), 'base64')
  if (raw.length !== 32) throw new Error('A public key has 32 bytes')
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: raw.toString('base64url') }, format: 'jwk' })
  const content = Buffer.from(`${id}.${timestamp}.${body}`)
  const matches = signatures.split(' ').some((signature) =>
    signature.startsWith('v1a,') && verify(null, content, key, Buffer.from(signature.slice('v1a,'.length), 'base64')))
  if (!matches) throw new Error('No matching signature found')
}

function judge(line) {
  const { secret, headers, body, now } = JSON.parse(line)
  Date.now = now === undefined ? clock : () => now * 1000
  if (secret.startsWith('whpk_')) judgeEd25519(secret, headers, body)
  else if (secret.startsWith('whsec_')) new Webhook(secret).verify(body, headers, { jsonParse: false })
  else throw new Error('The secret is neither whsec_ nor whpk_')
}

for await (const line of createInterface({ input: process.stdin })) {
  if (line.trim() === '') continue
  try {
    judge(line)
    console.log('ok')
  } catch (error) {
    console.log(`bad: ${error.message}`)
    process.exitCode = 1
  }
}
