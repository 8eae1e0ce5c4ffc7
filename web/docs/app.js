/*
 * The page: draws the reference out of the OpenAPI document of the server it
 * comes from. Nothing is loaded from anywhere else.
 */
import { block, el, json, prose, tabs } from './dom.js';
import { example, exampleOf, field, fields, resolve } from './schema.js';
import { languages } from './samples.js';
import { requestOf, tryForm } from './tryit.js';
import { translator, words } from './words.js';
import { ru as russian } from './russian.js';

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];
const $ = (id) => document.getElementById(id);
const state = {
	version: new URLSearchParams(location.search).get('version') ?? 'v1',
	language: localStorage.getItem('language') ?? ((navigator.language ?? 'en').startsWith('ru') ? 'ru' : 'en'),
	theme: localStorage.getItem('theme'),
	sample: 0,
	api: null,
};
let t = translator(state.language);

/* A text of the description, where the page has it in the reader's language */
const said = (key, text) => (state.language === 'ru' && russian[key]) || text;

/* ---- the description ---- */

function read(api) {
	const operations = [];
	for (const [path, item] of Object.entries(api.paths ?? {})) {
		for (const method of METHODS) {
			const raw = item[method];
			if (!raw) continue;
			const security = raw.security ?? api.security ?? [];
			operations.push({
				id: raw.operationId ?? `${method}${path}`, method: method.toUpperCase(), path, raw, tag: raw.tags?.[0] ?? 'Other',
				parameters: [...(item.parameters ?? []), ...(raw.parameters ?? [])].map((parameter) => resolve(api, parameter)),
				body: raw.requestBody && resolve(api, raw.requestBody),
				secured: security.length > 0 && security.every((one) => Object.keys(one).length > 0),
			});
		}
	}
	const order = (api.tags ?? []).map((tag) => tag.name);
	const tags = [...new Set([...order, ...operations.map((operation) => operation.tag)])].filter((tag) => operations.some((operation) => operation.tag === tag));
	return { document: api, operations, tags };
}

async function load() {
	const url = `/api/${state.version}/openapi.json`;
	$('content').replaceChildren(el('p', { class: 'state', role: 'status' }, t('loading')));
	try {
		const response = await fetch(url, { headers: { accept: 'application/json' } });
		if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
		state.api = read(await response.json());
		draw();
	} catch (error) {
		state.api = null;
		$('nav').replaceChildren();
		$('content').replaceChildren(el('div', { class: 'failure', role: 'alert' }, el('h1', {}, t('failed')), el('p', {}, `${url}: ${error.message}`),
			el('button', { type: 'button', onclick: load }, t('again'))));
	}
}

/* ---- its parts ---- */

const guides = () => [
	['start', t('start'), t('startText', { document: `/api/${state.version}/openapi.json` })],
	['authentication', t('authentication'), t('authenticationText')],
	['limits', t('limits'), t('limitsText')],
	['errors', t('errors'), t('errorsText')],
	['pages', t('pages'), t('pagesText')],
	['retries', t('retries'), t('retriesText')],
];

function summaryOf(operation) {
	return said(`operation.${operation.id}`, operation.raw.summary ?? operation.id);
}

function overview() {
	const api = state.api.document;
	return [
		el('div', { class: 'hero' }, el('h1', {}, api.info.title), prose(said('info', api.info.description)), el('p', { class: 'type' }, state.version)),
		guides().map(([id, title, text]) => el('section', { id }, el('h2', {}, title), prose(text), id === 'start' && firstSteps(), id === 'errors' && problemExample())),
		el('h2', {}, t('operations')),
		el('ul', { class: 'cards' }, state.api.tags.map((tag) => el('li', {}, el('a', { href: `#/tag/${encodeURIComponent(tag)}` }, el('b', {}, said(`tag.${tag}`, tag)), el('br'),
			el('small', {}, state.api.operations.filter((operation) => operation.tag === tag).map(summaryOf).join(' · ')))))),
	];
}

function firstSteps() {
	const wanted = ['generate', 'create_job', 'get_job'].map((id) => state.api.operations.find((operation) => operation.id === id)).filter(Boolean);
	return wanted.map((operation) => sampleTabs(operation));
}

function problemExample() {
	const schema = state.api.document.components?.schemas?.Problem;
	return schema && block(json(JSON.stringify(example(state.api.document, schema), null, 2)), t('example'), t);
}

function sampleTabs(operation) {
	const media = operation.body?.content?.['application/json'];
	const values = Object.fromEntries(operation.parameters.filter((parameter) => parameter.in === 'path' || parameter.required)
		.map((parameter) => [parameter.name, String(parameter.example ?? example(state.api.document, parameter.schema ?? {}))]));
	const request = requestOf(state.api.document, operation, values, media ? exampleOf(state.api.document, media) ?? {} : undefined, location.origin);
	return tabs(`${t('samples')}: ${operation.method} ${operation.path}`, languages.map(([name, write]) => [name, () => block(write(request), `${name}: ${operation.path}`, t)]), state.sample, (i) => { state.sample = i; });
}

function answersOf(operation) {
	const api = state.api.document;
	const entries = Object.entries(operation.raw.responses ?? {}).map(([status, raw]) => {
		const response = resolve(api, raw);
		const media = Object.entries(response.content ?? {})[0];
		return [status, () => el('div', {}, prose(response.description), media
			? [block(/json/.test(media[0]) ? json(JSON.stringify(exampleOf(api, media[1]), null, 2) ?? '') : String(exampleOf(api, media[1]) ?? ''), `${t('example')} ${status}`, t),
				status.startsWith('2') && media[1].schema && el('details', {}, el('summary', {}, t('fieldsOf'), ` ${status}`), fields(api, media[1].schema, t, 1))]
			: el('p', { class: 'type' }, t('noBody')))];
	});
	return entries.length ? tabs(`${t('answers')}: ${operation.method} ${operation.path}`, entries) : null;
}

function scopesOf(operation) {
	return [...new Set((operation.raw.security ?? []).flatMap((one) => Object.values(one).flat()))].concat(operation.raw['x-scope'] ?? []);
}

function operationPart(operation) {
	const api = state.api.document;
	const scopes = [...new Set(scopesOf(operation))];
	const media = operation.body?.content?.['application/json'];
	return el('section', { class: 'operation', id: operation.id },
		el('h2', {}, summaryOf(operation)),
		el('div', { class: 'route' }, el('span', { class: `method ${operation.method}` }, operation.method), el('code', {}, operation.path)),
		el('ul', { class: 'facts' },
			scopes.map((scope) => el('li', {}, t('scope'), ' ', el('b', {}, scope))),
			!operation.secured && el('li', {}, t('noKey')),
			operation.raw['x-cost'] !== undefined && operation.secured && el('li', {}, t('cost'), ' ', el('b', {}, String(operation.raw['x-cost']))),
			operation.raw.deprecated && el('li', {}, t('deprecated'))),
		el('div', { class: 'columns' },
			el('div', {}, prose(operation.raw.description),
				operation.parameters.length > 0 && [el('h3', {}, t('parameters')), el('dl', { class: 'fields' }, operation.parameters.map((parameter) =>
					field(api, parameter.name, { ...resolve(api, parameter.schema ?? {}), description: parameter.description ?? parameter.schema?.description }, parameter.required, t)))],
				media && [el('h3', {}, t('body')), fields(api, media.schema ?? {}, t)],
				tryForm(api, operation, location.origin, t)),
			el('div', {}, el('h3', {}, t('samples')), sampleTabs(operation), el('h3', {}, t('answers')), answersOf(operation))));
}

function webhooksPart() {
	const api = state.api.document;
	return [el('h1', {}, t('webhooks')), prose(t('webhooksText')), el('h2', {}, t('verify')),
		block("import { Webhook } from 'standardwebhooks';\n\nconst event = new Webhook(process.env.WEBHOOK_SECRET).verify(body, request.headers);", t('verify'), t),
		Object.entries(api.webhooks ?? {}).map(([name, item]) => {
			const raw = item.post ?? {};
			const media = raw.requestBody && resolve(api, raw.requestBody).content?.['application/json'];
			return el('section', { class: 'operation', id: `event-${name}` }, el('h2', { class: 'mono' }, name),
				el('div', { class: 'columns' }, el('div', {}, prose(said(`event.${name}`, raw.summary ?? raw.description)), media?.schema && fields(api, media.schema, t)),
					el('div', {}, el('h3', {}, t('eventBody')), media && block(json(JSON.stringify(exampleOf(api, media), null, 2)), `${t('example')} ${name}`, t))));
		})];
}

/* ---- the frame ---- */

function navigation() {
	const wanted = $('search').value.trim().toLowerCase();
	const fits = (...texts) => texts.join(' ').toLowerCase().includes(wanted);
	const link = (href, ...content) => el('li', {}, el('a', { href, 'aria-current': location.hash === href ? 'page' : undefined }, content));
	const parts = [];
	const general = guides().filter(([, title, text]) => fits(title, text)).map(([id, title]) => link(`#/guide/${id}`, title));
	if (general.length) parts.push(el('h2', {}, t('overview')), el('ul', {}, general));
	for (const tag of state.api.tags) {
		const found = state.api.operations.filter((operation) => operation.tag === tag && fits(tag, said(`tag.${tag}`, ''), operation.path, operation.id, summaryOf(operation), operation.raw.summary ?? ''));
		if (found.length) parts.push(el('h2', {}, said(`tag.${tag}`, tag)), el('ul', {}, found.map((operation) =>
			link(`#/operation/${operation.id}`, el('span', { class: `method ${operation.method}` }, operation.method), el('span', {}, summaryOf(operation))))));
	}
	const events = Object.keys(state.api.document.webhooks ?? {}).filter((name) => fits(name, t('webhooks')));
	if (events.length) parts.push(el('h2', {}, t('webhooks')), el('ul', {}, events.map((name) => link(`#/webhook/${name}`, el('span', { class: 'mono' }, name)))));
	$('nav').replaceChildren(...(parts.length ? parts : [el('p', { class: 'state', role: 'status' }, t('nothing'))]));
}

function draw(focus) {
	if (!state.api) return;
	const [, kind, rest] = /^#\/(\w*)\/?(.*)$/.exec(location.hash) ?? [null, '', ''];
	const name = decodeURIComponent(rest);
	let target = null;
	let content;
	const operation = kind === 'operation' && state.api.operations.find((one) => one.id === name);
	if (operation || kind === 'tag') {
		const tag = operation ? operation.tag : name;
		content = [el('h1', {}, said(`tag.${tag}`, tag)), prose((state.api.document.tags ?? []).find((one) => one.name === tag)?.description),
			state.api.operations.filter((one) => one.tag === tag).map(operationPart)];
		target = operation ? operation.id : null;
	} else if (kind === 'webhook') {
		content = webhooksPart();
		target = `event-${name}`;
	} else {
		content = overview();
		target = kind === 'guide' ? name : null;
	}
	navigation();
	$('content').replaceChildren(...content.flat(Infinity).filter(Boolean));
	document.title = `${operation ? `${summaryOf(operation)} – ` : ''}MusicVerse API`;
	const place = target && $(target);
	if (place) place.scrollIntoView({ behavior: 'instant' });
	else scrollTo({ top: 0, behavior: 'instant' });
	if (focus) $('content').focus({ preventScroll: true });
}

function speak() {
	t = translator(state.language);
	document.documentElement.lang = state.language;
	for (const node of document.querySelectorAll('[data-t]')) node.textContent = t(node.dataset.t);
	for (const node of document.querySelectorAll('[data-t-label]')) node.setAttribute('aria-label', t(node.dataset.tLabel));
	for (const node of document.querySelectorAll('[data-t-placeholder]')) node.placeholder = t(node.dataset.tPlaceholder);
}

function dress() {
	if (state.theme) document.documentElement.dataset.theme = state.theme;
}

function menu(open) {
	$('nav').classList.toggle('open', open);
	$('menu').setAttribute('aria-expanded', String(open));
}

if (!words[state.language]) state.language = 'en';
$('language').value = state.language;
$('version').value = state.version;
$('language').addEventListener('change', (event) => {
	state.language = event.target.value;
	localStorage.setItem('language', state.language);
	speak();
	draw();
});
$('version').addEventListener('change', (event) => {
	state.version = event.target.value;
	const url = new URL(location.href);
	url.searchParams.set('version', state.version);
	history.replaceState(null, '', url);
	load();
});
$('theme').addEventListener('click', () => {
	const dark = state.theme ? state.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
	state.theme = dark ? 'light' : 'dark';
	localStorage.setItem('theme', state.theme);
	dress();
});
$('menu').addEventListener('click', () => menu(!$('nav').classList.contains('open')));
$('search').addEventListener('input', () => { if (state.api) { navigation(); menu($('search').value !== ''); } });
addEventListener('keydown', (event) => {
	if (event.key === '/' && !/^(input|textarea|select)$/i.test(event.target.tagName) && !event.ctrlKey && !event.metaKey) {
		event.preventDefault();
		$('search').focus();
	} else if (event.key === 'Escape' && event.target === $('search')) {
		$('search').value = '';
		if (state.api) navigation();
		menu(false);
	} else if (event.key === 'Enter' && event.target === $('search')) {
		$('nav').querySelector('a')?.focus();
	}
});
addEventListener('hashchange', () => { menu(false); draw(true); });
dress();
speak();
load();
