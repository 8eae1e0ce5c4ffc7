/* The form that sends a real request and shows what came back. */
import { block, el, json, unique } from './dom.js';
import { exampleOf, resolve, typeOf } from './schema.js';

/* For as long as the page lives: a key is never stored */
const remembered = { key: '' };

export function requestOf(document, operation, values, body, origin) {
	let path = operation.path;
	const query = new URLSearchParams();
	for (const parameter of operation.parameters) {
		const value = values[parameter.name] ?? '';
		if (parameter.in === 'path') path = path.replace(`{${parameter.name}}`, value === '' ? `{${parameter.name}}` : encodeURIComponent(value));
		else if (parameter.in === 'query' && value !== '') query.append(parameter.name, value);
	}
	const headers = {};
	if (operation.secured) headers.Authorization = 'Bearer $MUSICVERSE_API_KEY';
	if (body !== undefined) headers['Content-Type'] = 'application/json';
	for (const parameter of operation.parameters) {
		if (parameter.in === 'header' && (values[parameter.name] ?? '') !== '') headers[parameter.name] = values[parameter.name];
	}
	return { method: operation.method, url: origin + path + (query.size ? `?${query}` : ''), headers, body };
}

function shownBody(type, text) {
	if (/json/.test(type)) {
		try {
			return json(JSON.stringify(JSON.parse(text), null, 2));
		} catch {
			return el('code', {}, text);
		}
	}
	return el('code', {}, text);
}

function meter(headers, t) {
	const policy = /"(\w+)";q=(\d+)/.exec(headers.get('ratelimit-policy') ?? '');
	const left = /;r=(\d+)(?:;t=(\d+))?/.exec(headers.get('ratelimit') ?? '');
	if (!policy || !left) return null;
	return el('div', {}, el('p', { class: 'note' }, t('limitLeft', { policy: policy[1], left: left[1], of: policy[2], seconds: left[2] ?? '0' })),
		el('div', { class: 'meter', 'aria-hidden': 'true' }, el('i', { style: `width:${Math.min(100, 100 * left[1] / policy[2])}%` })));
}

async function send(request, key, t) {
	const headers = { ...request.headers };
	if (headers.Authorization) headers.Authorization = `Bearer ${key}`;
	const began = performance.now();
	try {
		const response = await fetch(request.url, { method: request.method, headers, body: request.text });
		const text = await response.text();
		const took = Math.round(performance.now() - began);
		const type = response.headers.get('content-type') ?? '';
		const lines = [...response.headers].map(([name, value]) => `${name}: ${value}`).join('\n');
		const audio = /"(?:audio_url|result_url)":\s*"(https?:[^"]+)"/.exec(text);
		return [
			el('p', {}, el('span', { class: `status s${String(response.status)[0]}` }, `${response.status} ${response.statusText}`), ` · ${took} ms`),
			meter(response.headers, t),
			text && block(shownBody(type, text.length > 200000 ? text.slice(0, 200000) + '…' : text), t('answerBody'), t),
			audio && el('p', {}, el('a', { href: audio[1], target: '_blank', rel: 'noopener' }, t('listen'))),
			el('details', {}, el('summary', {}, t('answerHeaders')), block(lines, t('answerHeaders'), t)),
		];
	} catch (error) {
		return [el('p', {}, el('span', { class: 'status s0' }, t('noAnswer')), ` ${error.message}`)];
	}
}

export function tryForm(document, operation, origin, t) {
	const values = {};
	const answer = el('div', { class: 'answer', 'aria-live': 'polite' });
	const media = operation.body?.content?.['application/json'];
	const text = media ? JSON.stringify(exampleOf(document, media) ?? {}, null, 2) : undefined;
	const inputs = operation.parameters.filter((parameter) => parameter.in !== 'cookie').map((parameter) => {
		const id = unique('p');
		const schema = resolve(document, parameter.schema ?? {});
		const control = schema.enum
			? el('select', { id, onchange: (event) => { values[parameter.name] = event.target.value; } },
				!parameter.required && el('option', { value: '' }, '—'), schema.enum.map((value) => el('option', { value }, String(value))))
			: el('input', { id, autocomplete: 'off', spellcheck: 'false', required: parameter.required && parameter.in === 'path', oninput: (event) => { values[parameter.name] = event.target.value.trim(); } });
		if (schema.enum && parameter.required) values[parameter.name] = String(schema.enum[0]);
		return [el('label', { for: id }, el('code', {}, parameter.name), ' ', el('span', { class: 'type' }, typeOf(document, schema), ' · ', parameter.in)), control];
	});
	const keyId = unique('key');
	const bodyId = unique('body');
	const area = text !== undefined && el('textarea', { id: bodyId, rows: Math.min(16, text.split('\n').length + 1), spellcheck: 'false', value: text });
	const button = el('button', { class: 'primary', type: 'submit' }, t('send'));
	return el('form', { class: 'try', autocomplete: 'off', onsubmit: async (event) => {
		event.preventDefault();
		button.disabled = true;
		answer.replaceChildren(el('p', { class: 'state' }, t('sending')));
		const request = requestOf(document, operation, values, area ? null : undefined, origin);
		answer.replaceChildren(...(await send({ ...request, text: area ? area.value : undefined }, remembered.key, t)).filter(Boolean));
		button.disabled = false;
	} },
		el('h3', {}, t('tryIt')),
		operation.secured && [el('label', { for: keyId }, t('apiKey')),
			el('input', { id: keyId, class: 'mono', type: 'password', autocomplete: 'off', placeholder: 'mvai_…', value: remembered.key, oninput: (event) => { remembered.key = event.target.value.trim(); } }),
			el('p', { class: 'note' }, t('keyStays'))],
		inputs,
		area && [el('label', { for: bodyId }, t('body')), area],
		el('div', { class: 'row' }, button, operation.method !== 'GET' && el('span', { class: 'note' }, t('isReal'))),
		answer);
}
