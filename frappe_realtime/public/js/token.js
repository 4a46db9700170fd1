// Built by client/build_assets.mjs from client/core/src/token.ts: change that file.

// The token of a page that has no cookie of the site.
const REFUSED_TOKEN = ["invalid_token", "no_credential", "login_rejected"];
/** The token of one connection. */
export class Credentials {
	constructor(token) {
		this._token = token;
		this._is_refused = false;
		this.on_error = () => { };
	}
	/** Return the token; `renew` asks for another one than before. */
	async token(renew = this._is_refused) {
		const token = typeof this._token === "function" ? await this._token({ renew }) : this._token;
		if (renew)
			this._is_refused = false;
		return token;
	}
	/** Whether `token` may return another token than before. */
	get can_renew() {
		return typeof this._token === "function";
	}
	/** Note that the server has accepted the token. */
	accepted() {
		this._is_refused = false;
	}
	/** Note the code of a refusal. */
	refused(code) {
		if (REFUSED_TOKEN.includes(code ?? ""))
			this._is_refused = true;
	}
	/** Return the value of Socket.IO's option `auth`, with the values of the page's own. */
	auth(own) {
		return (send) => {
			const payload = typeof own === "function" ? new Promise((resolve) => own(resolve)) : Promise.resolve(own);
			Promise.all([payload, this.token()]).then(([more, token]) => send({ ...more, token }), this.on_error);
		};
	}
}
