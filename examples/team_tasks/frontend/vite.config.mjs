import vue from "@vitejs/plugin-vue";
import { defineConfig } from "vite";

// `bench build` runs this, and makes the app's folder `public` known to the web server.
export default defineConfig({
	plugins: [vue()],
	base: "/assets/team_tasks/frontend/",
	build: {
		outDir: "../team_tasks/public/frontend",
		emptyOutDir: true,
		target: "es2022",
		rollupOptions: {
			input: "src/main.js",
			output: { entryFileNames: "main.js", assetFileNames: "[name][extname]" },
		},
	},
});
