// Independent judges of the API's description. Reads one JSON object a line:
//   {"document": FILE}                                  lints it by Redocly's rules and validates it against the schema of OpenAPI 3.1
//   {"document": FILE, "operation": ID, "answer": JSON} validates an answer against the operation's response schema, and compares its
//                                                       members with those of the example, in both directions
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

for await (const line of createInterface({ input: process.stdin })) {
  const { document, operation, answer } = JSON.parse(line)
  let problems
  try {
    problems = operation ? judgeAnswer(document, operation, answer) : await judgeDocument(document)
  } catch (error) {
    problems = [error.message]
  }
  console.log(problems.length ? `bad: ${problems.join('; ').replaceAll('\n', ' ')}` : 'ok')
}
