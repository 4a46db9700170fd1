import { createRealtime } from "@frappe-realtime/vue";
import { createApp } from "vue";

import App from "./App.vue";
import "./main.css";

createApp(App).use(createRealtime()).mount("#app");
