// The token of a page that has no cookie of the site.

const REFUSED_TOKEN = ["invalid_token", "no_credential", "login_rejected"];

/**
 * `api_key:api_secret` or `Bearer …`, or a function that returns it.
 *
 * The function is called before each connection. `renew` is true if the server has refused the last token.
 */
export type Token = string | ((context: { renew: boolean }) => string | Promise<string>);

/** The token of one connection. */
export class Credentials {
	/** Is called when the function of the token has failed. */
	on_error: (error: unknown) => void;
	private readonly _token: Token;
	private _is_refused: boolean;

	constructor(token: Token) {
		this._token = token;
		this._is_refused = false;
		this.on_error = () => {};
	}

	/** Return the token; `renew` asks for another one than before. */
	async token(renew = this._is_refused): Promise<string> {
		const token = typeof this._token === "function" ? await this._token({ renew }) : this._token;
		if (renew) this._is_refused = false;
		return token;
	}

	/** Whether `token` may return another token than before. */
	get can_renew(): boolean {
		return typeof this._token === "function";
	}

	/** Note that the server has accepted the token. */
	accepted(): void {
		this._is_refused = false;
	}

	/** Note the code of a refusal. */
	refused(code: string | undefined): void {
		if (REFUSED_TOKEN.includes(code ?? "")) this._is_refused = true;
	}

	/** Return the value of Socket.IO's option `auth`, with the values of the page's own. */
	auth(own: any): (send: (payload: object) => void) => void {
		return (send) => {
			const payload =
				typeof own === "function" ? new Promise<object>((resolve) => own(resolve)) : Promise.resolve(own);
			Promise.all([payload, this.token()]).then(([more, token]) => send({ ...more, token }), this.on_error);
		};
	}
}
