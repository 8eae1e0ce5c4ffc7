/*
 * The story of webhooks: from a changed row to a signed, retried, inspectable
 * delivery. Every claim it prints is checked.
 */
'use strict';

const { Session, claim, say, table, title } = require('./stage.js');

const ADA = '0190a000-0000-7000-8000-00000000000a';

let db;
let receiver;

const control = (...args) => receiver.control(...args);
const counters = (...args) => receiver.counters(...args);
const requests = (...args) => receiver.requests(...args);
const arrival = (...args) => receiver.arrival(...args);

async function subscribe(name, events) {
	const [[id, secret]] = await db.rows(
		`select id, secret from musicverse.create_webhook('${ADA}', '${receiver.url(name)}', array['${events.join("','")}'], '${name}')`);
	/* the sender's clock is moved by the story, the receiver's isn't */
	await control(name, { secrets: [secret], tolerance: null });
	return { id, secret, name };
}

/* Changes a row and says what came of it */
async function happens(what, sql, name, expected) {
	const before = (await counters(name)).received;
	const sent = Date.now();
	const [[id] = []] = await db.rows(sql);
	await arrival(name, { received: before + expected.length });
	const came = await requests(name, before);
	for (const request of came) {
		const { type } = JSON.parse(request.body);
		say(`${what.padEnd(32)} → ${type.padEnd(22)} ${request.verified ? 'signature good' : request.verdict}` +
			`${(request.at - sent).toFixed(1).padStart(8)} ms`);
		what = '';
	}
	const types = came.map((request) => JSON.parse(request.body).type).sort();
	if (types.join() !== [...expected].sort().join() || !came.every((request) => request.verified))
		throw new Error(`expected ${expected.join(', ')}, all signed; came ${types.join(', ')}`);
	return id;
}

const newTrack = (name) => `insert into musicverse.tracks (user_id, title, style, duration) values ('${ADA}', '${name}', 'ambient', 180) returning id`;

async function rowsBecomeDeliveries(studio) {
	title('A changed row becomes a signed delivery (time from sending the statement to the request)');
	await happens('insert a track', newTrack('Morning'), studio.name, ['track.created']);
	const job = await happens('start a generation job',
		`insert into musicverse.generation_jobs (user_id, prompt, style, status, started_at)
		 values ('${ADA}', 'rain on a tin roof', 'lo-fi', 'started', now()) returning id`, studio.name, ['generation.started']);
	await happens('finish it',
		`update musicverse.generation_jobs set status = 'completed', progress = 100, finished_at = now() where id = '${job}'`,
		studio.name, ['generation.completed']);
	await happens('record a payment', `select musicverse.record_payment('${ADA}', 'pay_1001', 9.99, 'EUR', 'succeeded')`,
		studio.name, ['payment.succeeded']);

	const before = (await counters(studio.name)).received;
	await db.rows(`begin; ${newTrack('Never')}; rollback`);
	await happens('a track after a rolled-back one', newTrack('Noon'), studio.name, ['track.created']);
	claim((await counters(studio.name)).received === before + 1, 'what was rolled back was never sent');

	const [last] = (await requests(studio.name, before)).slice(-1);
	say('');
	say('the request, as it came:');
	for (const name of ['content-type', 'webhook-id', 'webhook-timestamp', 'webhook-signature']) say(`  ${name}: ${last.headers[name]}`);
	say(`  ${last.body.length > 92 ? last.body.slice(0, 91) + '…' : last.body}`);
}

async function failureIsRetried(studio) {
	title('A failing endpoint is retried until it recovers');
	await db.rows(`select musicverse.update_webhook('${studio.id}', '{"retry_schedule": ["5s", "5min", "30min"]}')`);
	await control(studio.name, { mode: 'fail', count: 2, body: 'database is on fire' });
	say('the receiver answers 500 twice; retries come after at most 5 s, 5 min, 30 min')
	say('the clock is moved by hand');
	const before = (await counters(studio.name)).received;
	await db.rows(newTrack('Storm'));
	const delivery = `(select id from musicverse.webhook_deliveries where webhook_id = '${studio.id}' order by created_at desc limit 1)`;
	for (const [attempt, step] of [[1, '5 seconds'], [2, '5 minutes']]) {
		await arrival(studio.name, { received: before + attempt });
		await db.until(`select attempt_count from musicverse.webhook_deliveries where id = ${delivery}`, String(attempt));
		say(`attempt ${attempt} failed; the clock moves on by ${step}`);
		await db.rows(`select musicverse.advance_clock('${step}')`);
	}
	await arrival(studio.name, { received: before + 3 });
	await db.until(`select status from musicverse.webhook_deliveries where id = ${delivery}`, 'delivered');
	claim((await requests(studio.name, before)).every((r, i, all) => r.verified && r.headers['webhook-id'] === all[0].headers['webhook-id'] && r.body === all[0].body),
		'three attempts, one webhook-id, the same bytes, the last one delivered');
	table(`select attempt, response_status as status, left(response_body, 20) as answer, round(total_us / 1000.0, 2) as ms, remote_addr
		   from musicverse.webhook_attempts where delivery_id = ${delivery} order by attempt`);
}

async function secretIsRotated(studio) {
	title('A secret is rotated under traffic');
	const before = await counters(studio.name);
	const traffic = new Session();
	const total = 400;
	const flow = traffic.rows(`do $$ begin for i in 1..${total} loop
		insert into musicverse.tracks (user_id, title) values ('${ADA}', 'Traffic ' || i); commit; perform pg_sleep(0.002); end loop; end $$`);
	await arrival(studio.name, { received: before.received + total / 8 });
	const fresh = await db.value(`select musicverse.rotate_webhook_secret('${studio.id}', '1 hour')`);
	say('the secret is rotated with an overlap of one hour; the receiver knows only the old one so far');
	await arrival(studio.name, { received: before.received + total / 2 });
	await control(studio.name, { secrets: [fresh] });
	say('the receiver now knows only the new one');
	await flow;
	const after = await arrival(studio.name, { ids: before.ids + total });
	claim(after.bad_signatures === before.bad_signatures, `${total} deliveries across the rotation, no bad signature`, after.bad_signatures);
	const signatures = (await requests(studio.name)).slice(-1)[0].headers['webhook-signature'].split(' ').length;
	claim(signatures === 2, 'during the overlap each carries both signatures', signatures);
	await db.rows(`select musicverse.advance_clock('61 minutes')`);
	await happens('a track after the overlap', newTrack('Evening'), studio.name, ['track.created']);
	const [last] = (await requests(studio.name)).slice(-1);
	claim(!last.headers['webhook-signature'].includes(' '), 'after it only the new one');
}

async function deadEndpointIsDisabled(studio, office) {
	title('A dead endpoint is disabled, its events are held and replayed after the repair');
	const since = await db.value('select musicverse._now()');
	const before = await counters(studio.name);
	const told = (await counters(office.name)).received;
	await control(studio.name, { mode: 'gone' });
	const lost = await db.value(newTrack('Midnight'));
	await db.until(`select is_active from musicverse.webhooks where id = '${studio.id}'`, 'f');
	say('the receiver answered 410 Gone');
	table(`select description as webhook, is_active, failure_count as failures, disabled_reason from musicverse.webhooks where id = '${studio.id}'`);
	await arrival(office.name, { received: told + 1 });
	const [notice] = (await requests(office.name, told));
	claim(JSON.parse(notice.body).type === 'webhook.disabled' && notice.verified, 'the owner was told by webhook.disabled');

	await db.rows(`insert into musicverse.tracks (user_id, title) select '${ADA}', 'Held ' || i from generate_series(1, 20) i`);
	say('20 more tracks while it is disabled: held, not sent');
	await control(studio.name, { mode: 'ok' });
	await db.rows(`select musicverse.enable_webhook('${studio.id}')`);
	await arrival(studio.name, { ids: before.ids + 21 });
	claim(true, 'repaired and enabled: the 20 that were held arrive');

	const replayed = await db.value(`select musicverse.replay_webhook('${studio.id}', '${since}')`);
	say(`replay of what had failed: ${replayed} delivery`);
	const after = await arrival(studio.name, { duplicates: before.duplicates + Number(replayed) });
	const again = (await requests(studio.name, before.received)).filter((r) => JSON.parse(r.body).data.id === lost);
	claim(again.length === 2 && again[0].headers['webhook-id'] === again[1].headers['webhook-id'],
		'it came again under the same webhook-id, so that a receiver can tell');
	claim(after.bad_signatures === 0, 'and not one bad signature in the whole story', after.bad_signatures);
}

async function tablesAreReadable(studio) {
	title('What a DBA reads');
	await db.until(`select count(*) from musicverse.webhook_deliveries where status = 'pending'`, '0');
	say('select … from musicverse.webhooks');
	table(`select description as webhook, events, is_active, failure_count as failures, last_success_at::time(0) as last_success from musicverse.webhooks order by created_at`);
	say('');
	say('select … from musicverse.webhook_deliveries (one of each kind)');
	table(`select event_type, status, attempt_count as tries, response_status as http, duration_ms as ms, created_at::time(3) as created, last_error
		   from (select distinct on (event_type, status, attempt_count) * from musicverse.webhook_deliveries
				  order by event_type, status, attempt_count, created_at) d order by created_at`);
	say('');
	say("select … from musicverse.webhook_stats(id, '1 day')");
	table(`select * from musicverse.webhook_stats('${studio.id}', '1 day')`);
	say('');
	say('select … from musicverse.explain_event(id)');
	table(`select regexp_replace(url, '.*/', '') as webhook, matched, status, reason from musicverse.explain_event((select event_id from musicverse.webhook_deliveries where event_type = 'payment.succeeded' limit 1))`);
	say('');
	say('select … from musicverse.worker_status');
	table(`select shard, pid, state, in_flight, backlog, waiting, delivered, failed, attempts, last_error
		   from musicverse.worker_status`);
}

async function tell(session, hooks) {
	db = session;
	receiver = hooks;
	const studio = await subscribe('studio', ['track.created', 'generation.*', 'payment.*']);
	const office = await subscribe('office', ['webhook.disabled']);
	await rowsBecomeDeliveries(studio);
	await failureIsRetried(studio);
	await secretIsRotated(studio);
	await deadEndpointIsDisabled(studio, office);
	await tablesAreReadable(studio);
}

module.exports = { tell };
