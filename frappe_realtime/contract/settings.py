"""Keys of common_site_config.json that the app reads (with frappe.conf), their defaults, and values of keys that both processes know."""

APP_DEFAULTS = {
	"realtime_history_count": 10_000,
	"realtime_history_seconds": 600,
	"realtime_latest_count": 1000,
	"realtime_latest_seconds": 3600,
	"realtime_pending_count": 10_000,
	"realtime_pending_seconds": 60,
	"realtime_websocket_only": 0,
	"realtime_desk_collaboration": 0,
}

REDIS_QUEUE_KEYS = (
	"redis_queue",
	"redis_queue_sentinel_enabled",
	"redis_queue_sentinels",
	"redis_queue_sentinel_username",
	"redis_queue_sentinel_password",
	"redis_queue_master_username",
	"redis_queue_master_password",
	"redis_queue_master_service",
)
"""Keys that both the app and the sidecar read to find redis_queue (Frappe's names)."""

MAX_WORKERS = 1024
"""Most worker processes of one sidecar (`socketio_workers`)."""

AUTO_WORKERS = "auto"
"""The value of `socketio_workers` for one worker for each core."""

BACKEND_KEY = "socketio_backend"
"""The key of `common_site_config.json` that chooses among the servers of Frappe. `frappe-realtime serve` ignores it."""

EMBEDDED_BACKEND = "python-embedded"
"""The value of `BACKEND_KEY` with which Frappe's web process (`frappe.asgi`, `frappe.runner`) answers `/socket.io/` itself."""
