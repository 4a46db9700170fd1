// The causes of failed connections, with their remedies: those that diagnosis.js finds in the browser, the refusals of the
// sidecar (CONNECT_REFUSALS and HTTP_REFUSALS of contract/refusals.py) and those of proxies.

/** By code: what it means, and what to do. Each code is a heading of docs/troubleshooting.md. */
export const REMEDIES = {
	working: ["The connection works.", ""],
	websocket_blocked: [
		"The WebSocket cannot be opened; long-polling may still work.",
		"Let the proxy forward the headers Upgrade and Connection with HTTP/1.1, and check firewalls and browser extensions.",
	],
	disabled: ["This page has no connection.", "Remove disable_async from the configuration of the site, or call connect()."],
	offline: ["The browser is offline.", "Check the network of this device."],
	unreachable: [
		"Nothing answers at this address.",
		"Check that the web server or the sidecar runs, that socketio_port is its port, and that no firewall blocks it.",
	],
	certificate_or_unreachable: [
		"Nothing answers at this address, or the browser does not accept the certificate.",
		"Open the address in a tab: the browser then says which. Install a valid certificate for this host.",
	],
	mixed_content: [
		"The page is loaded by HTTPS, but the address is plain HTTP, which browsers block.",
		"Let the proxy serve /socket.io/ by HTTPS on the host of the page.",
	],
	blocked_by_policy: [
		"The Content-Security-Policy of the page forbids the address.",
		"Add the address, with https: and wss:, to connect-src of the policy.",
	],
	blocked_by_cors: [
		"A server answers, but does not let pages of this origin read the answer.",
		"Another server answers at this address, or a proxy removes the Access-Control headers: check the address and the proxy.",
	],
	redirected: [
		"The address redirects to another origin.",
		"Use the address to which it redirects, or exclude /socket.io/ from the redirect.",
	],
	no_http_answer: [
		"The server accepts the request, but sends no answer.",
		"Check that the address is the sidecar's, and that no proxy in between buffers or holds the request.",
	],
	no_socketio_path: [
		"There is no /socket.io/ at this address (HTTP 404).",
		"Add the location /socket.io to the proxy, with the sidecar as its target: `bench setup nginx` writes it.",
	],
	bad_gateway: [
		"The proxy cannot reach the sidecar.",
		"Start the sidecar, and check that the proxy's target is its socketio_port. `frappe-realtime doctor` finds out which.",
	],
	gateway_timeout: [
		"The sidecar does not answer the proxy in time.",
		"Check that the proxy's target is the sidecar, and that proxy_read_timeout is longer than realtime_ping_interval (25 seconds).",
	],
	other_http_server: [
		"Another HTTP server answers at this address.",
		"Let the proxy send /socket.io/ to the sidecar, and check that no other program listens on socketio_port.",
	],
	http_error: [
		"The server or a proxy refuses the request.",
		"Look up the HTTP status in the log of the proxy: a login, a firewall or a limit in front of the sidecar refuses it.",
	],
	other_socketio_server: [
		"Another Socket.IO server, or an old version of the sidecar, refuses the connection.",
		"Stop the other program on socketio_port (often Frappe's Node server), then start the sidecar again.",
	],
	connect_not_answered: [
		"The sidecar accepts the connection, but cannot find out who the user is.",
		"Check that the web process runs and answers, that webserver_port is its port, and that Redis runs.",
	],
	server_stopping: ["The sidecar is stopping.", "Wait until it has started again."],
	unknown_transport: [
		"The server does not offer this transport.",
		"If realtime_transports is websocket only, set realtime_websocket_only to 1.",
	],
	unknown_sid: [
		"The requests of one connection reach different servers.",
		"Let the load balancer send all requests of a client to the same sidecar, or set realtime_websocket_only to 1.",
	],
	bad_handshake_method: ["The proxy changes the method of the request.", "Let the proxy pass GET and POST unchanged."],
	bad_request: [
		"The server cannot use the request.",
		"Let the proxy pass the query, the body and the header Upgrade unchanged.",
	],
	forbidden: ["The server forbids the request.", "Another Engine.IO server answers here: the sidecar does not use this code."],
	unsupported_protocol_version: [
		"The server speaks another version of the protocol.",
		"Use socket.io-client 3 or 4, and a server of the same generation.",
	],
	site_not_served: [
		"The bench serves no site of this name under this host.",
		"Name the site folder as the host, or list the host in `domains` or `host_name` of site_config.json, " +
			"or let the proxy set X-Frappe-Site-Name.",
	],
	site_unknown: [
		"The web process does not know this site.",
		"Check that webserver_port is the port of this bench, and that the site is installed there.",
	],
	origin_not_allowed: [
		"The page is from a host that may not connect to this site.",
		"Add the host of the page to realtime_allowed_origins of common_site_config.json, and restart the sidecar.",
	],
	origin_hidden: [
		"The page is of another origin, and the proxy replaces the header Origin.",
		"Let the proxy pass the browser's Origin: `proxy_set_header Origin $http_origin;`.",
	],
	no_credential: [
		"The request has no session cookie and no token.",
		"Log in again. A page of another site must pass auth: { token }, because browsers do not send it the cookie.",
	],
	invalid_token: ["The token contains characters that no header can carry.", "Pass the token as Frappe has issued it."],
	login_rejected: ["The session has ended, or the token is not valid.", "Log in again, or issue a new token."],
	web_answer_unexpected: [
		"The web process does not answer as Frappe does.",
		"Check that webserver_port is the port of this bench's web process, and look into its log.",
	],
	secret_rejected: [
		"The web process does not accept the shared secret of the sidecar.",
		"Let redis_queue name the same Redis for the sidecar and the web process, and restart both.",
	],
	address_not_allowed: [
		"The user may not connect from this IP address.",
		"Check Restrict IP of the User, and that the proxy sets X-Forwarded-For.",
	],
	too_many_connections: [
		"A limit of connections is reached.",
		"Close other tabs, or raise the limit that the reason names in common_site_config.json.",
	],
	too_many_namespaces: [
		"The connection has joined too many namespaces.",
		"Connect to the namespace of one site only, or raise realtime_namespaces_per_connection.",
	],
};
