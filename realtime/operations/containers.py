"""How the processes of a bench are restarted where they are containers: by Docker Compose or Kubernetes, with the names of `deploy/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Containers:
	"""The commands for the containers of a bench. They run outside of the containers.

	Attributes:
		restart: Restarts all of them.
		restart_sidecar: Restarts that of the sidecar.
		start: Starts those that do not run.
		apply: Replaces that of the sidecar after a change of its definition.
		definition: What defines the command, the environment and the limits of that of the sidecar.
	"""

	restart: str
	restart_sidecar: str
	start: str
	apply: str
	definition: str


COMPOSE = Containers(
	restart="docker compose restart",
	restart_sidecar="docker compose restart websocket",
	start="docker compose up -d",
	apply="docker compose up -d websocket",
	definition="the service websocket (deploy/docker/compose.realtime.yaml)",
)

KUBERNETES = Containers(
	restart="kubectl rollout restart deployment",
	restart_sidecar="kubectl rollout restart deployment/frappe-realtime",
	start="kubectl rollout restart deployment",
	apply="kubectl apply -f realtime.yaml",
	definition="the Deployment frappe-realtime (deploy/kubernetes/realtime.yaml)",
)


def find_containers(environment: Mapping[str, str], root: Path) -> Containers | None:
	"""Return what runs the container in which this process is; None if it is in none.

	Args:
		environment: The environment of this process, in which Kubernetes names its API to each container.
		root: The root of the file system, in which Docker and Podman leave a file.
	"""
	if "KUBERNETES_SERVICE_HOST" in environment:
		return KUBERNETES
	if (root / ".dockerenv").exists() or (root / "run" / ".containerenv").exists():
		return COMPOSE
	return None
