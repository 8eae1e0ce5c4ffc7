/*
 * Looks at the documentation page in a real browser: look.mjs BASE KEY FOLDER
 *
 * Prints TAP. Screenshots go to FOLDER. The browser is Debian's chromium (or
 * CHROMIUM); axe judges what people with other senses meet.
 */
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const [base, key, folder] = process.argv.slice(2);
const axe = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

let count = 0;
let failed = 0;

function ok(truth, name, found) {
	console.log(`${truth ? 'ok' : 'not ok'} ${++count} - ${name}`);
	if (truth) return;
	failed++;
	if (found !== undefined) console.log(`# found ${JSON.stringify(found, null, 1).replace(/\n/g, '\n# ')}`);
}

const browser = await chromium.launch({
	executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
	args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

/* A page of its own, which remembers complaints and whom it asked */
async function open(hash, options = {}, file = '/docs') {
	const context = await browser.newContext({ viewport: { width: 1440, height: 1000 }, locale: 'en-US', colorScheme: 'light', ...options });
	const page = await context.newPage();
	page.complaints = [];
	page.hosts = new Set();
	page.on('console', (message) => { if (message.type() === 'error') page.complaints.push(message.text()); });
	page.on('pageerror', (error) => page.complaints.push(error.message));
	page.on('request', (request) => page.hosts.add(new URL(request.url()).host));
	await page.goto(`${base}${file}${hash}`);
	await page.waitForSelector('main h1', { timeout: 15000 });
	return page;
}

async function judge(page, name) {
	await page.screenshot({ path: path.join(folder, `${name}.png`) });
	const found = await page.evaluate(`${axe}; axe.run()`);
	ok(found.violations.length === 0, `axe finds nothing: ${name}`, found.violations.map((one) => [one.id, one.help, one.nodes.slice(0, 3).map((node) => node.html.slice(0, 200))]));
}

for (const [name, hash, options] of [
	['overview', '', {}],
	['overview-dark-ru', '', { colorScheme: 'dark', locale: 'ru-RU' }],
	['operation-dark', '#/operation/generate', { colorScheme: 'dark' }],
	['operation-ru', '#/operation/list_tracks', { locale: 'ru-RU' }],
	['webhooks', '#/webhook/track.created', {}],
	['phone', '#/operation/get_job', { viewport: { width: 390, height: 844 } }],
	['phone-dark-ru', '', { viewport: { width: 390, height: 844 }, colorScheme: 'dark', locale: 'ru-RU' }],
]) {
	// the page's own policy forbids what axe injects, so it is judged without, and met with it below
	const page = await open(hash, { bypassCSP: true, ...options });
	await judge(page, name);
	const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
	ok(wide <= 0, `nothing sticks out sideways: ${name}`, wide);
	await page.context().close();
}

const page = await open('', {}, '/');
ok(page.complaints.length === 0, 'the browser has no complaints, the policy of the page in force', page.complaints);
ok([...page.hosts].every((host) => host === new URL(base).host), 'nothing is loaded from elsewhere', [...page.hosts]);

// by keyboard alone
await page.keyboard.press('Tab');
ok(await page.evaluate(() => document.activeElement.className) === 'skip', 'the first thing that the keyboard reaches leads to the content');
await page.keyboard.press('/');
await page.keyboard.type('delete a track');
await page.keyboard.press('Enter');
await page.keyboard.press('Enter');
await page.waitForFunction(() => location.hash === '#/operation/delete_track');
ok(await page.locator('section#delete_track').isVisible(), 'an operation is found and opened by keyboard');
ok(await page.evaluate(() => document.activeElement.id) === 'content', 'and the focus follows');
await page.evaluate(() => document.querySelector('#delete_track [role=tab][aria-selected=true]').focus());
await page.keyboard.press('ArrowRight');
ok(await page.evaluate(() => document.activeElement.textContent) === 'JavaScript', 'arrows move among the languages of a sample');
ok((await page.locator('#delete_track [role=tabpanel] pre').first().textContent()).includes('await fetch('), 'which then shows that language');

// a real request
await page.goto(`${base}/docs#/operation/get_me`);
const form = page.locator('section#get_me form.try');
await form.locator('input[type=password]').fill(key);
await form.locator('button[type=submit]').click();
await form.locator('.status').waitFor({ timeout: 15000 });
ok((await form.locator('.status').textContent()).startsWith('200'), 'the form sends a real request', await form.textContent());
ok((await form.locator('.answer').textContent()).includes('burst'), 'and shows how much of the limit is left', await form.locator('.answer').textContent());
ok(!(await page.evaluate(() => JSON.stringify([Object.entries(localStorage), Object.entries(sessionStorage), document.cookie]))).includes(key), 'the key is stored nowhere');
await form.locator('input[type=password]').fill('mvai_wrong');
await form.locator('button[type=submit]').click();
await page.waitForFunction(() => document.querySelector('section#get_me .status')?.textContent.startsWith('401'));
ok(true, 'a refusal is shown as it is');

// another language, another version
await page.selectOption('#language', 'ru');
ok(await page.evaluate(() => document.documentElement.lang) === 'ru' && (await page.locator('#nav').textContent()).includes('С чего начать'), 'it speaks Russian');
ok(!/[A-Za-z]{4,} [a-z]{2,} [a-z]{2,}/.test(await page.locator('#nav').textContent()), 'also the names of operations', await page.locator('#nav').textContent());
await page.selectOption('#version', 'v2');
await page.waitForFunction(() => document.querySelector('#content')?.textContent.includes('/api/v2/'));
ok(true, 'the second version is a choice away');
await page.locator('#theme').click();
ok(await page.evaluate(() => document.documentElement.dataset.theme) === 'dark', 'and so is the dark');

// without a network
await page.context().setOffline(true);
await page.locator('#nav a').first().click();
ok(await page.locator('main h1').isVisible(), 'what is loaded works offline');
await page.context().close();

await browser.close();
console.log(`1..${count}`);
process.exit(failed ? 1 : 0);
