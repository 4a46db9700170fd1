import vue from "@vitejs/plugin-vue";
import frappeui from "frappe-ui/vite";
import { defineConfig } from "vite";

// The site and its sidecar, for `npm run dev`; a page that Frappe serves needs no proxy.
const SITE = process.env.SITE ?? "http://localhost:8000";
const SIDECAR = process.env.SIDECAR ?? "http://localhost:9000";

export default defineConfig({
	base: "./",
	plugins: [frappeui({ frappeProxy: false, jinjaBootData: false, buildConfig: false }), vue()],
	server: {
		proxy: {
			"/api": { target: SITE },
			"/socket.io": { target: SIDECAR, ws: true },
		},
	},
	build: { target: "es2022" },
});
