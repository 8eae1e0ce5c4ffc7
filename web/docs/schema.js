/* Schemas of the description: references followed, shown as a list of fields, filled in as an example. */
import { el, prose } from './dom.js';

export function resolve(document, thing) {
	for (let hops = 0; thing?.$ref && hops < 20; hops++) {
		const { $ref, ...beside } = thing;
		const found = $ref.replace(/^#\//, '').split('/')
			.reduce((at, name) => at?.[name.replace(/~1/g, '/').replace(/~0/g, '~')], document);
		thing = { ...found, ...beside };
	}
	return thing ?? {};
}

/* allOf as one schema */
function whole(document, schema) {
	schema = resolve(document, schema);
	if (!schema.allOf) return schema;
	return schema.allOf.map((part) => whole(document, part)).reduce((sum, part) => ({ ...sum, ...part,
		properties: { ...sum.properties, ...part.properties }, required: [...(sum.required ?? []), ...(part.required ?? [])] }), { ...schema, allOf: undefined });
}

export function typeOf(document, schema) {
	schema = whole(document, schema);
	const types = [schema.type ?? (schema.properties ? 'object' : schema.enum ? 'string' : schema.oneOf || schema.anyOf ? (schema.oneOf ?? schema.anyOf).map((one) => typeOf(document, one)).join(' | ') : 'any')].flat();
	const named = types.map((type) => type === 'array' ? `array of ${typeOf(document, schema.items ?? {})}` : type === 'string' && schema.format ? schema.format : type);
	return named.join(' | ');
}

function bounds(schema, t) {
	const parts = [];
	const range = (low, high, unit) => {
		if (low !== undefined && high !== undefined) parts.push(`${low} – ${high}${unit}`);
		else if (low !== undefined) parts.push(`≥ ${low}${unit}`);
		else if (high !== undefined) parts.push(`≤ ${high}${unit}`);
	};
	range(schema.minimum, schema.maximum, '');
	range(schema.minLength, schema.maxLength, ` ${t('characters')}`);
	range(schema.minItems, schema.maxItems, ` ${t('items')}`);
	if (schema.default !== undefined) parts.push(`${t('default')} ${JSON.stringify(schema.default)}`);
	return parts.join(', ');
}

export function field(document, name, schema, required, t, depth = 0) {
	schema = whole(document, schema);
	const inner = whole(document, [schema.type].flat().includes('array') ? schema.items ?? {} : schema);
	const nested = inner.properties && Object.keys(inner.properties).length > 0;
	const limits = bounds(schema, t);
	return el('div', {},
		el('dt', {}, el('code', {}, name), el('span', { class: 'type' }, typeOf(document, schema)), required && el('span', { class: 'need' }, t('required'))),
		el('dd', {}, prose(schema.description),
			schema.enum && el('p', {}, schema.enum.map((value) => [el('code', {}, String(value)), ' '])),
			limits && el('p', { class: 'type' }, limits),
			nested && depth < 4 && el('details', depth === 0 && Object.keys(inner.properties).length < 8 ? { open: true } : {},
				el('summary', {}, t('fieldsOf'), ' ', el('span', { class: 'mono' }, name)), fields(document, inner, t, depth + 1))));
}

export function fields(document, schema, t, depth = 0) {
	schema = whole(document, schema);
	if ([schema.type].flat().includes('array')) schema = whole(document, schema.items ?? {});
	if (!schema.properties) return el('p', { class: 'type' }, typeOf(document, schema));
	return el('dl', { class: 'fields' }, Object.entries(schema.properties)
		.map(([name, part]) => field(document, name, part, schema.required?.includes(name), t, depth)));
}

/* What could be sent: the example that is given, or one made of the schema's parts */
export function example(document, schema, depth = 0) {
	schema = whole(document, schema);
	if (schema.example !== undefined) return schema.example;
	if (schema.examples?.length) return schema.examples[0];
	if (schema.default !== undefined) return schema.default;
	if (schema.const !== undefined) return schema.const;
	if (schema.enum) return schema.enum[0];
	const type = [schema.type].flat()[0] ?? (schema.properties ? 'object' : undefined);
	if (type === 'object') {
		if (depth > 5) return {};
		return Object.fromEntries(Object.entries(schema.properties ?? {}).map(([name, part]) => [name, example(document, part, depth + 1)]));
	}
	if (type === 'array') return depth > 5 ? [] : [example(document, schema.items ?? {}, depth + 1)];
	if (type === 'integer' || type === 'number') return schema.minimum ?? 1;
	if (type === 'boolean') return true;
	if (type === 'null') return null;
	return { uuid: '0190a6f2-3c1e-7d5a-9b1f-2c7d5a9b1f2c', 'date-time': '2026-03-10T00:00:00Z', date: '2026-03-10', uri: 'https://example.com/hooks' }[schema.format] ?? 'text';
}

export function exampleOf(document, media) {
	if (!media) return undefined;
	if (media.example !== undefined) return media.example;
	const named = Object.values(media.examples ?? {})[0];
	if (named) return resolve(document, named).value;
	return media.schema ? example(document, media.schema) : undefined;
}
