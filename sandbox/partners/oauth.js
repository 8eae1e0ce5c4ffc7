/*
 * Tokens: authorization codes with PKCE (S256 only), refresh tokens that work
 * once, client credentials. As OAuth 2.1 has it, a code or a refresh token that
 * comes a second time revokes the whole family that grew from one approval.
 */
'use strict';

const crypto = require('node:crypto');
const { clock, remember, token, sameText } = require('./partner.js');

const CODE_MS = 60000;

class OauthError extends Error {
	constructor(error, description, status = 400) {
		super(description);
		Object.assign(this, { error, status });
	}
}

class Tokens {
	/* client: { id, secret }, each undefined when any is accepted */
	constructor(client) {
		this.client = client;
		this.forget();
	}

	forget() {
		this.codes = new Map();			/* code -> { family, challenge, redirect, client, until, used } */
		this.access = new Map();		/* token -> { family, until } */
		this.refresh = new Map();		/* token -> { family, used } */
		this.families = 0;
		this.counters = { codes: 0, tokens_issued: 0, refreshes: 0, refresh_reuses: 0, code_reuses: 0, families_revoked: 0,
			sign_outs: 0 };
	}

	knows(id, secret) {
		return (this.client.id === undefined || sameText(id ?? '', this.client.id)) &&
			(this.client.secret === undefined || secret === null || sameText(secret ?? '', this.client.secret));
	}

	code({ client, redirect, challenge }) {
		this.counters.codes++;
		const code = token('code_');
		remember(this.codes, code, { family: { number: ++this.families, revoked: false }, client, redirect, challenge,
			until: clock.now() + CODE_MS, used: false });
		return code;
	}

	revoke(family) {
		if (family.revoked) return;
		family.revoked = true;
		this.counters.families_revoked++;
	}

	issue(family, seconds, refreshes) {
		this.counters.tokens_issued++;
		const answer = { access_token: token('at_'), token_type: 'bearer', expires_in: seconds, scope: '' };
		remember(this.access, answer.access_token, { family, until: clock.now() + seconds * 1000 });
		if (refreshes) {
			answer.refresh_token = token('rt_');
			remember(this.refresh, answer.refresh_token, { family, used: false });
		}
		return answer;
	}

	fromCode({ code, client_id: client, redirect_uri: redirect, code_verifier: verifier }, seconds) {
		const known = this.codes.get(code);
		if (!known) throw new OauthError('invalid_grant', 'the code is unknown');
		if (known.used) {
			this.counters.code_reuses++;
			this.revoke(known.family);
			throw new OauthError('invalid_grant', 'the code was used before: its tokens are revoked');
		}
		if (clock.now() > known.until) throw new OauthError('invalid_grant', 'the code has expired');
		if (known.client !== client) throw new OauthError('invalid_grant', 'the code was issued to another client');
		if (known.redirect !== redirect) throw new OauthError('invalid_grant', 'redirect_uri is not that of the authorization');
		if (!/^[\w.~-]{43,128}$/.test(verifier ?? '')) throw new OauthError('invalid_grant',
				'code_verifier must have 43 to 128 characters');
		if (!sameText(crypto.createHash('sha256').update(verifier).digest('base64url'), known.challenge))
			throw new OauthError('invalid_grant', 'code_verifier does not belong to the code_challenge');
		known.used = true;
		return this.issue(known.family, seconds, true);
	}

	fromRefresh({ refresh_token: text }, seconds) {
		const known = this.refresh.get(text);
		if (!known) throw new OauthError('invalid_grant', 'the refresh token is unknown');
		if (known.used) {
			this.counters.refresh_reuses++;
			this.revoke(known.family);
			throw new OauthError('invalid_grant', 'the refresh token was used before: its family is revoked');
		}
		if (known.family.revoked) throw new OauthError('invalid_grant', 'the authorization was revoked');
		known.used = true;
		this.counters.refreshes++;
		return this.issue(known.family, seconds, true);
	}

	fromClient(seconds) {
		return this.issue({ number: ++this.families, revoked: false }, seconds, false);
	}

	signOut(text) {
		if (this.problemOf(text) !== null) return false;
		this.counters.sign_outs++;
		this.revoke(this.access.get(text).family);
		return true;
	}

	/* null, or what is wrong with an access token */
	problemOf(text) {
		const known = this.access.get(text);
		if (!known) return 'unknown';
		if (known.family.revoked) return 'revoked';
		return clock.now() >= known.until ? 'expired' : null;
	}
}

/* id and secret from Authorization: Basic, else from the form */
function clientOf(headers, form) {
	const [, base64] = /^Basic\s+(\S+)$/i.exec(headers.authorization ?? '') ?? [];
	if (!base64) return { id: form.client_id, secret: form.client_secret };
	const [, id, secret] = /^([^:]*):(.*)$/s.exec(Buffer.from(base64, 'base64').toString()) ?? [];
	return { id, secret };
}

module.exports = { Tokens, OauthError, clientOf };
