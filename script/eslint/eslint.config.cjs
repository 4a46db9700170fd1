// ESLint's recommended rules, for all JavaScript of this repository.
//
// script/rings.py installs ESLint into .cache/eslint and runs it with NODE_PATH set to its packages.

const js = require("@eslint/js");
const globals = require("globals");

// What Frappe's Desk defines before the app's bundle runs.
const DESK = { $: "readonly", __: "readonly", format_number: "readonly", frappe: "readonly", moment: "readonly" };

module.exports = [
	// `public` is a link to frappe_realtime/public; `bench build` writes into its folder `dist`.
	{ ignores: ["**/node_modules/", ".cache/", ".venv/", "public/", "frappe_realtime/public/dist/", "client/*/dist/"] },
	{ linterOptions: { reportUnusedDisableDirectives: "error" } },
	js.configs.recommended,
	{
		rules: {
			eqeqeq: ["error", "always", { null: "ignore" }],
			"no-var": "error",
			"prefer-const": "error",
		},
	},
	{
		files: ["**/*.js", "**/*.cjs"],
		languageOptions: { sourceType: "commonjs", globals: globals.node },
	},
	{
		files: ["**/*.mjs"],
		languageOptions: { globals: { ...globals.node, Bun: "readonly" } },
	},
	{
		files: [
			"frappe_realtime/public/js/**/*.js",
			"realtime/demo/page/*.js",
			"examples/shared-editing/src/*.js",
			"examples/team_tasks/frontend/src/*.js",
		],
		languageOptions: { sourceType: "module", globals: globals.browser },
	},
	{
		// realtime.js and the page of the demo run without the Desk.
		files: [
			"frappe_realtime/public/js/desk*.js",
			"frappe_realtime/public/js/*.bundle.js",
			"frappe_realtime/public/js/monitor/*.js",
		],
		languageOptions: { globals: DESK },
	},
	{
		// The sources of the packages are TypeScript: tsc checks them.
		files: ["client/tests/pages/*.{js,jsx}", "examples/frappe-*/src/*.{js,jsx}"],
		languageOptions: {
			sourceType: "module",
			globals: globals.browser,
			parserOptions: { ecmaFeatures: { jsx: true } },
		},
		// Without a plugin for React, a component that stands in JSX only counts as unused.
		rules: { "no-unused-vars": ["error", { varsIgnorePattern: "^[A-Z]" }] },
	},
	{
		files: ["frappe_realtime/frappe_realtime/page/*/*.js"],
		languageOptions: { sourceType: "script", globals: { ...globals.browser, ...DESK } },
	},
	{
		files: ["tests/browser/pages/*.js"],
		languageOptions: {
			sourceType: "script",
			globals: { ...globals.browser, ...DESK, io: "readonly", seen: "readonly" },
		},
	},
];
