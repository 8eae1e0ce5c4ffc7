/*
 * Where the generations of the provider are made: a queue before one thread
 * that renders, so that memory and processor are bounded however many ask.
 *
 * A generation's state only goes forward: queued, running, then succeeded,
 * failed or cancelled. changed(generation) is called at each step.
 */
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { Worker } = require('node:worker_threads');
const { header } = require('./composer/wav.js');

const SCRIPT = path.join(__dirname, 'composer', 'worker.js');
const INSTANT_FRAMES = 4410;

const ended = (generation) => ['succeeded', 'failed', 'cancelled'].includes(generation.status);

class Studio {
	constructor(directory, changed) {
		this.directory = directory;
		this.changed = changed;
		this.queue = [];
		this.current = null;
		this.worker = null;
	}

	audioPath(generation) {
		return path.join(this.directory, `${generation.id}.wav`);
	}

	/* how: { instant, render_ms, outcome } as the control document says at this moment */
	submit(generation, how) {
		generation.how = how;
		if (how.instant || how.outcome === 'failed') {
			setImmediate(() => this.pretend(generation));
			return;
		}
		this.queue.push(generation);
		setImmediate(() => this.next());
	}

	step(generation, changes) {
		if (ended(generation)) return;
		Object.assign(generation, changes);
		if ('status' in changes) this.changed(generation);
	}

	next() {
		if (this.current) return;
		const generation = this.queue.shift();
		if (!generation) return;
		this.current = generation;
		this.step(generation, { status: 'running' });
		this.since = Date.now();
		this.worker ??= this.start();
		const { prompt, style, duration, params } = generation.request;
		this.worker.postMessage({ id: generation.id, path: this.audioPath(generation), request: { prompt, style, duration, params } });
	}

	start() {
		const worker = new Worker(SCRIPT);
		worker.on('message', (message) => {
			const generation = this.current;
			if (!generation || message.id !== generation.id) return;
			if (message.progress) this.step(generation, { progress: message.progress });
			else this.settle(generation, message);
		});
		worker.on('error', (error) => {
			if (this.worker === worker) this.worker = null;
			if (this.current) this.settle(this.current, { error: error.message });
		});
		return worker;
	}

	/* the thread is free; a generation that is told to be slow shows its end later */
	settle(generation, { result, error }) {
		this.current = null;
		const wait = Math.max(0, (generation.how.render_ms ?? 0) - (Date.now() - this.since));
		generation.timer = setTimeout(() => {
			if (error) this.step(generation, { status: 'failed', error: { code: 'render_failed', message: error } });
			else this.succeed(generation, result);
		}, wait);
		this.next();
	}

	succeed(generation, result) {
		const { etag, ...rest } = result;
		generation.etag = etag;
		this.step(generation, { result: rest, progress: 100, status: 'succeeded' });
	}

	/* Without the composer: a tiny file, or a failure, after render_ms */
	pretend(generation) {
		if (ended(generation)) return;
		this.step(generation, { status: 'running' });
		const { render_ms: wait = 0, outcome, error } = generation.how;
		const finish = () => {
			if (outcome === 'failed') {
				this.step(generation, { status: 'failed', error: error ?? { code: 'generation_failed',
					message: 'the provider was told to fail' } });
				return;
			}
			fs.writeFileSync(this.audioPath(generation), Buffer.concat([header(INSTANT_FRAMES), Buffer.alloc(INSTANT_FRAMES * 4)]));
			const { prompt, style, duration, params } = generation.request;
			this.succeed(generation, {
				title: prompt.slice(0, 60), duration, peaks: Array(512).fill(0), etag: 'instant',
				metadata: { bpm: 120, key: 'C major', style: style ?? 'instant', seed: String(params.seed ?? 0), instant: true },
			});
		};
		if (wait <= 0) return void setImmediate(finish);
		const began = Date.now();
		const tick = () => {
			const done = (Date.now() - began) / wait;
			if (ended(generation)) return;
			if (done >= 1) return void finish();
			this.step(generation, { progress: Math.floor(done * 100) });
			generation.timer = setTimeout(tick, Math.min(100, wait / 10));
		};
		tick();
	}

	cancel(generation) {
		if (ended(generation)) return false;
		clearTimeout(generation.timer);
		this.queue = this.queue.filter((other) => other !== generation);
		this.step(generation, { status: 'cancelled' });
		if (this.current === generation) {
			const { worker } = this;
			this.worker = this.current = null;
			worker.terminate().then(() => {
				this.forget(generation);
				this.next();
			});
		} else {
			this.forget(generation);
		}
		return true;
	}

	forget(generation) {
		for (const suffix of ['', '.raw']) fs.rmSync(this.audioPath(generation) + suffix, { force: true });
	}
}

module.exports = { Studio, ended };
