/*
 * Looks at the sheet of a package in a real browser, as a file: sheet.mjs FILE FOLDER
 *
 * Prints TAP. Screenshots go to FOLDER: on a screen, light and dark, on a phone,
 * on paper. Nothing may run, nothing be asked for but what is beside it.
 */
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const [file, folder] = process.argv.slice(2);
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

async function open(options) {
	const context = await browser.newContext({ viewport: { width: 1100, height: 900 }, colorScheme: 'light', ...options });
	const page = await context.newPage();
	page.complaints = [];
	page.asked = [];
	page.on('console', (message) => page.complaints.push(message.text()));
	page.on('pageerror', (error) => page.complaints.push(error.message));
	page.on('dialog', (dialog) => { page.complaints.push(dialog.message()); dialog.dismiss(); });
	page.on('request', (request) => page.asked.push(request.url()));
	await page.goto(pathToFileURL(file).href);
	return page;
}

for (const [name, options, media] of [
	['light', {}], ['dark', { colorScheme: 'dark' }], ['phone', { viewport: { width: 390, height: 844 } }], ['paper', { viewport: { width: 794, height: 1123 } }, 'print'],
]) {
	// its own policy forbids what axe injects
	const page = await open({ bypassCSP: true, ...options });
	if (media) await page.emulateMedia({ media });
	await page.screenshot({ path: path.join(folder, `${name}.png`), fullPage: true });
	const found = await page.evaluate(`${axe}; axe.run()`);
	ok(found.violations.length === 0, `axe finds nothing: ${name}`, found.violations.map((one) => [one.id, one.help, one.nodes.slice(0, 3).map((node) => node.html.slice(0, 200))]));
	const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
	ok(wide <= 0, `nothing is beyond the edge: ${name}`, wide);
	await page.context().close();
}

const page = await open({});
ok(page.complaints.length === 0, 'nothing ran, nothing was refused', page.complaints);
ok(page.asked.every((url) => url.startsWith('file:')), 'nobody was asked', page.asked);
ok(await page.evaluate(() => document.querySelector('header img').naturalWidth) > 0, 'the cover is seen');
ok(await page.evaluate(() => document.scripts.length + document.querySelectorAll('iframe, object, embed, form, link, [onclick], [onerror]').length) === 0, 'nothing in it could do anything');
await page.locator('.answer').nth(1).click();
ok(await page.evaluate(() => getSelection().toString()) === await page.locator('.answer').nth(1).textContent(), 'a click selects an answer whole');
ok(await page.evaluate(() => [...document.querySelectorAll('bdi')].every((one) => getComputedStyle(one).unicodeBidi === 'isolate')), 'no text turns what is beside it');
ok((await page.pdf({ format: 'A4' })).length > 10000, 'it can be printed');
await browser.close();
console.log(`1..${count}`);
process.exit(failed ? 1 : 0);
