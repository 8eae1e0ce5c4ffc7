/*
 * Callbacks as the Standard Webhooks specification has them: signed, tried a
 * few times with the same id, in order for each generation.
 */
'use strict';

const crypto = require('node:crypto');
const http = require('node:http');
const https = require('node:https');

const ATTEMPTS = 5;
const FIRST_PAUSE_MS = 150;
const TIMEOUT_MS = 5000;

function keyOf(secret) {
	const [, base64] = /^whsec_(.+)$/s.exec(secret) ?? [];
	if (!base64) throw new Error('a callback secret must start with whsec_');
	return Buffer.from(base64, 'base64');
}

function signature(key, id, timestamp, body) {
	return 'v1,' + crypto.createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64');
}

/* The status of the answer, or 0 when there was none */
function post(url, headers, body) {
	return new Promise((resolve) => {
		const client = url.startsWith('https:') ? https : http;
		const req = client.request(url, { method: 'POST', headers, timeout: TIMEOUT_MS }, (res) => {
			res.resume();
			res.on('end', () => resolve(res.statusCode));
			res.on('error', () => resolve(0));
		});
		req.on('timeout', () => req.destroy());
		req.on('error', () => resolve(0));
		req.end(body);
	});
}

class Callbacks {
	constructor(secret) {
		this.key = secret ? keyOf(secret) : null;
		this.counters = { sent: 0, attempts: 0, delivered: 0, failed: 0 };
		this.queues = new Map();
	}

	/* Sends a document behind those of the same generation. Resolves when it was taken, or given up. */
	send(generation, document, { duplicate = false, badSignature = false, headers = {} } = {}) {
		const { id, callback_url: url } = generation;
		const body = JSON.stringify(document);
		const messageId = `msg_${id.slice(4)}_${generation.messages = (generation.messages ?? 0) + 1}`;
		const turn = (this.queues.get(id) ?? Promise.resolve()).then(async () => {
			for (let copy = 0; copy < (duplicate ? 2 : 1); copy++) await this.deliver(url, messageId, body, badSignature, headers);
		});
		this.queues.set(id, turn);
		turn.then(() => this.queues.get(id) === turn && this.queues.delete(id));
		return turn;
	}

	async deliver(url, id, body, badSignature, more) {
		this.counters.sent++;
		for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
			if (attempt > 0) await new Promise((resolve) => setTimeout(resolve, FIRST_PAUSE_MS * 3 ** (attempt - 1)));
			const timestamp = Math.floor(Date.now() / 1000);
			const headers = { ...more, 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), 'webhook-id': id,
				'webhook-timestamp': timestamp };
			if (this.key) headers['webhook-signature'] = signature(badSignature ? Buffer.from('not the key') : this.key, id, timestamp,
				body);
			this.counters.attempts++;
			const status = await post(url, headers, body);
			if (status >= 200 && status < 300) {
				this.counters.delivered++;
				return;
			}
			/* gone, or not to be repeated as it is */
			if (status === 410) break;
		}
		this.counters.failed++;
	}
}

module.exports = { Callbacks };
