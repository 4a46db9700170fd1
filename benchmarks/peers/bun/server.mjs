// Socket.IO on Bun: @socket.io/bun-engine, with Bun's own Redis client and fetch.
import { RedisClient } from "bun";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const { Server: Engine } = require("@socket.io/bun-engine");
const { Server } = require("socket.io");
const { serve, deliver } = require("../main_loop.js");

const engine = new Engine({ path: "/socket.io/", cors: { origin: /^/, credentials: true } });
const io = new Server({ cleanupEmptyChildNamespaces: true });
io.bind(engine);
serve(io);

const subscriber = new RedisClient(process.env.REDIS_URL);
await subscriber.connect();
await subscriber.subscribe("events", (payload) => deliver(io, payload));
Bun.serve({ ...engine.handler(), development: false, hostname: "127.0.0.1", port: Number(process.env.PORT) });
