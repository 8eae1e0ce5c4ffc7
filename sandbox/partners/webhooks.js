/*
 * Webhooks of LabelGrid: who is told of what, signed as Standard Webhooks has
 * it with a secret that is shown once. Messages of one webhook go out in order.
 */
'use strict';

const crypto = require('node:crypto');
const { clock, remember } = require('./partner.js');
const { Callbacks } = require('../callbacks.js');

const EVENTS = ['delivery.completed', 'delivery.failed', 'takedown.completed', 'release.review.status_changed', 'release.distributed',
	'payment.statement_ready'];

class Webhooks {
	constructor() {
		this.all = new Map();
	}

	shown({ id, name, url, events, is_active: active, callbacks }) {
		const { delivered, failed } = callbacks.counters;
		return { id, name, url, events, is_active: active, success_count: delivered, fail_count: failed };
	}

	/* with its secret, which isn't kept readable */
	create(id, { name, url, events }) {
		const webhook = { id, name, url, events, is_active: true, line: { id: `evt_${crypto.randomUUID()}` } };
		remember(this.all, id, webhook);
		return this.rotate(webhook);
	}

	rotate(webhook) {
		const secret = `whsec_${crypto.randomBytes(24).toString('base64')}`;
		const before = webhook.callbacks?.counters;
		webhook.callbacks = new Callbacks(secret);
		if (before) webhook.callbacks.counters = before;
		return { ...this.shown(webhook), secret };
	}

	change(webhook, changes) {
		for (const name of ['name', 'url', 'events', 'is_active']) if (name in changes) webhook[name] = changes[name];
		return this.shown(webhook);
	}

	/* how: the setting "callback" */
	post(webhook, event, data, how) {
		if (how === 'none') return;
		webhook.line.callback_url = webhook.url;
		webhook.callbacks.send(webhook.line, { event, created_at: new Date(clock.now()).toISOString(), data },
			{ duplicate: how === 'duplicate', badSignature: how === 'bad-signature', headers: { 'x-webhook-event': event } });
	}

	tell(event, data, how) {
		for (const webhook of this.all.values()) {
			const wanted = Array.isArray(webhook.events) ? webhook.events.includes(event) : true;
			if (wanted && webhook.is_active) this.post(webhook, event, data, how);
		}
	}

	counters() {
		const sum = { sent: 0, attempts: 0, delivered: 0, failed: 0 };
		for (const { callbacks } of this.all.values()) for (const name of Object.keys(sum)) sum[name] += callbacks.counters[name];
		return sum;
	}
}

module.exports = { Webhooks, EVENTS };
