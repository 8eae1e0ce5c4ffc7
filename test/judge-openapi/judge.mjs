// Independent judges of the API's description. Reads one JSON object a line:
//   {"document": FILE}                                  lints it by Redocly's rules and validates it against the schema of OpenAPI 3.1
//   {"document": FILE, "operation": ID, "answer": JSON} validates an answer against the operation's response schema, and compares its
//                                                       members with those of the example, in both directions
//   {"document": FILE, "examples": true}                validates every example of requests, parameters, answers, webhooks and schemas
//                                                       against the schema it stands beside; prints "ok <how many>"
//   {"document": FILE, "operation": ID, "status": N, "headers": {…}, "answer": JSON}
//                                                       validates an answer against what is described for its status: type of content,
//                                                       body and headers
//   {"document": FILE, "request": ID, "answer": JSON}   validates a body that is sent
//   {"document": FILE, "webhook": NAME, "headers": {…}, "answer": JSON} validates what was delivered for an event
// and prints "ok" or "bad: <reasons>" for each.
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { createConfig, lint } from '@redocly/openapi-core'
import { Validator } from '@seriousme/openapi-schema-validator'
import Ajv2020 from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'

const config = await createConfig({
  extends: ['recommended-strict'],
  rules: { 'operation-operationId-url-safe': 'error', 'no-unused-components': 'error', 'no-ambiguous-paths': 'error',
    'path-params-defined': 'error', 'operation-parameters-unique': 'error', 'no-invalid-media-type-examples': 'error',
    'no-invalid-schema-examples': 'error', 'no-invalid-parameter-examples': 'error', 'operation-tag-defined': 'error' } })

async function judgeDocument(file) {
  const problems = (await lint({ ref: file, config }))
    .map((p) => `${p.ruleId}: ${p.message} at ${p.location[0]?.pointer}`)
  const result = await new Validator().validate(file)
  if (!result.valid) problems.push(`schema: ${JSON.stringify(result.errors)}`)
  return problems
}

const documents = new Map()

function operations(file) {
  if (!documents.has(file)) {
    const document = JSON.parse(readFileSync(file, 'utf8'))
    const ajv = new Ajv2020({ strict: false, allErrors: true })
    addFormats(ajv)
    ajv.addSchema({ $id: 'api', ...document })
    const found = new Map()
    for (const [path, methods] of Object.entries(document.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        const [status, response] = Object.entries(operation.responses).find(([code]) => code.startsWith('2'))
        const content = response.content && Object.values(response.content)[0]
        const pointer = ['paths', path, method, 'responses', status, 'content', 'application/json', 'schema']
          .map((step) => encodeURIComponent(step.replaceAll('~', '~0').replaceAll('/', '~1'))).join('/')
        found.set(operation.operationId, { content, validate: content && ajv.compile({ $ref: `api#/${pointer}` }) })
      }
    }
    documents.set(file, found)
  }
  return documents.get(file)
}

function judgeAnswer(file, id, answer) {
  const operation = operations(file).get(id)
  if (!operation) return [`no operation ${id}`]
  if (!operation.content) return answer === null ? [] : ['an answer where none is described']
  if (!operation.validate(answer)) return operation.validate.errors.map((e) => `${e.instancePath} ${e.message}`)
  const { example } = operation.content
  if (!example) return ['no example']
  const pairs = [[answer, example]]
  if (answer.data?.length && example.data?.length && typeof answer.data[0] === 'object') pairs.push([answer.data[0], example.data[0]])
  return pairs.flatMap(([is, shown]) => [
    ...Object.keys(is).filter((key) => !(key in shown)).map((key) => `${key} is not in the example`),
    ...Object.keys(shown).filter((key) => !(key in is)).map((key) => `${key} is in the example only`)])
}

// ---- by status, and all examples

const loaded = new Map()

function load(file) {
  if (!loaded.has(file)) {
    const document = JSON.parse(readFileSync(file, 'utf8'))
    const ajv = new Ajv2020({ strict: false, allErrors: true })
    addFormats(ajv)
    ajv.addSchema({ $id: 'api', ...document })
    const byId = new Map()
    for (const [path, methods] of Object.entries(document.paths)) {
      for (const [method, operation] of Object.entries(methods)) byId.set(operation.operationId, ['paths', path, method])
    }
    loaded.set(file, { document, ajv, byId, compiled: new Map() })
  }
  return loaded.get(file)
}

const at = (document, steps) => steps.reduce((node, step) => node?.[step], document)

/* The place that a reference at a place leads to */
function follow(document, steps) {
  const ref = at(document, steps)?.$ref
  return ref ? ref.replace(/^#\//, '').split('/').map((step) => decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~')) : steps
}

function against({ ajv, compiled }, steps, value) {
  const pointer = steps.map((step) => encodeURIComponent(step.replaceAll('~', '~0').replaceAll('/', '~1'))).join('/')
  if (!compiled.has(pointer)) compiled.set(pointer, ajv.compile({ $ref: `api#/${pointer}` }))
  const validate = compiled.get(pointer)
  return validate(value) ? [] : validate.errors.map((e) => `${e.instancePath} ${e.message}`)
}

function judgeResponse(file, id, status, headers, answer) {
  const api = load(file)
  const operation = api.byId.get(id)
  if (!operation) return [`no operation ${id}`]
  const place = follow(api.document, [...operation, 'responses', String(status)])
  const response = at(api.document, place)
  if (!response) return [`status ${status} is not described`]
  /* what needs no key has no limits to tell, the last page no next one, and waiting doesn't always help */
  const open = at(api.document, operation).security?.length === 0
  const problems = Object.keys(response.headers ?? {})
    .filter((name) => !(name.toLowerCase() in headers) && !['Link', 'Retry-After'].includes(name) && !(open && name.startsWith('RateLimit')))
    .map((name) => `no header ${name}`)
  if (!response.content) return answer === null ? problems : [...problems, 'a body where none is described']
  const type = headers['content-type']
  if (!response.content[type]) return [...problems, `type ${type} is not described`]
  return [...problems, ...against(api, [...place, 'content', type, 'schema'], answer)]
}

function judgeRequest(file, id, answer) {
  const api = load(file)
  return against(api, [...api.byId.get(id), 'requestBody', 'content', 'application/json', 'schema'], answer)
}

function judgeWebhook(file, name, headers, answer) {
  const api = load(file)
  const post = ['webhooks', name, 'post']
  if (!at(api.document, post)) return [`no webhook ${name}`]
  return [
    ...at(api.document, [...post, 'parameters']).filter((p) => p.required && !(p.name in headers)).map((p) => `no header ${p.name}`),
    ...against(api, [...post, 'requestBody', 'content', 'application/json', 'schema'], answer)]
}

/* Whatever has a schema and an example beside it, and schemas with examples within */
function judgeExamples(file) {
  const api = load(file)
  const problems = []
  let count = 0
  const check = (steps, schema, example, where) => {
    count++
    problems.push(...against(api, schema, example).map((problem) => `${where ?? steps.join('/')}: ${problem}`))
  }
  const walk = (steps) => {
    const node = at(api.document, steps)
    if (node === null || typeof node !== 'object') return
    if (steps.length === 3 && steps[1] === 'schemas') {
      for (const example of node.examples ?? []) check(steps, steps, example)
      return
    }
    if (node.schema !== undefined && node.example !== undefined) check(steps, [...steps, 'schema'], node.example)
    for (const key of Object.keys(node)) if (key !== 'schema' && key !== 'example') walk([...steps, key])
  }
  for (const top of ['paths', 'webhooks', 'components']) walk([top])
  return { problems, count }
}

async function judge({ document, operation, request, webhook, examples, status, headers, answer }) {
  if (examples) {
    const { problems, count } = judgeExamples(document)
    return { problems, count }
  }
  if (webhook) return { problems: judgeWebhook(document, webhook, headers, answer) }
  if (request) return { problems: judgeRequest(document, request, answer) }
  if (operation && status) return { problems: judgeResponse(document, operation, status, headers, answer) }
  return { problems: operation ? judgeAnswer(document, operation, answer) : await judgeDocument(document) }
}

for await (const line of createInterface({ input: process.stdin })) {
  let verdict
  try {
    verdict = await judge(JSON.parse(line))
  } catch (error) {
    verdict = { problems: [error.message] }
  }
  const { problems, count } = verdict
  console.log(problems.length ? `bad: ${problems.join('; ').replaceAll('\n', ' ')}` : count === undefined ? 'ok' : `ok ${count}`)
}
