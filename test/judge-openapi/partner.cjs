// A judge of requests and answers by an OpenAPI 3.0 document in YAML or JSON, for sandbox/partners.js --validate:
//   const judge = require('./partner.cjs')(FILE)
//   judge.request(METHOD, TEMPLATE, MEDIA TYPE, VALUE)     VALUE: a JSON document, or the fields of a form as texts
//   judge.answer(METHOD, TEMPLATE, STATUS, DOCUMENT)
// Both return a list of problems. Members that the document doesn't describe are problems too: a schema that is open, as most are, would let
// every misspelt name pass.
'use strict'
const { readFileSync } = require('node:fs')
const { basename } = require('node:path')
const { parse } = require('yaml')
const Ajv = require('ajv').default
const addFormats = require('ajv-formats').default

module.exports = function load (file) {
  const document = parse(readFileSync(file, 'utf8'))
  if (!/^3\.0\./.test(document.openapi)) throw new Error(`${file} is not a document of OpenAPI 3.0`)
  const options = { strict: false, allErrors: true, logger: false }
  // texts of a form stand for numbers and booleans
  const judges = { json: new Ajv(options), form: new Ajv({ ...options, coerceTypes: true }) }
  for (const ajv of Object.values(judges)) {
    addFormats(ajv)
    ajv.addFormat('binary', true)
    ajv.addSchema({ $id: 'api', ...document })
  }
  const compiled = new Map()

  const follow = (thing) => {
    while (thing?.$ref) thing = thing.$ref.slice(2).split('/').reduce((at, step) => at?.[step.replaceAll('~1', '/').replaceAll('~0', '~')], document)
    return thing
  }

  // pointers go through $refs of responses, which ajv doesn't follow: so schemas are compiled by themselves, their own $refs made absolute
  const absolute = (thing) => Array.isArray(thing) ? thing.map(absolute)
    : thing === null || typeof thing !== 'object' ? thing
      : Object.fromEntries(Object.entries(thing).map(([key, value]) => [key, key === '$ref' && typeof value === 'string' ? `api${value}` : absolute(value)]))

  function check (kind, where, schema, value) {
    const key = `${kind} ${where}`
    if (!compiled.has(key)) compiled.set(key, judges[kind].compile(absolute(schema)))
    const validate = compiled.get(key)
    const copy = structuredClone(value)
    const problems = validate(copy) ? [] : validate.errors.map((e) => `${e.instancePath || '/'} ${e.message}`)
    return [...problems, ...unknown(schema, value, '')]
  }

  // the described members of an object; null when nothing is described
  function members (schema) {
    schema = follow(schema)
    const found = { ...schema?.properties }
    for (const part of [...(schema?.allOf ?? []), ...(schema?.oneOf ?? []), ...(schema?.anyOf ?? [])]) Object.assign(found, members(part))
    return Object.keys(found).length > 0 ? found : null
  }

  function itemsOf (schema) {
    schema = follow(schema)
    return schema?.items ?? [...(schema?.allOf ?? []), ...(schema?.oneOf ?? [])].map(itemsOf).find(Boolean)
  }

  function unknown (schema, value, path) {
    if (value === null || typeof value !== 'object') return []
    if (Array.isArray(value)) return value.flatMap((item, at) => unknown(itemsOf(schema), item, `${path}/${at}`))
    const known = members(schema)
    if (!known) return []
    return Object.entries(value).flatMap(([name, inner]) => name in known ? unknown(known[name], inner, `${path}/${name}`) : [`${path}/${name} is not described`])
  }

  const operationOf = (method, template) => document.paths[template]?.[method.toLowerCase()]
  const contentOf = (content, type) => Object.entries(content ?? {}).find(([name]) => name.split(';')[0] === type)?.[1]

  return {
    name: basename(file),

    request (method, template, type, value) {
      const body = follow(operationOf(method, template)?.requestBody)
      if (!body) return [`no body is described for ${method} ${template}`]
      const content = contentOf(body.content, type)
      if (!content) return [`the type ${type} is not described for ${method} ${template}`]
      return check(type === 'application/json' ? 'json' : 'form', `${method} ${template} ${type}`, content.schema, value)
    },

    answer (method, template, status, value) {
      const operation = operationOf(method, template)
      if (!operation) return [`no operation ${method} ${template}`]
      const response = follow(operation.responses[status])
      // an error may be described for other operations only: then it's an Error all the same
      if (!response && status >= 400) return check('json', 'Error', { $ref: '#/components/schemas/Error' }, value)
      if (!response) return [`the status ${status} is not described`]
      const content = contentOf(response.content, 'application/json')
      return content?.schema ? check('json', `${method} ${template} ${status}`, content.schema, value) : []
    }
  }
}
